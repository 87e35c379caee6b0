"""Checks of a checkpoint's description by type and bounds, before anything is built from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_lightning.data.labels import LABEL_RULES, SUPERCLASSES, TASKS
from ecg_lightning.data.source import OWN
from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.errors import CheckpointError
from ecg_lightning.evaluation.choices import Choices

_RATES = (50, 2_000)  # Hz
_PTBXL_RATES = (100, 500)
_MAX_SECONDS = 600
_MAX_CLASSES = 1_000
_MAX_MEMBERS = 1_000
_LARGEST = 100_000  # largest whole number in a model's or a front end's settings
_LONGEST = 1_000  # longest list in these settings
_LARGEST_OF = {"size": 4096, "mc_dropout": 1_000}  # limits of settings whose cost no weight in the file shows

Check = Callable[[Any], bool]


def _is_whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 10_000


def _is_one_of(allowed: Any) -> Check:
    return lambda value: isinstance(value, str | int) and value in tuple(allowed)


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= _MAX_CLASSES
        and all(_is_text(name) and name for name in value)
        and len({*value}) == len(value)
    )


def _is_folds(value: Any) -> bool:
    """Return whether a value holds the folds by split and, if known, the name of their data set."""
    if not isinstance(value, dict) or not {"train", "val"} <= value.keys():
        return False
    splits = {name: folds for name, folds in value.items() if name in ("train", "val", "test")}
    others = [other for name, other in value.items() if name not in (*splits, "dataset")]
    return (
        all(map(_is_list_of(_is_whole(1, 10)), splits.values()))
        and all(map(_is_text, others))
        and _is_dataset(value.get("dataset"))
    )


def _is_dataset(value: Any) -> bool:
    """Return whether a value is a data set's name, or None for an unknown data set."""
    return value is None or (isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable())


def _is_licence(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1_000 and value.isprintable()


def _is_texts_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(key) and _is_text(item) for key, item in value.items())


def _is_list_of(check: Check, longest: int = _MAX_MEMBERS) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= longest and all(map(check, value))


def _is_node(value: Any) -> bool:
    """Return whether a value is a node of a configuration, with numbers that a network can have."""
    return isinstance(value, dict) and _is_text(value.get("kind")) and _is_modest(value)


def _is_modest(value: Any, key: str = "") -> bool:
    if isinstance(value, dict):
        return all(_is_text(name) and _is_modest(item, name) for name, item in value.items())
    if isinstance(value, list):
        return len(value) <= _LONGEST and all(_is_modest(item, key) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= _LARGEST_OF.get(key, _LARGEST)
    return value is None or isinstance(value, bool | float) or _is_text(value)


def _is_settings(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(name) for name in value)


def _is_data(value: Any) -> bool:
    if not _is_settings(value) or "_target_" in value:  # no version wrote a class path
        return False
    return _is_text(value.get("kind", "")) and _is_text(value.get("root") or "")


def _is_training(value: Any) -> bool:
    is_length = _is_whole(1, 2**31)
    return (
        _is_settings(value)
        and is_length(value.get("trainer.max_epochs"))
        and _is_list_of(is_length)(value.get("earlier_lengths", []))
    )


_REQUIRED: dict[str, Check] = {
    "seed": _is_whole(0, 2**32 - 1),
    "model": _is_node,
    "frontend": _is_node,
    "choices": _is_texts_by_name,
    "classes": _is_names,
    "sampling_rate": _is_whole(*_RATES),
    "n_samples": _is_whole(1, _MAX_SECONDS * _RATES[1]),
    "batch_size": _is_whole(1, 2**31),
    "label_rule": _is_one_of((*LABEL_RULES, OWN)),
    "folds": _is_folds,
}
_OPTIONAL: dict[str, Check] = {
    "version": _is_text,
    "task": _is_one_of((*TASKS, OWN)),
    "data": _is_data,
    "dataset": _is_dataset,
    "licences": _is_list_of(_is_licence, 100),
    "learned_from": _is_list_of(_is_folds),
    "members": _is_list_of(_is_settings),
    "stages": _is_list_of(_is_node),
    "deployed": _is_settings,
    "training": _is_training,
    "chosen": _is_settings,
}

KEYS = ("format", *_REQUIRED)
"""Entries that the description in each checkpoint of this project must hold."""


def check_description(described: Mapping[str, Any], path: Path, where: str = "") -> None:
    """Refuse a description with an impossible value. The descriptions of an ensemble's members are checked as well.

    Args:
        described: the description.
        path: the checkpoint's file, for the message.
        where: beginning of the key in the message: empty, or the member's.

    Raises:
        CheckpointError: names the first impossible entry.
    """
    for key, check in {**_REQUIRED, **_OPTIONAL}.items():
        if key not in described and key in _OPTIONAL:
            continue
        if key not in described or not check(described[key]):
            raise CheckpointError(
                f"{path} is damaged or not a checkpoint of ecg_lightning: {where}{key} is {_shown(described, key)}"
            )
    is_own = described.get("task") == OWN
    if not is_own and (rate := described["sampling_rate"]) not in _PTBXL_RATES:
        raise CheckpointError(f"{path}: {where}sampling_rate is {rate}, but PTB-XL has 100 and 500 Hz")
    if is_own and described["n_samples"] > _MAX_SECONDS * described["sampling_rate"]:
        raise CheckpointError(
            f"{path}: {where}n_samples is {described['n_samples']}, which is more than {_MAX_SECONDS} seconds at "
            f"{described['sampling_rate']} Hz"
        )
    if not is_own and described["n_samples"] != DURATION_S * described["sampling_rate"]:
        raise CheckpointError(
            f"{path}: {where}n_samples is {described['n_samples']}, but {DURATION_S} seconds at "
            f"{described['sampling_rate']} Hz are {DURATION_S * described['sampling_rate']}"
        )
    if described.get("task", "superdiagnostic") == "superdiagnostic" and tuple(described["classes"]) != SUPERCLASSES:
        raise CheckpointError(
            f"{path}: {where}classes are {_shown(described, 'classes')}, but those of data.task=superdiagnostic are "
            f"{', '.join(SUPERCLASSES)}"
        )
    if "chosen" in described:
        try:
            Choices.from_dict(described["chosen"], tuple(described["classes"]))
        except ValueError as error:
            raise CheckpointError(
                f"{path} is damaged or not a checkpoint of ecg_lightning: {where}chosen: {error}"
            ) from None
    for number, member in enumerate(described.get("members", [])):
        check_description(member, path, f"{where}members[{number}].")


def check_state(state: Any, described: Mapping[str, Any], path: Path) -> None:
    """Refuse a state that does not have parameter names, valid thresholds and weights without NaN.

    Raises:
        CheckpointError: the state is refused.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint of ecg_lightning: its state_dict has no parameter names"
        )
    thresholds = state.get("thresholds")
    if "thresholds" in state and (
        not isinstance(thresholds, Tensor)
        or thresholds.shape != (len(described["classes"]),)
        or not thresholds.is_floating_point()
        or not bool(((thresholds >= 0) & (thresholds <= 1)).all())
    ):
        shown = thresholds.tolist() if isinstance(thresholds, Tensor) and thresholds.numel() < 100 else "no numbers"
        raise CheckpointError(f"{path}: the thresholds are {shown}; each class needs one between 0 and 1")
    weights = (value for value in state.values() if isinstance(value, Tensor) and value.is_floating_point())
    if any(bool(torch.isnan(value).any()) for value in weights):
        raise CheckpointError(f"{path} holds weights that are NaN; use another checkpoint")


def _shown(described: Mapping[str, Any], key: str) -> str:
    if key not in described:
        return "missing"
    text = repr(described[key])
    return text if len(text) <= 100 else f"{text[:100]}…"
