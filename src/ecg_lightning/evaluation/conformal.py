"""Split conformal prediction: sets of plausible labels with a promised coverage."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ALPHA = 0.1
"""The share of the records that conformal sets may miss."""


class ConformalSets(NamedTuple):
    """The plausible labels of each class: present, absent, both (the model does not know), or neither.

    Attributes:
        present_NC: (N, C) flags.
        absent_NC: (N, C) flags.
    """

    present_NC: Flags
    absent_NC: Flags

    @property
    def undecided(self) -> Flags:
        """The (N, C) flags of sets that hold both labels, or neither."""
        same: Flags = self.present_NC == self.absent_NC
        return same


class Bounds(NamedTuple):
    """The bounds on probabilities that define conformal sets.

    Attributes:
        lowest_C: (C,) probabilities from which on a class is plausibly present.
        highest_C: (C,) probabilities up to which a class is plausibly absent.
    """

    lowest_C: Floats
    highest_C: Floats

    def sets(self, probabilities_NC: Floats) -> ConformalSets:
        """Return the conformal sets of (N, C) probabilities."""
        return ConformalSets(probabilities_NC >= self.lowest_C, probabilities_NC <= self.highest_C)


def conformal_bounds(val_NC: Floats, targets_NC: Flags, alpha: float = ALPHA) -> Bounds:
    """Return the bounds of split conformal prediction, for every class separately and conditional on the label.

    For records exchangeable with the validation fold's, a positive record's set holds `present` with a probability of
    at least 1 − alpha, and a negative record's set holds `absent` likewise (Vovk et al. 2005, "Algorithmic Learning in
    a Random World", ch. 4.5, Mondrian predictors). A bound is the ⌈(n + 1)(1 − alpha)⌉-th most typical of its n scores.

    Args:
        val_NC: (N, C) probabilities of the validation fold.
        targets_NC: (N, C) labels of the validation fold.
        alpha: the share of the records that may be missed.
    """
    lowest_C, highest_C = np.zeros(val_NC.shape[1]), np.ones(val_NC.shape[1])
    for column, (scores_N, positive_N) in enumerate(zip(val_NC.T, targets_NC.T, strict=True)):
        for bounds_C, of_N, order in ((lowest_C, positive_N, -1), (highest_C, ~positive_N, 1)):
            ranked = np.sort(scores_N[of_N])[::order]  # the most typical score of the label comes first
            rank = math.ceil((len(ranked) + 1) * (1 - alpha))
            if rank <= len(ranked):  # otherwise the bound admits everything
                bounds_C[column] = ranked[rank - 1]
    return Bounds(lowest_C, highest_C)
