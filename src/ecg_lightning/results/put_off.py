"""Files in a run's folder that a command overwrites only once it is known to fit the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ecg_lightning.results.results import CELL_FILE
from ecg_lightning.system.disk import write_whole

_put_off: dict[Path, dict[str, str]] = {}


def put_off(folder: Path, files: Mapping[str, str]) -> None:
    """Keep what shall be written, so that the files of an earlier command stay as they are for now.

    Args:
        folder: of the run.
        files: texts by their names in the folder.
    """
    _put_off[folder] = dict(files)


def write_put_off() -> None:
    """Write the files that were put off, once the command is known to fit its folder.

    Raises:
        DiskFullError: they do not fit.
    """
    while _put_off:
        folder, files = _put_off.popitem()
        for name, text in files.items():
            write_whole(folder / name, text)
        (folder / CELL_FILE).unlink(missing_ok=True)  # a sweep's cell no more, but a run of these settings


def discard_put_off() -> None:
    """Leave the files as they are: the command has ended."""
    _put_off.clear()
