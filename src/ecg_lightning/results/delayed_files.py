"""Files of a run's folder that a command overwrites only once it is known to fit the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ecg_lightning.results.results import CELL_FILE
from ecg_lightning.system.disk import write_whole

_delayed: dict[Path, dict[str, str]] = {}


def delay_files(folder: Path, files: Mapping[str, str]) -> None:
    """Keep the texts of files for later, so that the files of an earlier command stay unchanged for now.

    Args:
        folder: the run's folder.
        files: the texts by their file names in the folder.
    """
    _delayed[folder] = dict(files)


def write_delayed_files() -> None:
    """Write the delayed files, once the command is known to fit its folder.

    Raises:
        DiskFullError: the files do not fit.
    """
    while _delayed:
        folder, files = _delayed.popitem()
        for name, text in files.items():
            write_whole(folder / name, text)
        (folder / CELL_FILE).unlink(missing_ok=True)  # no longer a sweep's cell, but a run of these settings


def discard_delayed_files() -> None:
    """Discard the delayed files. The command has ended, and the existing files stay unchanged."""
    _delayed.clear()
