"""Limits of trust in a model: conformal sets with a promised coverage, and mistakes in its surest records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.calibration import logit
from ecg_lightning.evaluation.conformal import ConformalSets, Flags, Floats

if TYPE_CHECKING:
    from ecg_lightning.evaluation.choices import Decided


RETAINED = (1.0, 0.9, 0.8, 0.7, 0.5)
"""The shares of the records that are kept."""


class Coverage(NamedTuple):
    """The coverage of conformal sets on records with known labels, as intervals; NaN without such records.

    Attributes:
        positive: the share of the positive records whose set holds `present`; the promise is 1 − alpha.
        negative: the share of the negative records whose set holds `absent`; the promise is 1 − alpha.
        undecided: the share of the records whose set holds both labels, or neither.
        n_positive: the number of records behind `positive`.
    """

    positive: Interval
    negative: Interval
    undecided: Interval
    n_positive: int


def coverage(
    sets: ConformalSets, targets_NC: Flags, patient_ids: npt.NDArray[np.int64], weights_RN: Floats
) -> list[Coverage]:
    """Return the measured coverage of each class for given bounds.

    The promise holds on average over validation folds.

    Args:
        sets: the conformal sets of N records.
        targets_NC: (N, C) labels of the records.
        patient_ids: (N,) patients of the records.
        weights_RN: the weights from `bootstrap.patient_weights`.
    """

    def share(flags_N: Flags, of_N: Flags) -> Interval:
        value, low, high = bootstrap.interval(bootstrap.mean(flags_N[of_N].astype(np.float64), weights_RN[:, of_N]))
        # If all or none are covered, every resample has the same share. The bound is then Clopper and Pearson's (1934),
        # by patient.
        room = 1 - 0.025 ** (1 / len(np.unique(patient_ids[of_N]))) if value in (0, 1) else 0.0
        return Interval(value, min(low, 1 - room) if value == 1 else low, max(high, room) if value == 0 else high)

    return [
        Coverage(
            positive=share(present_N, positive_N),
            negative=share(absent_N, ~positive_N),
            undecided=share(undecided_N, np.ones_like(positive_N)),
            n_positive=int(positive_N.sum()),
        )
        for present_N, absent_N, undecided_N, positive_N in zip(
            sets.present_NC.T, sets.absent_NC.T, sets.undecided.T, targets_NC.T, strict=True
        )
    ]


def distance_certainty(decided: Decided) -> Floats:
    """Return (N,) least distances of each record from its classes' thresholds, in logits."""
    certainty_N: Floats = np.abs(logit(decided.probabilities_NC) - logit(decided.thresholds_C)).min(axis=1)
    return certainty_N


def agreement_certainty(spreads_NC: Floats) -> Floats:
    """Return the (N,) agreement of an ensemble's members: minus the largest standard deviation of a record."""
    certainty_N: Floats = -spreads_NC.max(axis=1)
    return certainty_N


class Abstention(NamedTuple):
    """The mistakes in the records that a model is surest of. It abstains from the others.

    Attributes:
        kept: the shares of the records, one for each entry of the next two.
        wrong_labels: the intervals of the share of the kept records' labels that are decided wrongly.
        wrong_records: the intervals of the share of the kept records with any label decided wrongly.
        aurc: the interval of the area under the curve of `wrong_records` over all shares (Geifman and El-Yaniv 2017,
            arXiv 1705.08500). For an uninformative certainty it is about the `wrong_records` of all records.
    """

    kept: list[float]
    wrong_labels: list[Interval]
    wrong_records: list[Interval]
    aurc: Interval


def abstain(
    decided: Decided, targets_NC: Flags, certainty_N: Floats, weights_RN: Floats, kept: Sequence[float] = RETAINED
) -> Abstention:
    """Return the mistakes in the surest records. Unlike macro F1, they do not depend on which classes remain.

    Args:
        decided: the probabilities and thresholds.
        targets_NC: (N, C) labels.
        certainty_N: (N,) certainties; larger where the model is surer.
        weights_RN: the weights from `bootstrap.patient_weights`.
        kept: the shares of the records that are kept.
    """
    surest_first = np.argsort(-certainty_N, kind="stable")
    wrong_NC = decided.decisions != targets_NC
    wrong_labels_N, wrong_records_N = wrong_NC.mean(axis=1), wrong_NC.any(axis=1).astype(np.float64)
    curves: tuple[list[Interval], list[Interval]] = ([], [])
    for share in kept:
        chosen = surest_first[: max(1, round(share * len(surest_first)))]
        weights_RK = weights_RN[:, chosen]
        for curve, wrong_N in zip(curves, (wrong_labels_N, wrong_records_N), strict=True):
            curve.append(bootstrap.interval(bootstrap.mean(wrong_N[chosen], weights_RK)))
    weights_RN = weights_RN[:, surest_first]
    n_kept_RN = weights_RN.cumsum(axis=1)
    wrong_RN = (weights_RN * wrong_records_N[surest_first]).cumsum(axis=1)
    risks_RN = bootstrap.divide(wrong_RN, n_kept_RN, otherwise=0.0)
    aurc_R = (risks_RN * weights_RN).sum(axis=1) / n_kept_RN[:, -1]
    return Abstention(list(kept), *curves, bootstrap.interval(aurc_R))
