"""Pruning in steps: the amount and the epochs of each step."""

from __future__ import annotations


def cubic_amounts(amount: float, steps: int) -> list[float]:
    """Return the pruned fraction after each step: s_k = s · (1 − (1 − k/K)³). Most is pruned early.

    Zhu & Gupta 2017, arXiv 1710.01878, equation 1, from nothing pruned.
    """
    return [amount * (1 - (1 - step / steps) ** 3) for step in range(1, steps + 1)]


def share_epochs(epochs: int, steps: int) -> list[int]:
    """Share `epochs` between the steps. If they do not divide evenly, the last steps get one more each."""
    return [epochs // steps + (step >= steps - epochs % steps) for step in range(steps)]
