"""Split conformal prediction: sets of plausible labels with a promised coverage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    pass


Floats = npt.NDArray[np.float64]


Flags = npt.NDArray[np.bool_]


ALPHA = 0.1
"""Share of the records that conformal sets may miss."""


class ConformalSets(NamedTuple):
    """Which labels of each class are plausible: present, absent, both (the model does not know), or neither.

    Attributes:
        present_NC: (N, C).
        absent_NC: (N, C).
    """

    present_NC: Flags
    absent_NC: Flags

    @property
    def undecided(self) -> Flags:
        """(N, C): whose set holds both labels, or neither."""
        same: Flags = self.present_NC == self.absent_NC
        return same


class Bounds(NamedTuple):
    """What makes conformal sets, on probabilities.

    Attributes:
        lowest_C: (C,) from which on a class is plausibly present.
        highest_C: (C,) up to which it is plausibly absent.
    """

    lowest_C: Floats
    highest_C: Floats

    def sets(self, probabilities_NC: Floats) -> ConformalSets:
        """Of records."""
        return ConformalSets(probabilities_NC >= self.lowest_C, probabilities_NC <= self.highest_C)


def conformal_bounds(val_NC: Floats, targets_NC: Flags, alpha: float = ALPHA) -> Bounds:
    """Split conformal prediction of every class on its own, conditional on the label.

    Among records exchangeable with the validation fold's, a positive record's set holds `present` with a probability of
    at least 1 − alpha, and a negative one's `absent` (Vovk et al. 2005, "Algorithmic Learning in a Random World",
    ch. 4.5, Mondrian predictors): a bound is the ⌈(n + 1)(1 − alpha)⌉-th most typical score of its n records.

    Args:
        val_NC: (N, C) probabilities of the validation fold.
        targets_NC: its labels.
        alpha: share of the records that may be missed.
    """
    lowest_C, highest_C = np.zeros(val_NC.shape[1]), np.ones(val_NC.shape[1])
    for column, (scores_N, positive_N) in enumerate(zip(val_NC.T, targets_NC.T, strict=True)):
        for bounds_C, of_N, order in ((lowest_C, positive_N, -1), (highest_C, ~positive_N, 1)):
            ranked = np.sort(scores_N[of_N])[::order]  # most typical of its label first
            rank = math.ceil((len(ranked) + 1) * (1 - alpha))
            if rank <= len(ranked):  # else the bound holds everything
                bounds_C[column] = ranked[rank - 1]
    return Bounds(lowest_C, highest_C)
