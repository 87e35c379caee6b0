"""Headline scores of decided probabilities: macro F1 and macro AUROC, in every resample of the patients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.bootstrap import Floats
from ecg_lightning.evaluation.choices import Decided


def macro_scores(decided: Decided, targets_NC: npt.NDArray[np.bool_], weights_RN: Floats) -> tuple[Floats, Floats]:
    """Return the (R,) macro F1 and macro AUROC of the resamples of `bootstrap.patient_weights`."""
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
    """Return 95 % intervals of macro F1 at the thresholds and of macro AUROC, by their names in `result.json`."""
    weights_RN = bootstrap.patient_weights(patient_ids_N, n_resamples)
    f1, auroc = (bootstrap.interval(scores_R) for scores_R in macro_scores(decided, targets_NC, weights_RN))
    return {"f1_macro_tuned": [f1.low, f1.high], "auroc_macro": [auroc.low, auroc.high]}
