"""The sources by name, and the source that a run's settings describe. Nothing here imports PyTorch."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_lightning.components.registry import options, renamed
from ecg_lightning.data.source import ECGSource


def source_class(option: str) -> type[ECGSource]:
    """Return the source class of an option of the group `data`. Its module is imported only when needed.

    Raises:
        KeyError: there is no such option.
    """
    module, _, name = options("data")[option].target.rpartition(".")
    found: type[ECGSource] = getattr(importlib.import_module(module), name)
    return found


def open_source(data: Mapping[str, Any], root: Path | None = None) -> ECGSource:
    """Return the source that a run's `data` settings describe. The data set is only read.

    Args:
        data: the settings of a run's `config.yaml`; missing settings have their defaults.
        root: the folder that replaces the one in the settings.

    Raises:
        KeyError, TypeError: the settings name no folder, or hold a value that no source accepts.
    """
    option = renamed(data).get("kind") or "ptbxl"  # the earliest versions wrote no kind
    folder = root or (Path(data["root"]) if data["root"] or option != "synthetic" else _made("synthetic", data).root)
    named = "ptbxl" if option == "synthetic" else str(option)  # so that nothing is written
    return _made(named, {**data, "root": str(folder.expanduser())})


def has_own_labels(data: Mapping[str, Any]) -> bool:
    """Return whether the classes of the data set that some settings describe are those of its own table."""
    schema = options("data").get(str(renamed(data).get("kind")))
    return schema is not None and schema.own_labels


def _made(option: str, data: Mapping[str, Any]) -> ECGSource:
    kind: Any = source_class(option)
    schema = options("data")[option]
    known = {entry.name for entry in dataclasses.fields(schema)} - {"kind"}
    source: ECGSource = kind(schema(**{name: data[name] for name in known & data.keys() if data[name] is not None}))
    return source
