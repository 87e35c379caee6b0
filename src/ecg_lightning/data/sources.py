"""The data sets that there are, and the source that a run's settings describe, without PyTorch."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_lightning.data.source import ECGSource
from ecg_lightning.registry import renamed

SOURCES = {
    "ptbxl": "ecg_lightning.data.ptbxl_source.PTBXLSource",
    "synthetic": "ecg_lightning.data.ptbxl_source.SyntheticSource",
    "folder": "ecg_lightning.data.folder.FolderSource",
}
"""Option of the group `data` → its source, whose module is imported only when it is needed."""


def source_class(option: str) -> type[ECGSource]:
    """Return the source of an option of the group `data`."""
    module, _, name = SOURCES[option].rpartition(".")
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
    kind: Any = source_class("folder" if option == "folder" else "ptbxl")  # synthetic data, too: nothing is written
    taken = inspect.signature(kind).parameters
    settings = {name: value for name, value in data.items() if name in taken and value is not None}
    folder = root or Path(data["root"])
    source: ECGSource = kind(**{**settings, "root": folder.expanduser()})
    return source
