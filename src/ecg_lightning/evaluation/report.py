"""The report on a classifier: every score with its interval, calibration, and trivial baselines for comparison."""

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
    """The scores of one split.

    Attributes:
        probabilities: the scored kind: `calibrated`, with thresholds on them, or `raw` without a validation fold.
        n_records: the number of records in the split.
        n_patients: the number of patients in the split.
        positives: class → number of its records.
        scores: the interval of each of `METRICS`, by class and `macro`.
        calibration: the expected calibration error, also of each class, and the Brier score, by `none`, `temperature`
            and `platt`.
        baselines: the macro F1 of deciding every class, and of deciding none, for every record.
        conformal: the measured coverage of each class's sets, which may miss `conformal.ALPHA`. It is empty for the
            validation fold, which defines the sets.
        absent: class → share of the resamples without a positive or without a negative record of it, if there are any.
            In these the macro means run over the other classes.
        abstention: the mistakes in the records that the model is surest of, by measure of certainty: the `distance` to
            the thresholds and, for an ensemble, the `agreement` of its members.
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
        """Return the report as plain values, for JSON."""
        scores = {
            name: {metric: list(interval) for metric, interval in metrics.items()}
            for name, metrics in self.scores.items()
        }
        conformal = {name: one._asdict() for name, one in self.conformal.items()}
        abstention = {name: one._asdict() for name, one in self.abstention.items()}
        return {**vars(self), "scores": scores, "conformal": conformal, "abstention": abstention}


def evaluate(choices: Choices, split: Predictions, n_resamples: int = 1000) -> Report:
    """Return the scores of a split, with the thresholds and the calibration that the validation fold chose.

    Args:
        choices: the model's choices. Those of a checkpoint that holds only thresholds calibrate nothing.
        split: the predictions of the same model.
        n_resamples: the number of resamples of the bootstrap by patient.
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
    if not choices.is_fitted_on(split) and choices.bounds is not None:
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
    """Return `Report.abstention` for other shares of the records. Arguments are those of `evaluate`."""
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
    """Return the (R, C) scores of each of `METRICS`."""
    return {
        "auroc": bootstrap.auroc(decided.probabilities_NC, targets_NC, weights_RN),
        "auprc": bootstrap.auprc(decided.probabilities_NC, targets_NC, weights_RN),
        **bootstrap.rates(decided.decisions, targets_NC, weights_RN),
    }


def calibration_errors(choices: Choices, split: Predictions, weights_RN: Floats) -> dict[str, dict[str, Any]]:
    """Return `ece`, `ece_by_class` and the interval of `brier`, before and after calibration on the validation fold.

    The expected calibration error has no interval. Resamples repeat records, which raises the error by more than its
    random variation, so its percentiles would not be an interval.
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
