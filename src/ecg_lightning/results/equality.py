"""The settings that change neither weights nor scores, and the comparison of configurations without them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

WITHOUT_EFFECT = (
    *("task_name", "for_model", "logger", "paths", "n_tried"),
    *("hardware.threads", "data.cache_dir", "data.num_workers"),
    *("callbacks.figures", "callbacks.collapse_guard", "trainer.log_every_n_steps", "trainer.profiler"),
    *("compression.latency", "compression.pt2"),
)
"""The only list of settings that change neither weights nor scores.

For a training, `ckpt_path` is another one (`ckpt_path=auto`). Elsewhere `ckpt_path` names the model.
"""


def in_effect(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved configuration without the settings that change neither weights nor scores."""
    return without(config, (*WITHOUT_EFFECT, "ckpt_path") if config.get("train") else WITHOUT_EFFECT)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys in which two configurations differ.

    A key that is absent from one of them counts as off, because another version may have written the file. One batch
    (`trainer.limit_train_batches=1`) differs from all batches (1.0).
    """
    flat_one, flat_other = flat(one), flat(other)
    return sorted(
        key
        for key in flat_one.keys() | flat_other.keys()
        if json.dumps(flat_one.get(key), default=str) != json.dumps(flat_other.get(key), default=str)
        and ((key in flat_one and key in flat_other) or flat_one.get(key) or flat_other.get(key))
    )


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as a flat table with dotted keys, such as `data.root`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def without(config: Mapping[str, Any], keys: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Return a configuration without some of its dotted keys, such as `data.root`."""
    return {
        name: without(value, keys, f"{prefix}{name}.") if isinstance(value, Mapping) else value
        for name, value in config.items()
        if f"{prefix}{name}" not in keys
    }


def value_at(settings: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key, or None if a part of the key is missing."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
