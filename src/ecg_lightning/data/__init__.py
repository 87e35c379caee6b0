"""Data sets: tables and labels, verified signals, the cache, and the Lightning data modules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecg_lightning.data.datamodule import ECGBatch, ECGDataModule, PTBXLDataModule
    from ecg_lightning.data.folder import FolderSource
    from ecg_lightning.data.labels import SUPERCLASSES
    from ecg_lightning.data.schema import FolderConfig

__all__ = ["SUPERCLASSES", "ECGBatch", "ECGDataModule", "FolderConfig", "FolderSource", "PTBXLDataModule"]

_MODULES = {
    "SUPERCLASSES": "labels",
    "ECGBatch": "datamodule",
    "ECGDataModule": "datamodule",
    "FolderConfig": "schema",
    "FolderSource": "folder",
    "PTBXLDataModule": "datamodule",
}


def __getattr__(name: str) -> Any:
    # PyTorch and Lightning import in seconds, and pandas in half a second. Prediction needs none of them.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
