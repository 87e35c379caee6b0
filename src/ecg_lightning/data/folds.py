"""The folds that each training of a cross-validation holds out, and the name of its folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def fold_groups(cross_validation: Iterable[Any]) -> list[list[int]]:
    """Return the folds that each training of a cross-validation holds out: `[7, [1, 2]]` → `[[7], [1, 2]]`."""
    return [list(one) if isinstance(one, Sequence) and not isinstance(one, str) else [one] for one in cross_validation]


def folder_name(folds: Iterable[int]) -> str:
    """Return the name of a training's folder within the cross-validation's. The name lists the held-out folds."""
    return "fold" + "_".join(map(str, folds))
