"""What the records' own table adds to a model's scores: those of groups of patients, and what age and sex alone say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ecg_lightning.data.source import Cohort
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.demographics import age_and_sex_alone, age_and_sex_held_out
from ecg_lightning.evaluation.headline import macro_scores
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.evaluation.subgroups import subgroups


def describe(
    choices: Choices,
    split: Predictions,
    table: Cohort,
    train_folds: Sequence[int],
    n_resamples: int = 1000,
    held_out: Sequence[Sequence[int]] = (),
) -> dict[str, Any]:
    """Subgroups, and the floor that a model of the signal must be above, as plain values.

    Args:
        choices: of the model. Where its validation fold was not predicted, the floor has no F1.
        split: of the same model.
        table: the data set's table, which knows the records.
        train_folds: of the model; of a cross-validation all of them.
        n_resamples: of the bootstrap by patient.
        held_out: groups of the training folds that a cross-validation held out, whose records are the split's.

    Returns:
        `subgroups`, each a `subgroups.Subgroup`; and `age_and_sex`, intervals of `f1` and `auroc`, unless
        records of the training folds are scored, which `left_out` says.

    Raises:
        DataError: the table has no ages and sexes, or does not know a record.
    """
    groups = subgroups(choices.apply(split), split, table, n_resamples)
    found: dict[str, Any] = {"subgroups": [asdict(group) for group in groups]}
    if held_out:
        floor_val = [floor := age_and_sex_held_out(split, table, train_folds, held_out)]
    elif np.isin(table.folds[table.rows_of(split.ecg_ids)], train_folds).any():
        return found | {"left_out": "records of the folds that it would be fitted on are scored here"}
    else:
        val = choices.validation
        *floor_val, floor = age_and_sex_alone([*([val] if val else []), split], table, train_folds)
    weights_RN = bootstrap.patient_weights(split.patient_ids, n_resamples)
    never_C = np.ones(len(split.classes))
    floor_choices = (
        Choices.fit(floor_val[0]) if floor_val else Choices.of_thresholds(floor.classes, floor.link, never_C)
    )
    scores = macro_scores(floor_choices.apply(floor), split.targets_NC, weights_RN)
    f1, auroc = (bootstrap.interval(one) for one in scores)
    return found | {"age_and_sex": {**({"f1": list(f1)} if floor_val else {}), "auroc": list(auroc)}}
