"""The process of a cell. It is forked from a server that has imported the libraries, and its end gives the status."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, cast

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobRuntime, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ecg_lightning.errors import ConfigError, UserError
from ecg_lightning.hardware.processor import share_cores
from ecg_lightning.sweeps.folder import STOP_S, hold_for_cell
from ecg_lightning.system import stopping
from ecg_lightning.system.disk import explain_full, is_full
from ecg_lightning.system.stopping import SIGNALS
from ecg_lightning.text import explain_error, shortened


@dataclass
class Job:
    """The data that a cell's process receives.

    Attributes:
        task_function: function of the job.
        task_name: Hydra's name of the job.
        config: configuration that Hydra composed, with `hydra`.
        folder: folder of the sweep.
        output: file for the cell's output; None for the sweep's own output.
        jobs: number of cells that share the cores.
    """

    task_function: TaskFunction
    task_name: str
    config: DictConfig
    folder: Path
    output: Path | None
    jobs: int = 1


class CellProcess:
    """The handle of the sweep's process on a cell's process."""

    def __init__(self, job: Job) -> None:
        self._context = _context()
        self._answer, theirs = self._context.Pipe(duplex=False)
        self._process: ForkServerProcess = self._context.Process(target=_run, args=(job, theirs))
        sys.stdout.flush()
        sys.stderr.flush()
        start_server()  # the previous server may have been killed
        self._process.start()
        theirs.close()
        self.started = time.monotonic()

    @property
    def sentinel(self) -> int:
        """A handle that is ready when the process has ended, see `multiprocessing.connection.wait`."""
        return self._process.sentinel

    def has_answered(self) -> bool:
        """Return whether the job has returned, so that its process only has to end."""
        return self._answer.poll()

    def send(self, number: int) -> None:
        """Send a signal to the cell."""
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill the cell at once, with all processes that it has started."""
        self._kill_group()
        self._process.kill()

    def end(self) -> tuple[Any, str | None]:
        """Return the job's return value and None, or None and the reason why the process ended without one."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        if self._answer.poll():
            with contextlib.suppress(EOFError, OSError):  # it died while it answered
                value, reason = self._answer.recv()
                return value, reason
        self._kill_group()  # processes that it has left
        if code >= 0:
            return None, f"ended with exit code {code} without a result"
        perhaps = " (out of memory?)" if -code == signal.SIGKILL else f" ({signal.Signals(-code).name})"
        return None, f"killed by signal {-code}{perhaps}"

    def _kill_group(self) -> None:
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def start_server(modules: Sequence[str] = ()) -> None:
    """Start the server if none is running. It begins to import the libraries in the background.

    Args:
        modules: modules that it imports; empty for the same modules as before.

    Raises:
        ConfigError: this system cannot fork.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise ConfigError(
            "hydra/launcher=process does not work on this system, which cannot fork. Use hydra/launcher=basic"
        )
    from multiprocessing.forkserver import ensure_running

    if modules and sys.platform == "linux":  # macOS's own libraries do not survive a fork
        _context().set_forkserver_preload(list(modules))
    resource_tracker.ensure_running()  # it unblocks signals
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        ensure_running()  # the server inherits the mask, so a signal to the process group does not end it
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _context() -> ForkServerContext:
    return multiprocessing.get_context("forkserver")


def _run(job: Job, answer: connection.Connection) -> None:
    """Run one cell. This is the main function of its process."""
    os.setsid()  # Ctrl-C then reaches only the sweep's process, which sends it once
    stopping.install()  # before a waiting signal can arrive
    threading.Thread(target=_stop_with_the_sweep, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    hold_for_cell(job.folder)
    if job.output:
        _print_to(job.output)
    share_cores(job.jobs)
    setup_globals()
    JobRuntime.instance().set("name", job.task_name)
    try:
        returned = run_job(
            # The job composes nothing, and the sweep's process writes the table.
            hydra_context=HydraContext(config_loader=cast(ConfigLoader, None), callbacks=Callbacks()),
            task_function=job.task_function,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if returned.status == JobStatus.FAILED:
            raise returned._return_value  # `return_value` would print Hydra's message
        answer.send((returned.return_value, None))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        answer.send((None, _explain(error, job.folder)))
    finally:
        stopping.end()


def _explain(error: Exception, folder: Path) -> str:
    if isinstance(error, UserError):
        return shortened(str(error))  # a pipe that is too small would block until it is read
    if is_full(error):
        return explain_full(folder)
    traceback.print_exception(error)
    return shortened(explain_error(error))


def _stop_with_the_sweep() -> None:
    """Stop this cell like SIGTERM when the sweep's process is gone, because nothing waits for the cell any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    _print_to(Path(os.devnull))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    os.killpg(os.getpid(), signal.SIGKILL)


def _print_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
