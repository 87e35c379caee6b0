"""A lock that gives a run's folder to one process at a time, and the removal of files that killed runs left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import filelock

from ecg_lightning.errors import ConfigError, RunLockedError

_LOCK_FILE = ".lock"
_WAIT_S = 2.0  # loader processes of a killed run hold its lock for a moment
_PARTS = ("", "fold*/", "variants/*/")
_OF_RUNS = (".hydra", "checkpoints", "*.log")
_WRITTEN = (
    *(*_OF_RUNS, ".lock", ".cells.lock", "csv", "fold[0-9]*", "stages", "tensorboard", "trainings", "variants"),
)
_HALF_WRITTEN = (".*.tmp", "checkpoints/.*.tmp")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run's folder for this process within the block. The folder is created if it does not exist.

    Raises:
        RunLockedError: another process holds the lock.
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
    """Refuse a run's or sweep's folder if a write could follow a link out of it or go into a pipe.

    Raises:
        ConfigError: such an entry exists. The message names the first one.
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
    """Return a folder's entries that match a pattern. Broken links are included, which `Path.glob` leaves out."""
    try:
        return [path for path in folder.iterdir() if any(fnmatch(path.name, one) for one in patterns)]
    except OSError:  # the folder does not exist or cannot be read
        return []


def _check_entry(path: Path, folder: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{path} is a link that leads out of {folder}. Remove it")
    if not (path.is_symlink() or path.is_dir() or path.is_file()):
        raise ConfigError(f"{path} is not a regular file. Remove it")


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of killed saves. `disk` and `checkpoint_io` give them these names."""
    for pattern in (f"{part}{name}" for part in _PARTS for name in _HALF_WRITTEN):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
