"""What a run said of all records that its training had not seen, and halves of their patients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, Predictions, pooled, read_predictions


def unseen(run: Path) -> Predictions:
    """A run's validation and test records together."""
    return pooled([*read_predictions(run / PREDICTIONS_FILE).values()])


def halves(
    patients_N: npt.NDArray[np.int64], n_halves: int, random: np.random.Generator
) -> Iterator[npt.NDArray[np.bool_]]:
    """(N,) members of one half of the patients, drawn anew each time."""
    everyone = np.unique(patients_N)
    for _ in range(n_halves):
        yield np.isin(patients_N, random.permutation(everyone)[: len(everyone) // 2])
