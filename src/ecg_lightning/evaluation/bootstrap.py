"""The bootstrap by patient: the variation of a score, or of the difference of two models' scores, with other patients.

One patient may have several records, so patients are drawn and not records (a cluster bootstrap; Davison & Hinkley,
"Bootstrap Methods and their Application", 1997). A resample is a weight for each record. Every score is computed for
all resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A score, or a difference of two scores, with its percentile interval."""

    value: float
    low: float
    high: float


def patient_weights(patient_ids_N: npt.NDArray[np.int64], n_resamples: int = 1000, seed: int = 0) -> Floats:
    """Return how often each record occurs in each resample. Patients are drawn with replacement.

    Returns:
        The (R + 1, N) weights; the first row is the sample itself, all ones.
    """
    patients, patient_of_record = np.unique(patient_ids_N, return_inverse=True)
    return _draws(len(patients), n_resamples, seed)[:, patient_of_record].astype(np.float64)


@lru_cache(maxsize=2)  # for the validation and the test fold: drawing takes longer than any score
def _draws(n_patients: int, n_resamples: int, seed: int) -> npt.NDArray[np.int32]:
    """Return (R + 1, P) counts of how often each patient is drawn. The first row is all ones."""
    draws = np.random.default_rng(seed).multinomial(n_patients, np.full(n_patients, 1 / n_patients), n_resamples)
    return np.concatenate([np.ones((1, n_patients)), draws]).astype(np.int32)


def f1_macro(decisions_NC: npt.NDArray[np.bool_], targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """Return the (R,) macro F1 of each resample, over the classes with a positive record in it."""
    return macro(rates(decisions_NC, targets_NC, weights_RN)["f1"])


def auroc_macro(scores_NC: Floats, targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """Return the (R,) macro AUROC of each resample, over the classes with a positive and a negative record in it."""
    return macro(auroc(scores_NC, targets_NC, weights_RN))


def mean(values_N: Floats, weights_RN: Floats) -> Floats:
    """Return the (R,) mean of each resample, NaN if it holds none of the records."""
    return divide(weights_RN @ values_N, weights_RN.sum(axis=1), otherwise=np.nan)


def macro(scores_RC: Floats) -> Floats:
    """Return the (R,) means over the classes that have a score."""
    known_RC = ~np.isnan(scores_RC)
    sums_R = np.where(known_RC, scores_RC, 0.0).sum(axis=1)
    return divide(sums_R, known_RC.sum(axis=1), otherwise=np.nan)


def rates(
    decisions_NC: npt.NDArray[np.bool_], targets_NC: npt.NDArray[np.bool_], weights_RN: Floats
) -> dict[str, Floats]:
    """Return the scores of decisions, each (R, C), with NaN if there is nothing to count.

    Returns:
        `f1` (of classes with a positive record), `sensitivity`, `specificity`, `ppv` and `npv`.
    """
    decided, true = decisions_NC.astype(np.float64), targets_NC.astype(np.float64)
    hits_RC = weights_RN @ (decided * true)
    decided_RC, positives_RC = weights_RN @ decided, weights_RN @ true
    records_R1 = weights_RN.sum(axis=1, keepdims=True)
    rejected_RC = records_R1 - decided_RC - positives_RC + hits_RC
    f1_RC = divide(2 * hits_RC, decided_RC + positives_RC, otherwise=0.0)
    return {
        "f1": np.where(positives_RC > 0, f1_RC, np.nan),
        "sensitivity": divide(hits_RC, positives_RC, otherwise=np.nan),
        "specificity": divide(rejected_RC, records_R1 - positives_RC, otherwise=np.nan),
        "ppv": divide(hits_RC, decided_RC, otherwise=np.nan),
        "npv": divide(rejected_RC, records_R1 - decided_RC, otherwise=np.nan),
    }


def auroc(scores_NC: Floats, targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """Return the (R, C) areas under the ROC curve, NaN without a positive or without a negative record."""
    return _by_class(_auroc, scores_NC, targets_NC, weights_RN)


def auprc(scores_NC: Floats, targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """Return the (R, C) average precisions (as scikit-learn, without interpolation), NaN without a positive record."""
    return _by_class(_auprc, scores_NC, targets_NC, weights_RN)


def interval(scores_R: Floats, level: float = 0.95) -> Interval:
    """Return the percentile interval of the resamples' scores, NaN if no resample has a score.

    Args:
        scores_R: (R + 1,) scores from these functions, or the difference of two; the sample's own score comes first.
        level: the confidence level.
    """
    if np.isnan(scores_R[1:]).all():
        return Interval(float(scores_R[0]), float("nan"), float("nan"))
    low, high = np.nanquantile(scores_R[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores_R[0]), float(low), float(high))


def _by_class(
    score: Callable[[Floats, npt.NDArray[np.bool_], Floats], Floats],
    scores_NC: Floats,
    targets_NC: npt.NDArray[np.bool_],
    weights_RN: Floats,
) -> Floats:
    weights_NR = np.ascontiguousarray(weights_RN.T)  # rows are reordered below, and a row stays contiguous
    columns = zip(scores_NC.T, targets_NC.T, strict=True)
    return np.stack([score(scores_N, targets_N, weights_NR) for scores_N, targets_N in columns], axis=1)


def _auprc(scores_N: Floats, targets_N: npt.NDArray[np.bool_], weights_NR: Floats) -> Floats:
    """Return the weighted mean of the precision at each positive record. Equal scores are decided together."""
    order = np.argsort(-scores_N, kind="stable")
    ordered = -scores_N[order]
    positives_P = np.flatnonzero(targets_N[order])
    ends_P = np.searchsorted(ordered, ordered[positives_P], side="right")
    weights_NR = weights_NR[order]
    weights_PR = weights_NR[positives_P]
    hits_PR = _running(weights_PR)[np.searchsorted(positives_P, ends_P)]
    precision_PR = divide(hits_PR, _running(weights_NR)[ends_P], otherwise=0.0)
    return divide(_products(precision_PR, weights_PR), weights_PR.sum(axis=0), otherwise=np.nan)


def _auroc(scores_N: Floats, targets_N: npt.NDArray[np.bool_], weights_NR: Floats) -> Floats:
    """Return the weighted share of (positive, negative) pairs that are ranked correctly. A tie counts half."""
    positives_P, negatives_M = np.flatnonzero(targets_N), np.flatnonzero(~targets_N)
    negatives_M = negatives_M[np.argsort(scores_N[negatives_M], kind="stable")]
    ranked_M = scores_N[negatives_M]
    firsts_P, ends_P = (np.searchsorted(ranked_M, scores_N[positives_P], side) for side in ("left", "right"))
    below_MR = _running(weights_NR[negatives_M])
    below_PR = below_MR[ends_P]
    if (firsts_P < ends_P).any():  # otherwise no negative record has the score of a positive one
        below_PR = (below_PR + below_MR[firsts_P]) / 2
    weights_PR = weights_NR[positives_P]
    pairs_R = weights_PR.sum(axis=0) * below_MR[-1]
    return divide(_products(below_PR, weights_PR), pairs_R, otherwise=np.nan)


def _running(weights_NR: Floats) -> Floats:
    """Return the (N + 1, R) sums of the first 0, 1, … N rows.

    The rows are added one by one, because `cumsum` walks across them at half the speed.
    """
    sums_NR = np.empty((len(weights_NR) + 1, weights_NR.shape[1]))
    sums_NR[0] = 0.0
    for row, weights_R in enumerate(weights_NR):
        np.add(sums_NR[row], weights_R, out=sums_NR[row + 1])
    return sums_NR


def _products(one_PR: Floats, other_PR: Floats) -> Floats:
    """Return the (R,) sums of products."""
    sums: Floats = np.einsum("pr,pr->r", one_PR, other_PR)
    return sums


def divide(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any], otherwise: float) -> Floats:
    """Return the quotient, or `otherwise` where the denominator is 0."""
    quotient: Floats = np.full(numerator.shape, otherwise)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
