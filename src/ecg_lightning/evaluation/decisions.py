"""From a model's predictions to calibrated probabilities and thresholds, all chosen on the validation fold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.calibration import fit_temperature
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.evaluation.thresholds import f1_thresholds

Floats = npt.NDArray[np.float64]


class Decided(NamedTuple):
    """Probabilities of a split, and the validation fold's thresholds.

    Attributes:
        probabilities_NC: (N, C), calibrated.
        thresholds_C: on them.
    """

    probabilities_NC: Floats
    thresholds_C: Floats

    @property
    def decisions(self) -> npt.NDArray[np.bool_]:
        """(N, C): which classes reach their threshold."""
        return self.probabilities_NC >= self.thresholds_C


def macro_scores(decided: Decided, targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> tuple[Floats, Floats]:
    """(R,) macro F1 and macro AUROC of the resamples of `bootstrap.patient_weights`."""
    return (
        bootstrap.f1_macro(decided.decisions, targets_NC, weights_RN),
        bootstrap.auroc_macro(decided.probabilities_NC, targets_NC, weights_RN),
    )


def macro_intervals(
    decided: Decided,
    targets_NC: npt.NDArray[np.bool_],
    patient_ids_N: npt.NDArray[np.int64],
    n_resamples: int = 1000,
) -> dict[str, list[float]]:
    """95 % intervals of macro F1 at the thresholds and of macro AUROC, as `result.json` names them."""
    weights_RN = bootstrap.patient_weights(patient_ids_N, n_resamples)
    f1, auroc = (bootstrap.interval(scores_R) for scores_R in macro_scores(decided, targets_NC, weights_RN))
    return {"f1_macro_tuned": [f1.low, f1.high], "auroc_macro": [auroc.low, auroc.high]}


def decide(val: Predictions | None, split: Predictions, thresholds_C: Floats | None = None) -> Decided:
    """Calibrate and threshold a split by the validation fold.

    Args:
        val: of the validation fold; None where it was not predicted.
        split: of the same model; may be the validation fold itself, whose scores are then too good.
        thresholds_C: without `val`: those on probabilities as they are.
    """
    if val is None:
        assert thresholds_C is not None
        return Decided(split.probabilities(), thresholds_C)
    temperature = fit_temperature(val.logits_NC, val.targets_NC, val.link)
    thresholds = f1_thresholds(val.probabilities(temperature), val.targets_NC)
    return Decided(split.probabilities(temperature), thresholds)
