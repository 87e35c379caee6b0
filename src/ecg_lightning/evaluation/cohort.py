"""Scores that need the patient table: those of patient groups, and those of age and sex alone."""

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
    """Return the subgroups, and the floor that a model of the signal must exceed, as plain values.

    Args:
        choices: the model's choices. If its validation fold was not predicted, the floor has no F1.
        split: the predictions of the same model.
        table: the data set's table, which holds the records.
        train_folds: the model's training folds; all training folds for a cross-validation.
        n_resamples: the number of resamples of the bootstrap by patient.
        held_out: the groups of training folds that a cross-validation held out, whose records are the split's.

    Returns:
        `subgroups`, each a `subgroups.Subgroup`, and `age_and_sex`, the intervals of `f1` and `auroc`. If records of
        the training folds are scored, `left_out` gives the reason in place of `age_and_sex`.

    Raises:
        DataError: the table has no ages and sexes, or does not hold a record.
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
