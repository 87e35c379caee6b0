"""What a run said of all records that its training had not seen, and halves of their patients."""

from __future__ import annotations

from collections.abc import Iterator
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


def halves(
    patients_N: npt.NDArray[np.int64], n_halves: int, random: np.random.Generator
) -> Iterator[npt.NDArray[np.bool_]]:
    """(N,) members of one half of the patients, drawn anew each time."""
    everyone = np.unique(patients_N)
    for _ in range(n_halves):
        yield np.isin(patients_N, random.permutation(everyone)[: len(everyone) // 2])
