"""What age and sex alone say: the floor that a model of the signal must be above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecg_lightning.data.labels import label_targets, read_statements
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation.calibration import fit_logistic
from ecg_lightning.evaluation.predictions import Predictions, aligned, of_rows, pooled, read_table_of

Floats = npt.NDArray[np.float64]

_OLDEST = 90  # PTB-XL writes 300 for more than 89 (Wagner et al. 2020)


def age_and_sex_alone(
    splits: Sequence[Predictions], root: Path, train_folds: Sequence[int], task: str, label_rule: str
) -> list[Predictions]:
    """What logistic regressions on age and sex predict of the same records, fitted on the training folds.

    Args:
        splits: whose records and labels are taken.
        root: the PTB-XL folder, whose table knows the records.
        train_folds: of the model that they are compared with.
        task: one of `labels.TASKS`.
        label_rule: of the labels.

    Raises:
        DataError: the table has no ages and sexes, or no record of the training folds.
    """
    table = read_table_of(splits, root)
    if absent := {"age", "sex"} - set(table.columns):
        raise DataError(
            f"{root}/ptbxl_database.csv has no column {', '.join(sorted(absent))}; use PTB-XL's own file, or "
            "remove --root"
        )
    train = table[table["strat_fold"].isin(train_folds)]
    statements = read_statements(root / "scp_statements.csv", task)
    classes = splits[0].classes
    targets = label_targets(train["scp_codes"].tolist(), statements, label_rule, "scp_codes", classes)
    labelled = targets.any(axis=1)
    if not labelled.any():
        raise DataError(f"{root}/ptbxl_database.csv has no labelled record of the training folds {list(train_folds)}")
    features = _features(train)[labelled]
    start = np.zeros(features.shape[1])
    weights_CF = np.stack([fit_logistic(features, column.astype(np.float64), start) for column in targets[labelled].T])
    return [
        replace(split, link="sigmoid", logits_NC=_features(table.loc[split.ecg_ids]) @ weights_CF.T) for split in splits
    ]


def age_and_sex_held_out(
    split: Predictions,
    root: Path,
    train_folds: Sequence[int],
    groups: Sequence[Sequence[int]],
    task: str,
    label_rule: str,
) -> Predictions:
    """The same of a cross-validation: each group of folds is predicted from the other training folds.

    Args:
        split: what the cross-validation predicted.
        root: see `age_and_sex_alone`.
        train_folds: all of them.
        groups: of folds, each held out by one training.
        task: see `age_and_sex_alone`.
        label_rule: see `age_and_sex_alone`.

    Raises:
        DataError: see `age_and_sex_alone`.
    """
    fold_N = read_table_of([split], root).loc[split.ecg_ids, "strat_fold"].to_numpy()
    parts = []
    for group in groups:
        others = [fold for fold in train_folds if fold not in group]
        parts += age_and_sex_alone([of_rows(split, np.isin(fold_N, group))], root, others, task, label_rule)
    return aligned(pooled(parts), split)


def _features(rows: pd.DataFrame) -> Floats:
    """(N, 3): one, age in centuries, sex; what is not known is 62 years (PTB-XL's median), and between the sexes."""
    age = pd.to_numeric(rows["age"], errors="coerce").clip(upper=_OLDEST).fillna(62)
    sex = pd.to_numeric(rows["sex"], errors="coerce").fillna(0.5)
    return np.stack([np.ones(len(rows)), age.to_numpy(np.float64) / 100, sex.to_numpy(np.float64)], axis=1)
