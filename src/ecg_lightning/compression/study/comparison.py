"""Comparison of a compressed model with the model as trained: paired bootstrap by patient, and a margin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.datamodule import SignalDataset
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.choices import Decided
from ecg_lightning.evaluation.headline import macro_scores

Array = npt.NDArray[Any]


def compare(
    variant: Decided, baseline: Decided, dataset: SignalDataset, margin: float, n_resamples: int
) -> dict[str, Any]:
    """Return the difference to the uncompressed model on the test fold, with its paired bootstrap by patient.

    Args:
        variant: probabilities and thresholds of the compressed model.
        baseline: probabilities and thresholds of the model as trained.
        dataset: the test fold.
        margin: largest loss of macro F1 that still counts as non-inferior.
        n_resamples: number of resamples of the bootstrap.

    Returns:
        The differences of `f1_macro_tuned` (at each model's own thresholds) and `auroc_macro`, their `ci95`, and the
        `verdict`.
    """
    targets, weights = _resampled(dataset, n_resamples)
    (f1, auroc), (f1_before, auroc_before) = (macro_scores(one, targets, weights) for one in (variant, baseline))
    f1_change, auroc_change = bootstrap.interval(f1 - f1_before), bootstrap.interval(auroc - auroc_before)
    return {
        "f1_macro_tuned": f1_change.value,
        "auroc_macro": auroc_change.value,
        "ci95": {
            "f1_macro_tuned": [f1_change.low, f1_change.high],
            "auroc_macro": [auroc_change.low, auroc_change.high],
        },
        "margin": margin,
        "verdict": verdict(f1_change, margin),
    }


def verdict(difference: bootstrap.Interval, margin: float) -> str:
    """Return the verdict of the non-inferiority test.

    `non-inferior` if the interval lies above −margin, `inferior` if below it, otherwise `inconclusive`.
    """
    if difference.low > -margin:
        return "non-inferior"
    return "inferior" if difference.high < -margin else "inconclusive"


def _resampled(dataset: SignalDataset, n_resamples: int) -> tuple[npt.NDArray[np.bool_], bootstrap.Floats]:
    """Return the targets, and the weights of the resamples."""
    patients = np.asarray(dataset.patient_ids, dtype=np.int64)
    return dataset.targets.numpy().astype(bool), bootstrap.patient_weights(patients, n_resamples)
