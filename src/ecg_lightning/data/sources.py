"""The data sets that there are, and the source that a run's settings describe, without PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_lightning.components.registry import renamed
from ecg_lightning.data.folder import FolderSource
from ecg_lightning.data.ptbxl_source import PTBXLSource, SyntheticSource
from ecg_lightning.data.source import ECGSource

SOURCES: dict[str, type[ECGSource]] = {"ptbxl": PTBXLSource, "synthetic": SyntheticSource, "folder": FolderSource}
"""Option of the group `data` → its source."""


def open_source(data: Mapping[str, Any], root: Path | None = None) -> ECGSource:
    """Return the source that a run's `data` settings describe. It is only read.

    Args:
        data: the settings, as a run's `config.yaml` holds them; those that are not there have their defaults.
        root: the folder, in place of the one that the settings name.

    Raises:
        KeyError, TypeError: the settings name no folder, or hold what no source takes.
    """
    kind: Any = SOURCES.get(str(renamed(data).get("kind")), PTBXLSource)
    if kind is SyntheticSource:  # as PTB-XL, so that nothing is written
        kind = PTBXLSource
    taken = inspect.signature(kind).parameters
    settings = {name: value for name, value in data.items() if name in taken and value is not None}
    folder = root or Path(data["root"])
    source: ECGSource = kind(**{**settings, "root": folder.expanduser()})
    return source
