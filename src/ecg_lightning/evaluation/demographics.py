"""What age and sex alone say: the floor that a model of the signal must be above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.source import Cohort
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation.calibration import fit_logistic
from ecg_lightning.evaluation.predictions import Predictions, aligned, of_rows, pooled

Floats = npt.NDArray[np.float64]

_OLDEST = 90  # PTB-XL writes 300 for more than 89 (Wagner et al. 2020)


def age_and_sex_alone(splits: Sequence[Predictions], cohort: Cohort, train_folds: Sequence[int]) -> list[Predictions]:
    """What logistic regressions on age and sex predict of the same records, fitted on the training folds.

    Args:
        splits: whose records and labels are taken.
        cohort: the table that knows the records.
        train_folds: of the model that they are compared with.

    Raises:
        DataError: the table has no ages and sexes, no record of the training folds, or does not know a record.
    """
    if absent := [name for name, column in (("age", cohort.ages), ("sex", cohort.sexes)) if column is None]:
        raise DataError(f"{cohort.where} has no column {', '.join(absent)}; add it, or remove --root")
    classes = cohort.columns_of(splits[0].classes)
    targets = cohort.targets[:, classes]
    train = np.flatnonzero(np.isin(cohort.folds, train_folds) & (targets.any(axis=1) | cohort.keeps_unlabelled))
    if not train.size:
        raise DataError(f"{cohort.where} has no labelled record of the training folds {list(train_folds)}")
    features = _features(cohort, train)
    start = np.zeros(features.shape[1])
    weights_CF = np.stack([fit_logistic(features, column.astype(np.float64), start) for column in targets[train].T])
    return [
        replace(split, link="sigmoid", logits_NC=_features(cohort, cohort.rows_of(split.ecg_ids)) @ weights_CF.T)
        for split in splits
    ]


def age_and_sex_held_out(
    split: Predictions, cohort: Cohort, train_folds: Sequence[int], groups: Sequence[Sequence[int]]
) -> Predictions:
    """The same of a cross-validation: each group of folds is predicted from the other training folds.

    Args:
        split: what the cross-validation predicted.
        cohort: see `age_and_sex_alone`.
        train_folds: all of them.
        groups: of folds, each held out by one training.

    Raises:
        DataError: see `age_and_sex_alone`.
    """
    fold_N = cohort.folds[cohort.rows_of(split.ecg_ids)]
    parts = []
    for group in groups:
        others = [fold for fold in train_folds if fold not in group]
        parts += age_and_sex_alone([of_rows(split, np.isin(fold_N, group))], cohort, others)
    return aligned(pooled(parts), split)


def _features(cohort: Cohort, rows: npt.NDArray[np.int64]) -> Floats:
    """(N, 3): one, age in centuries, sex; what is not known is 62 years (PTB-XL's median), and between the sexes."""
    assert cohort.ages is not None
    assert cohort.sexes is not None
    ages, sexes = cohort.ages[rows], cohort.sexes[rows]
    age = np.where(np.isnan(ages), 62, np.minimum(ages, _OLDEST))
    return np.stack([np.ones(len(rows)), age / 100, np.where(np.isnan(sexes), 0.5, sexes)], axis=1)
