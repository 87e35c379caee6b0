"""A sweep that runs its cells, each in its own process."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, filter_overrides
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ecg_lightning.components.registry import targets_of
from ecg_lightning.errors import ConfigError, DataError, UserError
from ecg_lightning.reports.sweep_table import SweepTable
from ecg_lightning.results.equality import flat
from ecg_lightning.results.finished import has_checkpoints
from ecg_lightning.results.results import RESULT_FILE, RunResult
from ecg_lightning.sweeps.cells import Cell, compose_cell, result_of, seconds_of, task_overrides, write_cell
from ecg_lightning.sweeps.folder import STOP_S, write_command
from ecg_lightning.sweeps.output import OUTPUT_FILE, last_message
from ecg_lightning.sweeps.planning import open_folder, planned_cells, warn_of_refused
from ecg_lightning.sweeps.process import CellProcess, Job, start_server
from ecg_lightning.system.long_steps import INTERVAL_S, long_step
from ecg_lightning.system.stopping import SIGNALS
from ecg_lightning.training.shared_runs import forget_refused, start_or_go_on

log = logging.getLogger(__name__)

_TICK_S = 0.5


@dataclasses.dataclass
class _Running:
    """A cell that runs.

    Attributes:
        before: seconds of its earlier tries that it resumes; None if they were not measured.
        why_stopped: reason why only this cell was stopped, such as a timeout.
        kill_at: time at which it is killed if it has not stopped.
    """

    cell: Cell
    process: CellProcess
    before: float | None
    signalled: bool = False
    why_stopped: str | None = None
    kill_at: float = math.inf


class Sweep:
    """A sweep that runs its cells.

    Args:
        hydra_context: Hydra's loader of configurations and its callbacks.
        task_function: function of the job.
        config: the sweep's configuration. Its `hydra.sweep.dir` becomes the folder of a resumed sweep.
        jobs: number of cells that run at a time.
        cell_timeout: seconds after which a cell is stopped; None for no limit.

    Raises:
        ConfigError: the folder holds another sweep, or a sweep is running in it.
    """

    def __init__(
        self,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        jobs: int,
        cell_timeout: float | None,
    ) -> None:
        if jobs < 1:
            raise ConfigError(f"hydra.launcher.jobs={jobs}: must be at least 1")
        if cell_timeout is not None and not cell_timeout > 0:
            raise ConfigError(f"hydra.launcher.cell_timeout={cell_timeout:g}: must be above 0, or null for no limit")
        self._context, self._task_function, self._config = hydra_context, task_function, config
        self._jobs, self._timeout = jobs, cell_timeout
        self._stopped_by: int | None = None
        self._is_loaded = False
        self._running: list[_Running] = []
        callbacks = hydra_context.callbacks.callbacks
        self._report = next((one for one in callbacks if isinstance(one, SweepTable)), None) or SweepTable()
        planned = planned_cells(hydra_context.config_loader, config)
        self._lock = open_folder(config, planned)
        self._cells = planned or []
        warn_of_refused([cell for cell in self._cells if not cell.finished])
        write_command(self._config)
        self._report.begin(self.folder, self._cells)
        forget_refused(self.folder)
        if planned is None or not all(cell.finished for cell in planned):
            start_server(_modules([cell.settings for cell in self._cells if not cell.finished]))

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(self._config.hydra.sweep.dir)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the unfinished cells of a batch.

        Returns:
            The return of each cell. It holds None for a failed cell, which a search counts as a failed trial.
        """
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        end = initial_job_idx + len(job_overrides)
        for number in range(len(self._cells), end):  # a search plans one batch at a time
            overrides = job_overrides[number - initial_job_idx]
            self._cells.append(compose_cell(self._context.config_loader, self._config, overrides, number))
        cells = self._cells[initial_job_idx:end]
        self._report.write()
        if finished := sum(cell.finished for cell in cells):
            log.info("%d of %d cells are finished", finished, len(cells))
        if self._jobs > 1 and any(_compresses(cell.settings) for cell in cells):
            log.warning(
                "latencies are measured while other cells run, so do not compare them; measure them with "
                "hydra.launcher.jobs=1"
            )
        with self._stopping_on_signals():
            self._run([cell for cell in cells if not cell.finished])
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        if self._stopped_by is not None:
            self._report.print_table()
            done = sum(cell.finished for cell in self._cells)
            are = "is" if done == 1 else "are"
            print(f"The sweep stopped. Run the same command again: {done} of {self._total} cells {are} finished.")
            sys.stdout.flush()
            sys.exit(128 + self._stopped_by)
        if end >= self._total:  # a search asks for its cells in several batches
            self._lock.release()
        return [_returned(cell) for cell in cells]

    def _run(self, waiting: list[Cell]) -> None:
        """Run cells until none is left, or a signal stops the sweep."""
        told = time.monotonic()
        while self._running or (waiting and self._stopped_by is None):
            while waiting and len(self._running) < self._jobs and self._stopped_by is None:
                self._start(waiting.pop(0))
            connection.wait([one.process.sentinel for one in self._running], timeout=_TICK_S)
            for one in list(self._running):
                if connection.wait([one.process.sentinel], timeout=0):
                    self._running.remove(one)
                    self._end(one)
                else:
                    self._limit(one)
            if self._jobs > 1 and time.monotonic() - told > INTERVAL_S:
                told = time.monotonic()
                self._tell_progress()

    def _tell_progress(self) -> None:
        """Log each running cell's last line, because cells that share the cores print into files."""
        for one in self._running:
            if message := last_message(self.folder / one.cell.run / OUTPUT_FILE):
                log.info("cell %d: %s", one.cell.number + 1, message)

    @property
    def _total(self) -> int:
        return self._config.hydra.sweeper.get("n_trials") or len(self._cells)

    def _left(self) -> str:
        """Return the estimated time of the remaining cells, from the finished cells; empty before there are any."""
        measured = [self._seconds(cell) for cell in self._cells if cell.result.status == "ok"]
        known = [seconds for seconds in measured if seconds is not None]
        if not known:
            return ""
        each = sum(known) / len(known)
        begun = [cell for cell in self._cells if cell.result.status in ("planned", "running")]
        left = each * (self._total - len(self._cells))  # trials that a search has not planned yet
        left += sum(max(0.0, each - (seconds_of(self.folder / cell.run) or 0.0)) for cell in begun)
        return f", about {_duration(left / self._jobs)} left"

    def _seconds(self, cell: Cell) -> float | None:
        """Return the whole time of a finished cell. For a cell of an earlier version it is the training's time."""
        seconds = seconds_of(self.folder / cell.run)
        return cell.result.timing.get("fit_s") if seconds is None else seconds

    def _start(self, cell: Cell) -> None:
        shared = set.intersection(*[set(other.overrides) for other in self._cells])
        own = [part for part in cell.overrides if part not in shared or len(self._cells) == 1]
        told = " ".join(filter_overrides(own))
        log.info("cell %d of %d%s: %s (%s)", cell.number + 1, self._total, self._left(), told, cell.run)
        run = self.folder / cell.run
        cell.result.status, cell.result.reason = "running", "it is running, or was running when the sweep was killed"
        self._report.write()
        config = _configured(cell, self.folder)
        before = seconds_of(run) if has_checkpoints(run) else 0.0
        job = Job(
            self._task_function,
            JobRuntime.instance().get("name"),
            config,
            self.folder,
            run / OUTPUT_FILE if self._jobs > 1 else None,
            self._jobs,
        )
        try:
            (run / RESULT_FILE).unlink(missing_ok=True)  # result of an earlier try
            write_cell(cell, self.folder, None)
            with self._loading():
                started = _Running(cell, CellProcess(job), before)
        except UserError as error:
            self._fail(cell, str(error), cell.result)
            return
        except (OSError, EOFError) as error:
            self._fail(cell, f"its process could not be started ({type(error).__name__}: {error})", cell.result)
            return
        self._running.append(started)
        if self._stopped_by is not None:  # a signal came while the process was made
            self._signal(started, self._stopped_by)

    def _loading(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that logs the loading of the libraries while the first cell waits for it."""
        is_first, self._is_loaded = not self._is_loaded, True
        return long_step(log, "loading the libraries once for all cells") if is_first else contextlib.nullcontext()

    def _end(self, one: _Running) -> None:
        """Store the outcome of a cell, whatever it is."""
        cell, folder = one.cell, self.folder / one.cell.run
        seconds = time.monotonic() - one.process.started
        _, reason = one.process.end()
        try:
            there = result_of(folder)
        except DataError:
            there = None
        if there is not None and there.status == "ok":
            cell.result = there
        elif one.why_stopped or there is None:
            status, why = "failed", one.why_stopped or reason or "its process ended without a result"
            if self._stopped_by is not None and not one.why_stopped:
                status, why = "interrupted", f"stopped by {signal.Signals(self._stopped_by).name}"
            self._fail(cell, why, there or cell.result, status)
        else:
            cell.result = there
        if one.before is not None:
            with contextlib.suppress(UserError):  # on a full disk the time stays unknown
                write_cell(cell, self.folder, one.before + seconds)
        self._report.write()
        said = self._jobs == 1 and cell.result is there and self._stopped_by is None  # by the cell on this terminal
        if not said:
            why = f": {cell.result.reason}" if cell.result.status not in ("ok", "interrupted") else ""
            log.info("cell %s: %s after %s%s", cell.run, cell.result.status, _duration(seconds), why)

    def _fail(self, cell: Cell, reason: str, known: RunResult, status: str = "failed") -> None:
        """Write the reason of a failure into the table and the cell's `result.json`."""
        cell.result = dataclasses.replace(known, status=status, reason=reason)
        self._report.unwritten[self.folder / cell.run] = cell.result
        self._report.write()

    def _limit(self, one: _Running) -> None:
        """Stop a cell that takes too long, and kill a cell that does not stop."""
        now = time.monotonic()
        if now >= one.kill_at:
            one.process.kill()
        elif one.process.has_answered():  # a thread that it has left, for example, gets little time
            one.kill_at = min(one.kill_at, now + STOP_S)
        elif self._timeout is not None and not one.signalled and now - one.process.started > self._timeout:
            one.why_stopped = f"took longer than hydra.launcher.cell_timeout={self._timeout:g}"
            self._signal(one, signal.SIGTERM)

    def _signal(self, one: _Running, number: int) -> None:
        if not one.signalled:
            one.signalled, one.kill_at = True, time.monotonic() + STOP_S
            one.process.send(number)

    @contextlib.contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Send a signal to the running cells, and start no others, within the context."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopped_by = self._stopped_by or number
            for one in self._running:
                self._signal(one, number)

        heard: list[int] = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        try:
            for number in heard:
                before[number] = signal.signal(number, stop)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _modules(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the modules that the server imports: those of every training, and the cells' models and stages."""
    named = [(key.rpartition(".")[2], str(value)) for one in settings for key, value in flat(one).items()]
    targets = targets_of({value for key, value in named if key == "kind"})
    targets |= {value for key, value in named if key == "_target_"}
    modules = {target.rpartition(".")[0] for target in targets if target.startswith("ecg_lightning.")}
    if any(_compresses(one) for one in settings):
        modules.add("ecg_lightning.compression.run")
    return [*sorted(modules), "ecg_lightning.commands.fork_server_imports"]


def _compresses(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("compression", {}).get("deploy"))


def _configured(cell: Cell, folder: Path) -> DictConfig:
    """Return the configuration for a cell's process, with its folder and its checkpoint."""
    config = cell.config
    with read_write(config), open_dict(config):
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.sweep.dir, config.hydra.sweep.subdir = str(folder), cell.run
        if config.get("train") and config.ckpt_path is None:
            config.ckpt_path = start_or_go_on(folder / cell.run)
    return config


def _returned(cell: Cell) -> JobReturn:
    return JobReturn(
        overrides=task_overrides(cell.config),
        cfg=OmegaConf.masked_copy(cell.config, [str(key) for key in cell.config if key != "hydra"]),
        hydra_cfg=OmegaConf.masked_copy(cell.config, "hydra"),
        working_dir=str(Path.cwd()),
        task_name=JobRuntime.instance().get("name"),
        status=JobStatus.COMPLETED,
        _return_value=cell.result.score if cell.result.status == "ok" else None,
    )


def _duration(seconds: float) -> str:
    """Return a time in words: `40 s`, `9 min` or `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
