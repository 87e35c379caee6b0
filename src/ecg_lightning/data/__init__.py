"""PTB-XL: tables and labels, verified signals, the cache, and the Lightning data modules."""

from typing import TYPE_CHECKING, Any

from ecg_lightning.data.labels import SUPERCLASSES

if TYPE_CHECKING:
    from ecg_lightning.data.datamodule import ECGBatch, PTBXLDataModule, SyntheticPTBXLDataModule

__all__ = ["SUPERCLASSES", "ECGBatch", "PTBXLDataModule", "SyntheticPTBXLDataModule"]


def __getattr__(name: str) -> Any:
    # PyTorch and Lightning take seconds to import; the label tools do without them.
    if name in __all__:
        from ecg_lightning.data import datamodule

        return getattr(datamodule, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
