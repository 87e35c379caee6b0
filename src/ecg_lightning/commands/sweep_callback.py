"""The Hydra callback of a run or a sweep. It guards the folder, and reports at the end."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import filelock
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ecg_lightning.errors import ConfigError, RefusedExit, UserError, fail
from ecg_lightning.reports.sweep_table import SweepTable, explain, report_sweep
from ecg_lightning.reports.tables import collect, write_csv
from ecg_lightning.results.delayed_files import delay_files
from ecg_lightning.results.finished import holds_sweep
from ecg_lightning.results.results import RESULT_FILE, SWEEP_TABLE
from ecg_lightning.system.run_lock import check_entries


class SweepReport(SweepTable, Callback):
    """A callback that guards the folder, keeps `results.csv` current, and exits with 1 if a cell failed.

    With `hydra/launcher=process` the launcher opens the sweep's folder and gives it the cells.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep Hydra's files of an earlier command until this command is known to fit its folder."""
        folder = Path(config.hydra.run.dir)
        if holds_sweep(folder):
            raise RefusedExit(
                ConfigError(f"{folder} is the folder of a sweep. Name another folder with hydra.run.dir=DIR")
            )
        _check_entries(folder)
        _warn_of_ignored(config, "sweep", "a single run. Use hydra.run.dir=DIR")
        _delay_files_of_hydra(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a folder that holds another sweep, because its results would be mixed or lost."""
        folder = Path(config.hydra.sweep.dir)
        _check_entries(folder)
        _warn_of_ignored(config, "run", "a sweep (-m). Use hydra.sweep.dir=DIR")
        if config.hydra.launcher._target_.endswith(".ProcessLauncher"):
            return  # the launcher refuses such a folder itself, once it knows the cells
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(folder / ".lock")  # held until this process ends
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RefusedExit(
                ConfigError(f"another sweep is running in hydra.sweep.dir={folder}; name another folder")
            ) from None
        if any(folder.rglob(RESULT_FILE)):
            raise RefusedExit(
                ConfigError(
                    f"hydra.sweep.dir={folder} already holds a sweep; name another folder, move the old sweep away, or "
                    "use hydra/launcher=process, which resumes it"
                )
            )

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Rewrite `results.csv` from all existing results."""
        settings = HydraConfig.get()
        if settings.mode == RunMode.MULTIRUN:
            folder = Path(settings.sweep.dir)
            write_csv(collect(folder), folder / SWEEP_TABLE)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the ranked table and the next commands, and exit with 1 if a cell failed."""
        folder = Path(config.hydra.sweep.dir)
        try:
            rows = self.print_table() if self._folder else report_sweep(folder)
        except UserError as error:
            fail(str(error), error.exit_code)
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(explain(error, folder / SWEEP_TABLE), 1)
        if self._folder and not self.write():
            fail(f"{folder} is not complete; the reason is printed above", 1)
        asked = {cell.run for cell in self._cells} or {row["run"] for row in rows}
        failed = [row for row in rows if row["status"] in ("failed", "interrupted") and row["run"] in asked]
        if failed:
            print(f"error: {len(failed)} of {len(asked)} cells did not finish; see the table", file=sys.stderr)
            sys.exit(1)


def _delay_files_of_hydra(config: DictConfig) -> None:
    """Keep Hydra from overwriting its files of an earlier command.

    Args:
        config: configuration that Hydra composed for a single run, with `hydra`.
    """
    name, folder = config.hydra.output_subdir, Path(config.hydra.run.dir).absolute()
    if name is None or not (folder / name).is_dir():
        return
    composed = deepcopy(config)
    with read_write(composed), open_dict(composed):
        composed.hydra.runtime.output_dir = str(folder)
        hydra = OmegaConf.masked_copy(composed, "hydra")
        del composed["hydra"]
    parts = {"config": composed, "hydra": hydra, "overrides": hydra.hydra.overrides.task}
    delay_files(folder, {f"{name}/{part}.yaml": OmegaConf.to_yaml(content) for part, content in parts.items()})
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.output_subdir = None


def _warn_of_ignored(config: DictConfig, kind: str, effect: str) -> None:
    """Warn of a folder setting for the other kind of command, because Hydra ignores it."""
    for override in config.hydra.overrides.hydra:
        if override.lstrip("+").startswith(f"hydra.{kind}.dir="):
            print(f"warning: {override} has no effect on {effect}", file=sys.stderr)


def _check_entries(folder: Path) -> None:
    try:
        check_entries(folder)
    except UserError as error:
        raise RefusedExit(error) from None
