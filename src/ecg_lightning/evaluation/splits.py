"""The evaluation of a classifier's scored splits: scores with intervals, and the patients' subgroups."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ecg_lightning.data.source import ECGSource
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation import cohort, report
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.system.long_steps import long_step

log = logging.getLogger(__name__)


def evaluate_splits(
    choices: Choices, predictions: Mapping[str, Predictions], source: ECGSource, train_folds: Sequence[int]
) -> tuple[dict[str, Any], list[str]]:
    """Return by split what `ecg-lightning evaluate` reports, and a note for each part that is left out.

    Args:
        choices: the model's choices.
        predictions: the predictions by split.
        source: the data set whose table holds the records.
        train_folds: the model's training folds.
    """
    found: dict[str, Any] = {}
    notes = []
    with long_step(log, "computing intervals, calibration and subgroups"):
        for split, one in predictions.items():
            found[split] = report.evaluate(choices, one).as_dict()
            try:
                found[split] |= cohort.describe(choices, one, source.cohort(), train_folds)
            except DataError as error:  # such as a table without ages: the training's result must not be lost
                notes.append(f"{split}: subgroups are left out: {error}")
    return found, notes
