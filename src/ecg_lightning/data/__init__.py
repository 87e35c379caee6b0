"""Data sets: tables and labels, verified signals, the cache, and the Lightning data modules."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecg_lightning.data.datamodule import (
        ECGBatch,
        ECGDataModule,
        PTBXLDataModule,
    )
    from ecg_lightning.data.folder import FolderSource
    from ecg_lightning.data.labels import SUPERCLASSES

__all__ = [
    "SUPERCLASSES",
    "ECGBatch",
    "ECGDataModule",
    "FolderSource",
    "PTBXLDataModule",
]


def __getattr__(name: str) -> Any:
    # PyTorch and Lightning import in seconds, and pandas in half a second. Prediction needs none of them.
    if name == "SUPERCLASSES":
        from ecg_lightning.data import labels

        return labels.SUPERCLASSES
    if name == "FolderSource":
        from ecg_lightning.data import folder

        return folder.FolderSource
    if name in __all__:
        from ecg_lightning.data import datamodule

        return getattr(datamodule, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
