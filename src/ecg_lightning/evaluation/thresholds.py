"""Decision thresholds, chosen on the validation fold alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ecg_lightning.evaluation.calibration import Floats, fit_platt, logit

MIN_POSITIVES = 5


def f1_thresholds(probabilities_NC: npt.ArrayLike, targets_NC: npt.ArrayLike) -> Floats:
    """The threshold of each class that maximises the F1 to be expected.

    Of frequencies, the best threshold is half of the best F1 itself (Lipton et al. 2014, arXiv 1402.1892, theorem 1).
    So the probabilities are made frequencies by Platt's line, F1 is taken as those frequencies promise it, and the
    threshold is moved back to the probabilities as they are. Two numbers a class are fitted in place of a search for
    the best of N thresholds, whose F1 on a few hundred records is 0.02 to 0.03 better there than on new ones and, on
    those, up to 0.01 worse than this one's (docs/results/logbook/2026-11-26-evaluation.md).

    Args:
        probabilities_NC: of the validation fold; a record is positive where its probability is not below the threshold.
        targets_NC: 0 or 1. A class with fewer than `MIN_POSITIVES` positive records, or whose probabilities do not rise
            with the labels, keeps 0.5: there the best F1 to be expected is that of calling every record positive.

    Returns:
        (C,) thresholds in [0, 1].
    """
    logits_NC, targets = logit(probabilities_NC), np.asarray(targets_NC, dtype=np.float64)
    slopes_C, offsets_C = fit_platt(logits_NC, targets)
    frequencies_NC = -np.sort(-expit(slopes_C * logits_NC + offsets_C), axis=0)
    decided_N1 = np.arange(1, len(targets) + 1)[:, None]
    f1_NC = 2 * np.cumsum(frequencies_NC, axis=0) / (decided_N1 + frequencies_NC.sum(axis=0))
    lines_C = logit(f1_NC.max(axis=0) / 2) - offsets_C
    known_C = (slopes_C > 0) & (np.ptp(logits_NC, axis=0) > 0) & (targets.sum(axis=0) >= MIN_POSITIVES)
    return np.where(known_C, expit(lines_C / np.where(known_C, slopes_C, 1.0)), 0.5)
