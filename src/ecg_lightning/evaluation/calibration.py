"""Calibration: one temperature, fitted on the validation fold, and how far probabilities are from frequencies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

Floats = npt.NDArray[np.float64]

_LOG_RANGE = (-3.0, 3.0)


def probabilities(logits_NC: npt.ArrayLike, temperature: float = 1.0, link: str = "sigmoid") -> Floats:
    """(N, C) logits → probabilities in float64.

    Args:
        logits_NC: of a model.
        temperature: divides the logits.
        link: `sigmoid`, each class on its own, or `softmax`.
    """
    scaled = np.asarray(logits_NC, dtype=np.float64) / temperature
    return np.asarray(expit(scaled) if link == "sigmoid" else softmax(scaled, axis=1))


def fit_temperature(logits_NC: npt.ArrayLike, targets_NC: npt.ArrayLike, link: str = "sigmoid") -> float:
    """The temperature with the least log loss (Guo et al. 2017, arXiv 1706.04599), from e⁻³ to e³.

    It changes no ranking of a class's records, so no AUROC, and no decision at 0.5 of a sigmoid.

    Args:
        logits_NC: of the validation fold.
        targets_NC: 0 or 1.
        link: see `probabilities`.
    """
    logits, targets = np.asarray(logits_NC, dtype=np.float64), np.asarray(targets_NC, dtype=np.float64)

    def log_loss(log_temperature: float) -> float:
        scaled = logits * np.exp(-log_temperature)
        if link == "softmax":
            return float(-(targets * log_softmax(scaled, axis=1)).mean())
        return float(-(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=_LOG_RANGE, method="bounded").x))


def expected_calibration_error(probabilities_NC: Floats, targets_NC: npt.ArrayLike, n_bins: int = 15) -> float:
    """Mean over the classes of |mean probability − share of positives|, in bins of equal width, weighted by size.

    Naeini et al. 2015 (AAAI); each superclass is a binary problem of its own.
    """
    targets = np.asarray(targets_NC, dtype=np.float64)
    bins_NC = np.minimum((probabilities_NC * n_bins).astype(int), n_bins - 1)
    errors = [
        np.abs(np.bincount(bins_N, weights=probabilities_N - targets_N, minlength=n_bins)).sum() / len(bins_N)
        for bins_N, probabilities_N, targets_N in zip(bins_NC.T, probabilities_NC.T, targets.T, strict=True)
    ]
    return float(np.mean(errors))
