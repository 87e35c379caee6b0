"""Calibration: one temperature, fitted on the validation fold, and how far probabilities are from frequencies.

SciPy is imported where something is fitted: predictions need NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
    if link == "softmax":
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    with np.errstate(over="ignore"):  # of a probability that is 0
        return np.asarray(1 / (1 + np.exp(-scaled)))


def logit(probabilities_NC: npt.ArrayLike) -> Floats:
    """The logits of probabilities; of 0 and 1, finite ones."""
    safe = np.clip(np.asarray(probabilities_NC, dtype=np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(safe) - np.log1p(-safe))


def fit_temperature(logits_NC: npt.ArrayLike, targets_NC: npt.ArrayLike, link: str = "sigmoid") -> float:
    """The temperature with the least log loss (Guo et al. 2017, arXiv 1706.04599), from e⁻³ to e³.

    It changes no ranking of a class's records, so no AUROC, and no decision at 0.5 of a sigmoid.

    Args:
        logits_NC: of the validation fold.
        targets_NC: 0 or 1.
        link: see `probabilities`.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_expit, log_softmax

    logits, targets = np.asarray(logits_NC, dtype=np.float64), np.asarray(targets_NC, dtype=np.float64)

    def log_loss(log_temperature: float) -> float:
        scaled = logits * np.exp(-log_temperature)
        if link == "softmax":
            return float(-(targets * log_softmax(scaled, axis=1)).mean())
        return float(-(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=_LOG_RANGE, method="bounded").x))


def fit_platt(logits_NC: npt.ArrayLike, targets_NC: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Slope and offset of each class's logits with the least log loss, from the validation fold.

    With Platt's targets, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) in place of 1 and 0, classes that the logits separate
    have a finite slope, too (Platt 1999, "Probabilistic outputs for support vector machines"); no slope is negative. A
    class without a positive or without a negative record keeps slope 1 and offset 0.

    Returns:
        (C,) slopes and (C,) offsets: the probabilities are sigmoid(slope · logit + offset).
    """
    logits, targets = np.asarray(logits_NC, dtype=np.float64), np.asarray(targets_NC, dtype=np.float64)
    slopes, offsets = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    for column in range(logits.shape[1]):
        positives = targets[:, column].sum()
        negatives = len(targets) - positives
        if positives and negatives:
            smoothed = np.where(targets[:, column] > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
            line = np.stack([logits[:, column], np.ones(len(logits))], axis=1)
            slopes[column], offsets[column] = fit_logistic(line, smoothed, [1.0, 0.0], [(0.0, None), (None, None)])
    return slopes, offsets


def fit_logistic(
    features_NF: Floats,
    targets_N: Floats,
    start_F: npt.ArrayLike,
    bounds_F: Sequence[tuple[float | None, float | None]] | None = None,
) -> Floats:
    """(F,) weights of a logistic regression: those with the least log loss.

    Args:
        features_NF: a column of ones is the offset's.
        targets_N: 0 or 1, or between.
        start_F: the weights to begin with.
        bounds_F: least and largest value of each weight.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    def log_loss(weights_F: Floats) -> tuple[float, Floats]:
        scaled = features_NF @ weights_F
        loss = -(targets_N * log_expit(scaled) + (1 - targets_N) * log_expit(-scaled)).mean()
        return float(loss), np.asarray(features_NF.T @ (expit(scaled) - targets_N) / len(targets_N))

    options = {"ftol": 1e-15, "gtol": 1e-9}
    found = minimize(log_loss, np.asarray(start_F), jac=True, method="L-BFGS-B", bounds=bounds_F, options=options)
    return np.asarray(found.x)


def brier_scores(probabilities_NC: Floats, targets_NC: npt.ArrayLike) -> Floats:
    """(N,) squared difference of probability and label, mean over the classes (Brier 1950)."""
    scores_N: Floats = np.square(probabilities_NC - np.asarray(targets_NC, dtype=np.float64)).mean(axis=1)
    return scores_N


def expected_calibration_errors(probabilities_NC: Floats, targets_NC: npt.ArrayLike, n_bins: int = 15) -> Floats:
    """(C,) |mean probability − share of positives| of each class, in bins of equal width, weighted by size.

    Naeini et al. 2015 (AAAI); each superclass is a binary problem of its own.
    """
    targets = np.asarray(targets_NC, dtype=np.float64)
    bins_NC = np.minimum((probabilities_NC * n_bins).astype(int), n_bins - 1)
    return np.array(
        [
            np.abs(np.bincount(bins_N, weights=probabilities_N - targets_N, minlength=n_bins)).sum() / len(bins_N)
            for bins_N, probabilities_N, targets_N in zip(bins_NC.T, probabilities_NC.T, targets.T, strict=True)
        ]
    )


def expected_calibration_error(probabilities_NC: Floats, targets_NC: npt.ArrayLike, n_bins: int = 15) -> float:
    """Their mean over the classes."""
    return float(expected_calibration_errors(probabilities_NC, targets_NC, n_bins).mean())
