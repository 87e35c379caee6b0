"""All targets by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from fuzz.lanes import Target

_MODULES = ("wfdb_files", "tables", "arrays", "results", "checkpoint_files", "cache_files", "exported_files")


def all_targets(folder: Path) -> dict[str, Target]:
    """Make every target with its good files below `folder`."""
    found: dict[str, Target] = {}
    for name in _MODULES:
        (folder / name).mkdir(parents=True)
        found |= {target.name: target for target in import_module(f"fuzz.{name}").targets(folder / name)}
    return found
