"""Pruning in steps: how far each one goes, and how long each one is trained."""

from __future__ import annotations


def cubic_amounts(amount: float, steps: int) -> list[float]:
    """Fraction pruned after each step: s_k = s · (1 − (1 − k/K)³), most of it early, when there is much to spare.

    Zhu & Gupta 2017, arXiv 1710.01878, equation 1, from nothing pruned.
    """
    return [amount * (1 - (1 - step / steps) ** 3) for step in range(1, steps + 1)]


def share_epochs(epochs: int, steps: int) -> list[int]:
    """Epochs of each step, `epochs` in all; the last steps, which prune to the end, get what is left over."""
    return [epochs // steps + (step >= steps - epochs % steps) for step in range(steps)]
