"""What a run said of all records that its training had not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, read_predictions


def pooled(
    run: Path,
) -> tuple[tuple[str, ...], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Classes, (N, C) probabilities, (N, C) labels and (N,) patients of a run's validation and test records."""
    splits = [*read_predictions(run / PREDICTIONS_FILE).values()]
    guesses = np.concatenate([split.probabilities() for split in splits])
    targets = np.concatenate([split.targets_NC for split in splits])
    return splits[0].classes, guesses, targets, np.concatenate([split.patient_ids for split in splits])
