"""Whether two runs ended in the same state: weights, optimizer, thresholds, scores and predictions, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from reliability.programs import read_json

_OF_A_CHECKPOINT = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers")
_OF_A_RESULT = ("status", "metrics", "chosen", "score", "evaluation")


def difference(found: Path, expected: Path) -> str | None:
    """Return the first difference between two finished runs; None where there is none."""
    for name in ("last", "best"):
        states = [_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for folder in (found, expected)]
        for part in _OF_A_CHECKPOINT if name == "last" else ("state_dict",):
            if place := first_difference(*(state.get(part) for state in states)):
                return f"{name}.ckpt differs in {part}{place}"
    results = [read_json(folder / "result.json") for folder in (found, expected)]
    for part in _OF_A_RESULT:
        if place := first_difference(*(result.get(part) for result in results)):
            return f"result.json differs in {part}{place}"
    predictions = [(folder / "predictions.csv").read_bytes() for folder in (found, expected)]
    return "predictions.csv differs" if predictions[0] != predictions[1] else None


def steps_in(checkpoint: Path) -> int:
    """Return the optimizer steps of a checkpoint; 0 where there is none."""
    return int(_checkpoint(checkpoint)["global_step"]) if checkpoint.is_file() else 0


def _checkpoint(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True)) if path.is_file() else {}


def first_difference(one: Any, other: Any) -> str:
    """Where two trees differ; empty where they do not. NaN equals NaN."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype and torch.equal(_bits(one), _bits(other))
        return "" if same else " (a tensor)"
    if isinstance(one, dict) and isinstance(other, dict):
        if set(one) != set(other):
            return f" (keys {sorted(map(str, set(one) ^ set(other)))[:3]})"
        return next((f".{key}{place}" for key in one if (place := first_difference(one[key], other[key]))), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((f"[{number}]{place}" for number, pair in pairs if (place := first_difference(*pair))), "")
    return "" if one == other or repr(one) == repr(other) else f" ({one!r:.40} and {other!r:.40})"


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8) if tensor.is_floating_point() and tensor.dim() else tensor
