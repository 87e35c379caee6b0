"""Synthetic data that the tries share, in one temporary folder."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from reliability.programs import TRAINING


def training(folder: Path, n_records: int = 120) -> list[str]:
    """Write the data and return the settings of a short training on them."""
    root = folder / "data"
    write_synthetic_ptbxl(root, n_records=n_records)
    return ["data=ptbxl", f"data.root={root}", f"data.cache_dir={folder / 'cache'}", *TRAINING]
