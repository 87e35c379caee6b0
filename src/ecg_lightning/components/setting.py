"""One setting of a component: its default, its bounds and one line of help, declared once in a schema.

A schema is a dataclass of settings. Its constructor, Hydra's checks, `--help` and the reference pages all read it.
Nothing here imports PyTorch, so a wrong key, type or value is reported in under a second.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ecg_lightning.errors import ConfigError, did_you_mean

T = TypeVar("T")

MISSING: Any = "???"
"""The default of a setting that must be given, in OmegaConf's notation."""

_LARGEST = 2**63 - 1


def setting(default: Any, help: str, **bounds: Any) -> Any:
    """Declare a field of a schema.

    Args:
        default: the default value; a list or mapping is copied for each instance.
        help: one line for `--help` and the reference pages.
        **bounds: the allowed values, which `check_value` checks: `choices`, `min`, `max`, `above` (exclusive minimum),
            `pattern` (and its description), `batches` (Lightning's number or share of batches).
    """
    metadata = {"help": help, **bounds}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def with_default(schema: Any, name: str, default: Any) -> Any:
    """Declare a setting of another schema with another default. Its help and its bounds are the other schema's."""
    return setting(default, **schema.__dataclass_fields__[name].metadata)


def kind(name: str) -> Any:
    """Declare the name of a component. Checkpoints and `config.yaml` hold it in place of a class; see `registry`."""
    return setting(name, "name of the component", choices=(name,))


def from_plain(schema: type[T], values: Mapping[str, Any], key: str) -> T:
    """Return a schema's settings, made from plain values such as those of a checkpoint from elsewhere.

    Args:
        schema: the dataclass.
        values: the fields by name; absent fields keep their defaults.
        key: the settings' key, for the message.

    Raises:
        ConfigError: a value has the wrong type, is out of bounds, or belongs to no field.
    """
    hints, fields = typing.get_type_hints(schema), {entry.name: entry for entry in dataclasses.fields(schema)}  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"{key}.{name}: there is no such key.{did_you_mean(str(name), [*fields])}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            made[name] = from_plain(typing.cast(type[Any], hints[name]), value, f"{key}.{name}")
            continue
        if not _is_of(value, hints[name]):
            raise ConfigError(f"{key}.{name}={value!s:.100}: this value is of the wrong type")
        if value is not None:
            check_value(f"{key}.{name}", value, fields[name].metadata)
        made[name] = value
    return schema(**made)


def check_value(key: str, value: Any, allowed: Mapping[str, Any]) -> None:
    """Refuse a value that its setting's bounds do not allow.

    Args:
        key: the setting's dotted key.
        value: the value; it is not None.
        allowed: the bounds.

    Raises:
        ConfigError: the value is not allowed. The message names the key, the value and what is allowed.
    """
    for one in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
        if isinstance(one, float) and not math.isfinite(one):
            raise ConfigError(f"{key}={value}: must be a finite number")
        if isinstance(one, int) and abs(one) > _LARGEST:
            raise ConfigError(f"{key}: must be between -2^63 and 2^63")
    if "choices" in allowed and value not in allowed["choices"]:
        names = [str(choice) for choice in allowed["choices"]]
        raise ConfigError(f"{key}={value}: allowed are {', '.join(names)}.{did_you_mean(str(value), names)}")
    if "min" in allowed and not value >= allowed["min"]:
        raise ConfigError(f"{key}={value}: must be at least {allowed['min']}")
    if "max" in allowed and not value <= allowed["max"]:
        raise ConfigError(f"{key}={value}: must be at most {allowed['max']}")
    if "above" in allowed and not value > allowed["above"]:
        raise ConfigError(f"{key}={value}: must be greater than {allowed['above']}")
    if "pattern" in allowed and not re.fullmatch(allowed["pattern"][0], value):
        raise ConfigError(f"{key}={value}: must look like {allowed['pattern'][1]}")
    if "batches" in allowed and not _is_batches(value):
        raise ConfigError(f"{key}={value}: give a whole number of batches, or a share from 0.0 to 1.0")


def _is_batches(value: Any) -> bool:
    """Return whether this is a number or share of batches. Lightning reads 1 as one batch and 1.0 as all batches."""
    return value >= 0 if isinstance(value, int) else isinstance(value, float) and 0 <= value <= 1


def _is_of(value: Any, hint: Any) -> bool:
    """Return whether a plain value has a field's type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_is_of(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list | tuple) and all(_is_of(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(
            _is_of(name, inner[0]) and _is_of(one, inner[1]) for name, one in value.items()
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
