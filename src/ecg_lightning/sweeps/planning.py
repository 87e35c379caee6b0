"""The plan of a sweep: its cells before any of them runs, and the folder that they run in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import filelock
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ecg_lightning.config import validation
from ecg_lightning.config.named_files import check_named_files
from ecg_lightning.errors import ConfigError, UserError
from ecg_lightning.sweeps.cells import Cell, compose_cell, nearest_difference, place, settings_in, task_overrides
from ecg_lightning.sweeps.folder import check_holds_no_other, find_unfinished, lock, wait_for_cells

log = logging.getLogger(__name__)


def planned_cells(loader: ConfigLoader, config: DictConfig) -> list[Cell] | None:
    """Return all cells of a sweep, composed before anything is written; None for a search.

    A search plans one batch of cells at a time. The function does the same as `BasicSweeper.sweep`, whose batches
    `Sweep.launch` receives later.
    """
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(f".{BasicSweeper.__name__}"):
        return None
    asked = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    asked += task_overrides(config)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(asked)
    batches = BasicSweeper.split_arguments(overrides, None)
    return [compose_cell(loader, config, one, number) for number, one in enumerate(batches[0])]


def open_folder(config: DictConfig, planned: list[Cell] | None) -> filelock.BaseFileLock:
    """Choose and lock the folder, and set the planned cells' folders in it.

    Args:
        config: the sweep's configuration. Its `hydra.sweep.dir` becomes the folder of a resumed sweep.
        planned: all cells of the sweep; None for a search.

    Raises:
        ConfigError: the folder holds another sweep, or a sweep is running in it.
    """
    if planned is not None:
        for folder in find_unfinished(config):
            try:
                held = _open_at(folder, planned, wholly=True)
            except ConfigError as error:  # it is running, or the configuration's files have changed
                log.warning("the unfinished sweep in %s is not resumed: %s", folder, error)
                continue
            log.info("resuming the sweep in %s; for a new sweep, name a folder with hydra.sweep.dir=DIR", folder)
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(folder)
            return held
    return _open_at(Path(config.hydra.sweep.dir), planned or [])


def _open_at(folder: Path, planned: list[Cell], *, wholly: bool = False) -> filelock.BaseFileLock:
    """Lock a folder and place the cells, if one of its cells is planned, or all of them with `wholly`."""
    held = lock(folder)
    try:
        wait_for_cells(folder)
        there = settings_in(folder)
        check_holds_no_other(folder, set(there))
        place(planned, there, folder)
        known = there.keys() & {cell.run for cell in planned}
        if len(known) < (len(there) if wholly else min(1, len(there))):
            if not planned:
                raise ConfigError(
                    f"hydra.sweep.dir={folder} already holds a sweep. Name another folder for this search"
                )
            raise ConfigError(
                f"hydra.sweep.dir={folder} already holds a sweep with other settings "
                f"({nearest_difference(planned, there)}). Name another folder, or move this one away"
            )
    except BaseException:
        held.release()
        raise
    return held


def warn_of_refused(cells: Sequence[Cell]) -> None:
    """Warn of cells whose settings will be refused, before other cells run for hours."""
    reasons = {cell.run: reason for cell in cells if (reason := _refusal(cell))}
    for reason in dict.fromkeys(reasons.values()):
        runs = [run for run, why in reasons.items() if why == reason]
        more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        log.warning("%d of %d cells will fail (%s%s): %s", len(runs), len(cells), ", ".join(runs[:3]), more, reason)


def _refusal(cell: Cell) -> str | None:
    """Return why a cell's settings are refused; None if they are not."""
    checks = {"train": validation.validate, "compress": validation.validate_compression}
    check = checks.get(cell.config.hydra.job.config_name)
    if check is None:  # another program's configuration
        return None
    config = OmegaConf.masked_copy(cell.config, [str(key) for key in cell.config if key != "hydra"])
    try:
        with read_write(config):
            config.paths.output_dir = cell.run
        validation.check_experiment(config.get("for_model"), cell.result.choices)
        check(config)
        check_named_files(config)
    except UserError as error:
        return str(error)
    except OmegaConfBaseException:  # the cell explains this error
        return None
    return None
