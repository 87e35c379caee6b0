"""What a reviewer asks of a classifier: every score with its interval, calibration, and trivial baselines beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.bootstrap import Floats, Interval
from ecg_lightning.evaluation.calibration import brier_scores, expected_calibration_errors
from ecg_lightning.evaluation.choices import CALIBRATED, RAW, Choices, Decided
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.evaluation.uncertainty import (
    RETAINED,
    Abstention,
    Coverage,
    abstain,
    agreement_certainty,
    coverage,
    distance_certainty,
)

METRICS = ("auroc", "auprc", "f1", "sensitivity", "specificity", "ppv", "npv")
MACRO = "macro"


@dataclass(frozen=True)
class Report:
    """Scores of one split.

    Attributes:
        probabilities: that were scored: `calibrated`, with thresholds on them, or `raw` without a validation fold.
        n_records: in it.
        n_patients: in it.
        positives: records of each class.
        scores: interval of each of `METRICS`, by class and `macro`.
        calibration: expected calibration error, of each class, too, and Brier score, by `none`, `temperature` and
            `platt`.
        baselines: macro F1 of calling every class, and none, for every record.
        conformal: measured coverage of each class's sets, which may miss `uncertainty.ALPHA`; none of the validation
            fold, which makes them.
        absent: by class, the share of the resamples that hold no positive or no negative record of it, where there are
            such: there the macro means are over the other classes.
        abstention: mistakes in the records that the model is surest of, by what makes it sure: `distance` to the
            thresholds and, of an ensemble, the `agreement` of its members.
    """

    probabilities: str
    n_records: int
    n_patients: int
    positives: dict[str, int]
    scores: dict[str, dict[str, Interval]]
    calibration: dict[str, dict[str, Any]]
    baselines: dict[str, float]
    conformal: dict[str, Coverage]
    absent: dict[str, float]
    abstention: dict[str, Abstention]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        scores = {
            name: {metric: list(interval) for metric, interval in metrics.items()}
            for name, metrics in self.scores.items()
        }
        conformal = {name: one._asdict() for name, one in self.conformal.items()}
        abstention = {name: one._asdict() for name, one in self.abstention.items()}
        return {**vars(self), "scores": scores, "conformal": conformal, "abstention": abstention}


def evaluate(choices: Choices, split: Predictions, n_resamples: int = 1000) -> Report:
    """Score a split with the thresholds and the calibration that the validation fold chose.

    Args:
        choices: of the model. Those of a checkpoint that holds thresholds alone calibrate nothing.
        split: of the same model.
        n_resamples: of the bootstrap by patient.
    """
    decided = choices.apply(split)
    weights_RN = bootstrap.patient_weights(split.patient_ids, n_resamples)
    arrays = scores_by_class(decided, split.targets_NC, weights_RN)
    scores = {
        name: {metric: bootstrap.interval(values_RC[:, column]) for metric, values_RC in arrays.items()}
        for column, name in enumerate(split.classes)
    }
    scores[MACRO] = {metric: bootstrap.interval(bootstrap.macro(values_RC)) for metric, values_RC in arrays.items()}
    absent = dict(zip(split.classes, np.isnan(arrays["auroc"][1:]).mean(axis=0).tolist(), strict=True))
    whole = weights_RN[:1]
    every = np.ones_like(split.targets_NC)
    conformal = {}
    if choices.is_calibrated and not choices.is_fitted_on(split):
        sets = choices.bounds.sets(decided.probabilities_NC)
        conformal = dict(
            zip(split.classes, coverage(sets, split.targets_NC, split.patient_ids, weights_RN), strict=True)
        )
    return Report(
        probabilities=CALIBRATED if choices.is_calibrated else RAW,
        n_records=len(split.targets_NC),
        n_patients=len(np.unique(split.patient_ids)),
        positives=dict(zip(split.classes, split.targets_NC.sum(axis=0).tolist(), strict=True)),
        scores=scores,
        calibration=calibration_errors(choices, split, weights_RN),
        baselines={
            "every class": float(bootstrap.f1_macro(every, split.targets_NC, whole)[0]),
            "no class": float(bootstrap.f1_macro(~every, split.targets_NC, whole)[0]),
        },
        conformal=conformal,
        absent={name: share for name, share in absent.items() if share},
        abstention=_abstentions(decided, split, weights_RN, RETAINED),
    )


def abstentions(choices: Choices, split: Predictions, n_resamples: int, kept: Sequence[float]) -> dict[str, Abstention]:
    """`Report.abstention`, of other shares of the records; arguments as for `evaluate`."""
    weights_RN = bootstrap.patient_weights(split.patient_ids, n_resamples)
    return _abstentions(choices.apply(split), split, weights_RN, kept)


def _abstentions(
    decided: Decided, split: Predictions, weights_RN: Floats, kept: Sequence[float]
) -> dict[str, Abstention]:
    certainties = {"distance": distance_certainty(decided)}
    if split.spreads_NC is not None:
        certainties["agreement"] = agreement_certainty(split.spreads_NC)
    return {name: abstain(decided, split.targets_NC, one, weights_RN, kept) for name, one in certainties.items()}


def scores_by_class(decided: Decided, targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> dict[str, Floats]:
    """(R, C) of each of `METRICS`."""
    return {
        "auroc": bootstrap.auroc(decided.probabilities_NC, targets_NC, weights_RN),
        "auprc": bootstrap.auprc(decided.probabilities_NC, targets_NC, weights_RN),
        **bootstrap.rates(decided.decisions, targets_NC, weights_RN),
    }


def calibration_errors(choices: Choices, split: Predictions, weights_RN: Floats) -> dict[str, dict[str, Any]]:
    """`ece`, `ece_by_class` and the interval of `brier`, before and after calibration on the validation fold.

    The expected calibration error is given without an interval: resamples repeat records, which moves it up by more
    than chance moves it, so that its percentiles would not be one.
    """
    return {
        name: _calibration_error(guesses_NC, split.targets_NC, split.classes, weights_RN)
        for name, guesses_NC in choices.calibrated(split).items()
    }


def _calibration_error(
    guesses_NC: Floats, targets_NC: npt.NDArray[np.bool_], classes: Sequence[str], weights_RN: Floats
) -> dict[str, Any]:
    errors_C = expected_calibration_errors(guesses_NC, targets_NC)
    return {
        "ece": float(errors_C.mean()),
        "ece_by_class": dict(zip(classes, errors_C.tolist(), strict=True)),
        "brier": bootstrap.interval(bootstrap.mean(brier_scores(guesses_NC, targets_NC), weights_RN)),
    }
