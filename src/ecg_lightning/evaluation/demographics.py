"""Predictions from age and sex alone: the floor that a model of the signal must exceed."""

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
    """Return predictions for the same records by logistic regressions on age and sex, fitted on the training folds.

    Args:
        splits: the predictions whose records and labels are used.
        cohort: the table that holds the records.
        train_folds: the training folds of the model that is compared with them.

    Raises:
        DataError: the table has no ages and sexes, no record of the training folds, or does not hold a record.
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
    """Return predictions from age and sex for a cross-validation, each group of folds from the other training folds.

    Args:
        split: the predictions of the cross-validation.
        cohort: the table that holds the records.
        train_folds: all training folds.
        groups: the groups of folds, each held out by one training.

    Raises:
        DataError: the table cannot be used; see `age_and_sex_alone`.
    """
    fold_N = cohort.folds[cohort.rows_of(split.ecg_ids)]
    parts = []
    for group in groups:
        others = [fold for fold in train_folds if fold not in group]
        parts += age_and_sex_alone([of_rows(split, np.isin(fold_N, group))], cohort, others)
    return aligned(pooled(parts), split)


def _features(cohort: Cohort, rows: npt.NDArray[np.int64]) -> Floats:
    """Return (N, 3) features: one, age in centuries, sex.

    An unknown age becomes 62 years (PTB-XL's median), and an unknown sex lies between the sexes.
    """
    assert cohort.ages is not None
    assert cohort.sexes is not None
    ages, sexes = cohort.ages[rows], cohort.sexes[rows]
    age = np.where(np.isnan(ages), 62, np.minimum(ages, _OLDEST))
    return np.stack([np.ones(len(rows)), age / 100, np.where(np.isnan(sexes), 0.5, sexes)], axis=1)
