"""Bootstrap by patient: how much a score, or the difference of two models' scores, would vary with other patients.

One patient may have several records, so patients are drawn and not records (a cluster bootstrap; Davison & Hinkley,
"Bootstrap Methods and their Application", 1997). A resample is a weight for each record; every score is computed for
all resamples at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A score, or a difference of two, with its percentile interval."""

    value: float
    low: float
    high: float


def patient_weights(patient_ids_N: npt.NDArray[np.int64], n_resamples: int = 1000, seed: int = 0) -> Floats:
    """How often each record stands in each resample: patients are drawn with replacement.

    Returns:
        (R + 1, N) weights; the first row is the sample itself, all ones.
    """
    patients, patient_of_record = np.unique(patient_ids_N, return_inverse=True)
    n_patients = len(patients)
    draws = np.random.default_rng(seed).multinomial(n_patients, np.full(n_patients, 1 / n_patients), n_resamples)
    whole = np.ones((1, n_patients), dtype=draws.dtype)
    return np.concatenate([whole, draws])[:, patient_of_record].astype(np.float64)


def f1_macro(decisions_NC: npt.NDArray[np.bool_], targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """(R,) macro F1 of each resample, over the classes that have a positive record in it."""
    decided, true = decisions_NC.astype(np.float64), targets_NC.astype(np.float64)
    hits_RC = weights_RN @ (decided * true)
    positives_RC = weights_RN @ true
    sums_RC = weights_RN @ decided + positives_RC
    return _mean_where(_divide(2 * hits_RC, sums_RC, otherwise=0.0), positives_RC > 0)


def auroc_macro(scores_NC: Floats, targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """(R,) macro AUROC of each resample, over the classes that have a positive and a negative record in it."""
    columns = [_auroc(scores_NC[:, column], targets_NC[:, column], weights_RN) for column in range(targets_NC.shape[1])]
    auroc_RC = np.stack(columns, axis=1)
    return _mean_where(auroc_RC, ~np.isnan(auroc_RC))


def interval(scores_R: Floats, level: float = 0.95) -> Interval:
    """Percentile interval of the resamples' scores.

    Args:
        scores_R: from `f1_macro` or `auroc_macro`, or the difference of two; the sample's own score first.
        level: of confidence.
    """
    low, high = np.nanquantile(scores_R[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores_R[0]), float(low), float(high))


def _auroc(scores_N: Floats, targets_N: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """Weighted share of (positive, negative) pairs that are ranked right; a tie counts half."""
    order = np.argsort(scores_N, kind="stable")
    ordered, positive_N = scores_N[order], targets_N[order]
    first_of_tie = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    weights_RN = weights_RN[:, order]
    positive_RT = np.add.reduceat(weights_RN * positive_N, first_of_tie, axis=1)
    negative_RT = np.add.reduceat(weights_RN * ~positive_N, first_of_tie, axis=1)
    below_RT = np.cumsum(negative_RT, axis=1) - negative_RT / 2
    pairs_R = positive_RT.sum(axis=1) * negative_RT.sum(axis=1)
    right_R = (positive_RT * below_RT).sum(axis=1)
    return _divide(right_R, pairs_R, otherwise=np.nan)


def _mean_where(values_RC: Floats, known_RC: npt.NDArray[np.bool_]) -> Floats:
    counts_R = known_RC.sum(axis=1)
    sums_R = np.where(known_RC, values_RC, 0.0).sum(axis=1)
    return _divide(sums_R, counts_R, otherwise=np.nan)


def _divide(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any], otherwise: float) -> Floats:
    """The quotient, or `otherwise` where the denominator is 0."""
    quotient: Floats = np.full(numerator.shape, otherwise)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
