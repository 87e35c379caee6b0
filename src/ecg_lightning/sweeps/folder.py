"""The folder of a sweep: it is found, locked against other sweeps, and its content is checked."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import filelock
import yaml
from omegaconf import DictConfig, OmegaConf

from ecg_lightning.errors import ConfigError, DataError
from ecg_lightning.results.results import HYDRA_SWEEP_FILE, RESULT_FILE, SWEEP_FILE, SWEEP_TABLE, read_result
from ecg_lightning.sweeps.cells import FINISHED
from ecg_lightning.system.disk import write_whole

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_LOCK = ".lock"
_CELLS_LOCK = ".cells.lock"
STOP_S = 30.0
"""Seconds that a stopped cell has to save its checkpoint before it is killed."""


def lock(folder: Path) -> filelock.BaseFileLock:
    """Create the folder, and lock it until the lock is released or this process ends.

    Raises:
        ConfigError: another sweep is running in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(folder / _LOCK)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigError(
            f"another sweep is running in hydra.sweep.dir={folder}. Name another folder, or wait until it ends"
        ) from None
    return held


def hold_for_cell(folder: Path) -> int:
    """Return an open file descriptor whose lock makes the next sweep in this folder wait until this process ends."""
    descriptor = os.open(folder / _CELLS_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def wait_for_cells(folder: Path) -> None:
    """Wait for cells of a killed sweep. They stop by themselves, and save a checkpoint first.

    Raises:
        ConfigError: one of them does not stop.
    """
    if sys.platform == "win32":  # cells have no own process on Windows
        return
    descriptor = os.open(folder / _CELLS_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    deadline, said = time.monotonic() + STOP_S + 10, False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigError(
                        f"a cell of an earlier sweep is still running in hydra.sweep.dir={folder}. End it first"
                    ) from None
            if not said:
                log.info("waiting for the cells of an earlier sweep in %s to stop", folder)
                said = True
            time.sleep(0.1)
    finally:
        os.close(descriptor)


def find_unfinished(config: DictConfig) -> list[Path]:
    """Return the folders of unfinished sweeps of the same command beside the new one, the newest first.

    The list is empty if the command line names a folder, or the new folder exists.
    """
    folder = Path(config.hydra.sweep.dir)
    hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)
    if folder.exists() or any(part.startswith("hydra.sweep.dir=") for part in hydra["overrides"]["hydra"]):
        return []
    written = [*folder.parent.glob(f"*/{SWEEP_TABLE}"), *folder.parent.glob(f"*/{SWEEP_FILE}")]
    newest = sorted(written, key=lambda path: path.stat().st_mtime, reverse=True)
    asked = _command(hydra)
    there = dict.fromkeys(path.parent for path in newest)
    return [one for one in there if _is_unfinished(one / SWEEP_TABLE) and _command_of(one) == asked]


def write_command(config: DictConfig) -> None:
    """Write the sweep's command into its folder, so that the same command finds it.

    Hydra's own file may be cut short.

    Raises:
        DiskFullError: the file does not fit on the disk.
    """
    folder = Path(config.hydra.sweep.dir)
    command = _command(OmegaConf.to_container(config.hydra, resolve=False))
    write_whole(folder / SWEEP_FILE, json.dumps(command) + "\n")


def check_holds_no_other(folder: Path, known: set[str]) -> None:
    """Refuse a folder with results that are not cells of the sweep, because they would be mixed with the cells.

    Raises:
        ConfigError: the folder has such results.
    """
    for path in folder.rglob(RESULT_FILE):
        run = path.parent
        if str(run.relative_to(folder)) not in known and read_result(run)["status"] == "ok":
            raise ConfigError(
                f"hydra.sweep.dir={folder} already holds a result of something else ({path}). Name another folder"
            )


def _is_unfinished(table: Path) -> bool:
    if not table.is_file():  # the disk had no room for it
        return True
    with table.open(newline="", encoding="utf-8") as file:
        return any(row.get("status") not in FINISHED for row in csv.DictReader(file))


def _command_of(folder: Path) -> dict[str, Any] | None:
    """Return the command of a sweep; None if it cannot be read.

    Sweeps of earlier versions have only Hydra's own file.
    """
    try:
        if (folder / SWEEP_FILE).is_file():
            own: dict[str, Any] = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
            return own
        text = (folder / HYDRA_SWEEP_FILE).read_text(encoding="utf-8")
        written = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _command(written["hydra"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, DataError):
        return None


def _command(hydra: Any) -> dict[str, Any]:
    return {
        "task": hydra["overrides"]["task"],
        "config": hydra["job"]["config_name"],
        "params": hydra["sweeper"].get("params"),
    }
