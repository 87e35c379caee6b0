"""From the `data` settings of a run to their source, without PyTorch: what an evaluation needs of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_lightning.data.folder import FolderSource
from ecg_lightning.data.ptbxl_source import PTBXLSource
from ecg_lightning.data.schema import FolderConfig
from ecg_lightning.data.source import ECGSource


def open_source(data: Mapping[str, Any], root: Path | None = None) -> ECGSource:
    """Return the source that a run's `data` settings describe. It is only read.

    Args:
        data: the settings, as a run's `config.yaml` holds them; those that are not there have their defaults.
        root: the folder, in place of the one that the settings name.

    Raises:
        KeyError, TypeError: the settings name no folder.
    """
    folder = root or Path(data["root"])
    if data.get("kind") == FolderConfig.kind:
        return FolderSource(folder, Path(data["table"]), data.get("labels"), class_map=data.get("class_map"))
    settings = {name: data[name] for name in ("task", "label_rule") if isinstance(data.get(name), str)}
    return PTBXLSource(folder, **settings)
