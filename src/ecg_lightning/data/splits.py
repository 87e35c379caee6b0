"""Checks that the splits can be trained on and scored, and that they share no patient."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ecg_lightning.errors import DataError

log = logging.getLogger(__name__)


def check_learnable(targets: npt.NDArray[np.uint8], classes: Sequence[str], tables: str, every: bool = False) -> None:
    """Refuse (N, C) training targets from which nothing can be learned.

    Args:
        targets: the targets of the training split.
        classes: the class names; with a single class, records without it are the other answer.
        tables: the files that hold the labels, for the message.
        every: whether a class that no record has is refused.

    Raises:
        DataError: fewer than two classes occur, or every record has the same classes.
    """
    present = [name for name, count in zip(classes, targets.sum(axis=0), strict=True) if count]
    if every and (absent := [name for name in classes if name not in present]):
        raise DataError(
            f"no training record has the class {absent[0]}, so it cannot be learned. List the other classes with "
            "data.labels=[A,B], or choose other folds"
        )
    if len(present) < min(2, len(classes)) or len(np.unique(targets, axis=0)) < 2:
        raise DataError(
            f"the {len(targets):,} training records all have the same labels, or a single class (classes: "
            f"{', '.join(present) or 'none'}), so nothing can be learned. Check {tables} and the chosen folds"
        )


def check_scorable(targets: npt.NDArray[np.uint8], split: str, classes: Sequence[str]) -> None:
    """Refuse a split's (N, C) targets if no score can be computed from them. Log the classes that are absent.

    Raises:
        DataError: no record has any class.
    """
    counts = targets.sum(axis=0)
    if not counts.any():
        raise DataError(
            f"none of the {len(targets):,} {split} records has a class, so nothing can be scored. Choose other "
            f"folds with data.{split}_folds=[…]"
        )
    if absent := [name for name, count in zip(classes, counts, strict=True) if not count]:
        log.warning(
            "no %s record has the class %s, so macro means of this split average %d classes",
            split,
            ", ".join(absent),
            len(classes) - len(absent),
        )


def check_patients(patient_ids: npt.NDArray[np.int64], split_of: npt.NDArray[np.int64]) -> None:
    """Refuse splits that share a patient.

    Args:
        patient_ids: (N,) patient numbers.
        split_of: (N,) the split of each record, as a number.

    Raises:
        DataError: a patient occurs in two splits.
    """
    pairs = np.unique(np.stack([patient_ids, split_of]), axis=1)
    patients, seen = np.unique(pairs[0], return_counts=True)
    if (shared := patients[seen > 1]).size:
        raise DataError(
            f"{len(shared)} patients occur in two splits (first: patient {shared[0]}), so scores would be "
            "optimistic. Choose disjoint folds, or restore strat_fold from PTB-XL"
        )
