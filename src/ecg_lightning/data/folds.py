"""Which folds each training of a cross-validation holds out, and where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def fold_groups(cross_validation: Iterable[Any]) -> list[list[int]]:
    """The folds that each training of a cross-validation holds out: `[7, [1, 2]]` → `[[7], [1, 2]]`."""
    return [list(one) if isinstance(one, Sequence) and not isinstance(one, str) else [one] for one in cross_validation]


def folder_name(folds: Iterable[int]) -> str:
    """The folder, in the cross-validation's, of the training that holds these folds out."""
    return "fold" + "_".join(map(str, folds))
