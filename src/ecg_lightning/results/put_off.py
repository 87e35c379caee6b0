"""Delayed files of a run's folder. A command overwrites them only once it is known to fit the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ecg_lightning.results.results import CELL_FILE
from ecg_lightning.system.disk import write_whole

_put_off: dict[Path, dict[str, str]] = {}


def put_off(folder: Path, files: Mapping[str, str]) -> None:
    """Keep the texts of files for later, so that the files of an earlier command stay unchanged for now.

    Args:
        folder: the run's folder.
        files: the texts by their file names in the folder.
    """
    _put_off[folder] = dict(files)


def write_put_off() -> None:
    """Write the delayed files, once the command is known to fit its folder.

    Raises:
        DiskFullError: the files do not fit.
    """
    while _put_off:
        folder, files = _put_off.popitem()
        for name, text in files.items():
            write_whole(folder / name, text)
        (folder / CELL_FILE).unlink(missing_ok=True)  # no longer a sweep's cell, but a run of these settings


def discard_put_off() -> None:
    """Discard the delayed files. The command has ended, and the existing files stay unchanged."""
    _put_off.clear()
