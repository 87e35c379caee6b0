"""The report of a run or a sweep: `results.csv`, the ranked table and the next commands, as a Hydra callback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from ecg_lightning.disk import explain_full, is_full
from ecg_lightning.errors import ConfigError, RefusedExit, UserError, fail
from ecg_lightning.finished import holds_sweep
from ecg_lightning.hydra_files import put_off
from ecg_lightning.reports.figure_files import pixels
from ecg_lightning.reports.terminal import print_section
from ecg_lightning.run_lock import check_entries
from ecg_lightning.runs import handin
from ecg_lightning.runs.console import make_console
from ecg_lightning.runs.next_steps import alike, print_next
from ecg_lightning.runs.results import RESULT_FILE, SWEEP_TABLE, RunResult, read_result
from ecg_lightning.runs.tables import collect, ranking_section, run_row, write_csv
from ecg_lightning.runs.variants import (
    RUNTIME_COLUMNS,
    VARIANT_COLUMNS,
    runtime_rows,
    variant_rows,
    variants_section,
    without_repeats,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ecg_lightning.sweeps.cells import Cell

log = logging.getLogger(__name__)


class SweepReport(Callback):
    """Keep `results.csv` current, print the table at the end, and exit with 1 if a cell failed.

    With `hydra/launcher=process` the launcher opens the sweep's folder, and says which cells there are.

    Attributes:
        unwritten: results by their folder that the sweep's process has still to write, such as a killed cell's.
    """

    def __init__(self) -> None:
        self.unwritten: dict[Path, RunResult] = {}
        self._folder: Path | None = None
        self._cells: Sequence[Cell] = ()

    def begin(self, folder: Path, cells: Sequence[Cell]) -> None:
        """Take over the cells of a sweep, whose results it will go on changing, and write the first table."""
        self._folder, self._cells = folder, cells
        for left in folder.glob(".*.tmp"):  # by a sweep that was killed
            left.unlink(missing_ok=True)
        self.write()

    def write(self) -> bool:
        """Write `results.csv` and what is still unwritten; False, for the next time, if one of them cannot be."""
        parts: list[Callable[[], None]] = [partial(self._write_result, folder) for folder in self.unwritten]
        if self._cells:
            parts.append(self._write_table)
        written = [self._is_written(part) for part in parts]  # each is tried
        return all(written)

    def _is_written(self, write: Callable[[], None]) -> bool:
        assert self._folder is not None
        try:
            write()
        except (OSError, UserError) as error:
            log.warning("%s", _explain(error, self._folder / SWEEP_TABLE))
            return False
        return True

    def _write_result(self, folder: Path) -> None:
        self.unwritten[folder].write(folder)
        del self.unwritten[folder]

    def _write_table(self) -> None:
        assert self._folder is not None
        write_csv(self._rows(), self._folder / SWEEP_TABLE)

    def print_table(self) -> list[dict[str, Any]]:
        """Write what is unwritten, print the ranked table and what to do next, and return the table's rows."""
        assert self._folder is not None
        self.write()
        rows = self._rows()
        print_sweep(self._folder, rows)
        return rows

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep Hydra's files of an earlier command until this one is known to fit its folder."""
        folder = Path(config.hydra.run.dir)
        if holds_sweep(folder):
            raise RefusedExit(
                ConfigError(f"{folder} is the folder of a sweep. Name another folder with hydra.run.dir=DIR")
            )
        _check_entries(folder)
        _warn_of_ignored(config, "sweep", "a single run. Use hydra.run.dir=DIR")
        put_off(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a folder that holds another sweep: its results would be mixed or lost."""
        folder = Path(config.hydra.sweep.dir)
        _check_entries(folder)
        _warn_of_ignored(config, "run", "a sweep (-m). Use hydra.sweep.dir=DIR")
        if config.hydra.launcher._target_.endswith(".ProcessLauncher"):
            return  # which refuses such a folder itself, once it knows the cells
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
        """Rewrite `results.csv` from every result that is there."""
        settings = HydraConfig.get()
        if settings.mode == RunMode.MULTIRUN:
            folder = Path(settings.sweep.dir)
            write_csv(collect(folder), folder / SWEEP_TABLE)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the ranked table and what to do next."""
        folder = Path(config.hydra.sweep.dir)
        try:
            rows = self.print_table() if self._folder else report_sweep(folder)
        except UserError as error:
            fail(str(error), error.exit_code)
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(_explain(error, folder / SWEEP_TABLE), 1)
        if self._folder and not self.write():
            fail(f"{folder} is not complete; the reason is printed above", 1)
        asked = {cell.run for cell in self._cells} or {row["run"] for row in rows}
        failed = [row for row in rows if row["status"] in ("failed", "interrupted") and row["run"] in asked]
        if failed:
            print(f"error: {len(failed)} of {len(asked)} cells did not finish; see the table", file=sys.stderr)
            sys.exit(1)

    def _rows(self) -> list[dict[str, Any]]:
        assert self._folder is not None
        return collect(self._folder, {cell.run: cell.result for cell in self._cells})


def _warn_of_ignored(config: DictConfig, kind: str, effect: str) -> None:
    """Warn of the folder of the other kind of command, which Hydra reads and does not use."""
    for override in config.hydra.overrides.hydra:
        if override.lstrip("+").startswith(f"hydra.{kind}.dir="):
            print(f"warning: {override} has no effect on {effect}", file=sys.stderr)


def _check_entries(folder: Path) -> None:
    try:
        check_entries(folder)
    except UserError as error:
        raise RefusedExit(error) from None


def _explain(error: OSError | UserError, path: Path) -> str:
    if isinstance(error, UserError):
        return str(error)
    return explain_full(path) if is_full(error) else f"{error.filename or path}: {error.strerror or error}"


def report_sweep(folder: Path) -> list[dict[str, Any]]:
    """Write `results.csv` and print the ranked table and what to do next; gives the table's rows."""
    rows = collect(folder)
    if rows:
        write_csv(rows, folder / SWEEP_TABLE)
        print_sweep(folder, rows)
    return rows


def print_sweep(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Print the ranked table of a sweep and what to do next, and write what its compressions measured."""
    console = make_console()
    print_section(ranking_section(rows, f"{folder}/{SWEEP_TABLE}"), console)
    figure = report_variants(folder, console)
    if figure is not None and any(folder.rglob("events.out.tfevents.*")):  # the cells log to TensorBoard
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(folder / "tensorboard") as writer:
            writer.add_image("pareto", pixels(figure)[..., :3], dataformats="HWC")
    done = [row for row in rows if row["status"] == "ok" and row["score"] is not None]
    best = folder / done[0]["run"] if done else None
    handin.leave_sweep(rows, folder, best)
    print_next(console, folder, best, [folder / row["run"] for row in done if alike(row, done[0])])


def report_run(folder: Path) -> None:
    """Print one run's scores and what to do next."""
    console = make_console()
    if report_variants(folder, console) is None:
        print_section(ranking_section([run_row(folder, folder.parent)], str(folder)), console)
    print_next(console, folder, folder)


def report_variants(folder: Path, console: Console) -> Figure | None:
    """Write what was measured in and below a folder, and print the table.

    `variants.csv` has each variant as it is deployed, `runtimes.csv` everything that was timed, `pareto.png` the front.

    Returns:
        The Pareto plot; None if nothing was measured.
    """
    runs = {
        str(path.parent.relative_to(folder)): read_result(path.parent) for path in sorted(folder.rglob(RESULT_FILE))
    }
    rows = [row for run, result in runs.items() for row in variant_rows(result, run)]
    if not rows:
        return None
    from ecg_lightning.runs.pareto import (
        pareto_figure,
        save_pareto,
    )  # matplotlib: only where there is something to draw

    write_csv(rows, folder / "variants.csv", VARIANT_COLUMNS)
    timed = [row for run, result in runs.items() for row in runtime_rows(result, run)]
    write_csv(timed, folder / "runtimes.csv", RUNTIME_COLUMNS)
    figure = pareto_figure(rows)
    save_pareto(figure, folder)
    if "." not in runs:  # a sweep: a run has written its own
        handin.leave_variants(without_repeats(rows), folder)
    print_section(variants_section(without_repeats(rows), f"{folder}/variants.csv"), console)
    return figure
