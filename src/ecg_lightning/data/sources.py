"""The data sets that there are, and the source that a run's settings describe, without PyTorch."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_lightning.components.registry import options, renamed
from ecg_lightning.data.source import ECGSource


def source_class(option: str) -> type[ECGSource]:
    """Return the source of an option of the group `data`; its module is imported only when it is needed.

    Raises:
        KeyError: there is no such option.
    """
    module, _, name = options("data")[option].target.rpartition(".")
    found: type[ECGSource] = getattr(importlib.import_module(module), name)
    return found


def open_source(data: Mapping[str, Any], root: Path | None = None) -> ECGSource:
    """Return the source that a run's `data` settings describe. It is only read.

    Args:
        data: the settings, as a run's `config.yaml` holds them; those that are not there have their defaults.
        root: the folder, in place of the one that the settings name.

    Raises:
        KeyError, TypeError: the settings name no folder, or hold what no source takes.
    """
    option = renamed(data).get("kind")
    named = option if option in options("data") and option != "synthetic" else "ptbxl"  # so that nothing is written
    kind: Any = source_class(str(named))
    taken = inspect.signature(kind).parameters
    settings = {name: value for name, value in data.items() if name in taken and value is not None}
    folder = root or Path(data["root"])
    source: ECGSource = kind(**{**settings, "root": folder.expanduser()})
    return source
