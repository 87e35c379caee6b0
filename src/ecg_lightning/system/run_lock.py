"""A run's folder belongs to one process at a time; what killed processes left half-written in it is removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import filelock

from ecg_lightning.errors import ConfigError, RunLockedError

_LOCK_FILE = ".lock"
_WAIT_S = 2.0  # loader processes of a run that was killed hold its lock for a moment
_PARTS = ("", "fold*/", "variants/*/")
_OF_RUNS = (".hydra", "checkpoints", "*.log")
_WRITTEN = (
    *(*_OF_RUNS, ".lock", ".cells.lock", "csv", "fold[0-9]*", "stages", "tensorboard", "trainings", "variants"),
)
_HALF_WRITTEN = (".*.tmp", "checkpoints/.*.tmp")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process; it is made where it is not there.

    Raises:
        RunLockedError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / _LOCK_FILE)
    try:
        lock.acquire(timeout=_WAIT_S)
    except filelock.Timeout:
        raise RunLockedError(
            f"another run is working in {folder}. Wait until it ends, or name another folder with hydra.run.dir=DIR"
        ) from None
    try:
        remove_half_written(folder)
        yield
    finally:
        lock.release()


def check_entries(folder: Path) -> None:
    """Refuse the folder of a run or a sweep that would be written through: to where a link leads, or into a pipe.

    Raises:
        ConfigError: names the first such entry.
    """
    cells = [path for path in _entries(folder) if path.is_dir() and any(_entries(path, _OF_RUNS))]
    for run in (folder, *cells):
        for entry in _entries(run, _WRITTEN):
            _check_entry(entry, folder)
            for above, folders, files in os.walk(entry):
                for name in (*folders, *files):
                    _check_entry(Path(above, name), folder)
        if run != folder:
            _check_entry(run, folder)


def _entries(folder: Path, patterns: Sequence[str] = ("*",)) -> list[Path]:
    """Return what a folder holds by these names, links to nowhere included, which `Path.glob` leaves out."""
    try:
        return [path for path in folder.iterdir() if any(fnmatch(path.name, one) for one in patterns)]
    except OSError:  # it is not there, or may not be read
        return []


def _check_entry(path: Path, folder: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{path} is a link that leads out of {folder}. Remove it")
    if not (path.is_symlink() or path.is_dir() or path.is_file()):
        raise ConfigError(f"{path} is not a regular file. Remove it")


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of saves that were killed, by the names that `disk` and `checkpoint_io` give them."""
    for pattern in (f"{part}{name}" for part in _PARTS for name in _HALF_WRITTEN):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
