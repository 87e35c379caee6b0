"""Decision thresholds, chosen on the validation fold alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def best_f1_thresholds(
    probabilities_NC: npt.NDArray[np.float64], targets_NC: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """The threshold of each class that maximises its F1; exact, by one sort a class.

    A record is positive where its probability is greater than or equal to the threshold. A class without a
    positive record keeps 0.5.

    Returns:
        (C,) thresholds in [0, 1], halfway between two neighbouring probabilities.
    """
    thresholds = np.full(targets_NC.shape[1], 0.5)
    for column in range(targets_NC.shape[1]):
        if not targets_NC[:, column].any():
            continue
        order = np.argsort(-probabilities_NC[:, column], kind="stable")
        scores, truth = probabilities_NC[order, column], targets_NC[order, column].astype(np.float64)
        true_positives = np.cumsum(truth)
        f1 = 2 * true_positives / (np.arange(1, len(truth) + 1) + truth.sum())
        f1[:-1][scores[1:] == scores[:-1]] = -1.0  # equal probabilities cannot be told apart by a threshold
        last = int(f1.argmax())
        below = scores[last + 1] if last + 1 < len(scores) else 0.0
        thresholds[column] = (scores[last] + below) / 2
    return thresholds
