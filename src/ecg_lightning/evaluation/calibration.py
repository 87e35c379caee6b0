"""Calibration fitted on the validation fold, and the distance of probabilities from frequencies.

SciPy is imported only by the functions that fit, because predictions need only NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LINKS = ("sigmoid", "softmax")
"""The functions from logits to probabilities: each class on its own, or classes that exclude each other."""
_LOG_RANGE = (-3.0, 3.0)


def probabilities(logits_NC: npt.ArrayLike, temperature: float = 1.0, link: str = "sigmoid") -> Floats:
    """Return the (N, C) probabilities of logits, in float64.

    Args:
        logits_NC: (N, C) logits of a model.
        temperature: the divisor of the logits.
        link: `sigmoid`, where each class is independent, or `softmax`.
    """
    scaled = np.asarray(logits_NC, dtype=np.float64) / temperature
    if link == "softmax":
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    with np.errstate(over="ignore"):  # for a probability of 0
        return np.asarray(1 / (1 + np.exp(-scaled)))


def logit(probabilities_NC: npt.ArrayLike) -> Floats:
    """Return the logits of probabilities. Those of 0 and 1 are finite."""
    safe = np.clip(np.asarray(probabilities_NC, dtype=np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(safe) - np.log1p(-safe))


def fit_temperature(logits_NC: npt.ArrayLike, targets_NC: npt.ArrayLike, link: str = "sigmoid") -> float:
    """Return the temperature from e⁻³ to e³ with the least log loss (Guo et al. 2017, arXiv 1706.04599).

    With a sigmoid it changes no ranking of a class's records, so no AUROC, and no decision at 0.5.

    Args:
        logits_NC: (N, C) logits of the validation fold.
        targets_NC: (N, C) labels, 0 or 1.
        link: `sigmoid` or `softmax`; see `probabilities`.
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
    """Return slope and offset of each class's logits with the least log loss, from the validation fold.

    Platt's targets are (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) in place of 1 and 0. They keep the slope finite for classes
    that the logits separate (Platt 1999, "Probabilistic outputs for support vector machines"). No slope is negative. A
    class without a positive or without a negative record keeps slope 1 and offset 0.

    Returns:
        The (C,) slopes and (C,) offsets: the probabilities are sigmoid(slope · logit + offset).
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
    """Return the (F,) weights of a logistic regression with the least log loss.

    Args:
        features_NF: (N, F) features, with a column of ones for the offset.
        targets_N: (N,) targets from 0 to 1.
        start_F: the initial weights.
        bounds_F: the least and the largest value of each weight.
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
    """Return the (N,) squared differences of probability and label, averaged over the classes (Brier 1950)."""
    scores_N: Floats = np.square(probabilities_NC - np.asarray(targets_NC, dtype=np.float64)).mean(axis=1)
    return scores_N


def expected_calibration_errors(probabilities_NC: Floats, targets_NC: npt.ArrayLike, n_bins: int = 15) -> Floats:
    """Return the (C,) expected calibration errors: |mean probability − share of positives| in bins of equal width.

    The bins are weighted by size (Naeini et al. 2015, AAAI). Each superclass is a separate binary problem.
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
    """Return the mean of `expected_calibration_errors` over the classes."""
    return float(expected_calibration_errors(probabilities_NC, targets_NC, n_bins).mean())
