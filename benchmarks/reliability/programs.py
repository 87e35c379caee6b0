"""Start, watch and stop the program as a user does: real processes, each in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

ROOT = Path(__file__).parents[2]
AT_A_TIME = 2
TRAINING = (
    *("model=resnet1d_wang", "model.channels=4", "data.batch_size=8", "hardware.precision=32-true"),
    *("hardware.threads=1", "logger=none", "callbacks.figures=false", "callbacks.early_stopping=null"),
)
"""A training that takes a few seconds, most of them for imports."""


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        code: exit code; negative where a signal ended it; None where its time was up.
        said: the last lines of its output.
        seconds: wall time.
        peak_mb: largest resident memory of the process, MB.
    """

    code: int | None
    said: str
    seconds: float
    peak_mb: float


class Program:
    """A running program.

    Args:
        command: with its arguments.
        log: file that its output goes to.
        variables: environment variables on top of this process's.
        limit_mb: address space, MB, so that a bomb cannot take the machine.
    """

    def __init__(
        self, command: Sequence[str], log: Path, variables: dict[str, str] | None = None, limit_mb: int | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment(variables or {}),
                start_new_session=True,
            )
        if limit_mb:
            resource.prlimit(self.process.pid, resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))

    def wait(self, timeout: float = 300) -> Ended:
        """Wait for the program's end; after `timeout` seconds, kill it with all that it started."""
        peak_mb, is_over = 0.0, False
        while self.is_running():
            peak_mb = max(peak_mb, self._peak_mb())
            if time.monotonic() - self._started > timeout:
                is_over = True
                self.kill_all()
            time.sleep(0.01)
        seconds = time.monotonic() - self._started
        return Ended(None if is_over else self.process.returncode, self.said(), seconds, peak_mb)

    def _peak_mb(self) -> float:
        """The largest resident memory so far, MB; 0 where the program has just ended."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)

    def kill(self) -> None:
        """Send SIGKILL to the program alone, as the kernel does where memory is short."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Send SIGKILL to the program and to all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def is_running(self) -> bool:
        """Return whether the program has not ended."""
        return self.process.poll() is None

    def wait_until(self, condition: Callable[[], bool], timeout: float = 120) -> bool:
        """Wait for a condition; return whether it came true while the program was running."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.is_running():
            if condition():
                return True
            time.sleep(0.0005)
        return False

    def said(self) -> str:
        """Return the last lines of the program's output."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-4:])[-400:]


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with one thread, and with the hooks where a variable is for them."""
    found = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    if any(name.startswith("RELIABILITY_") for name in variables):
        hooks = str(Path(__file__).with_name("hooks"))
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (hooks, os.environ.get("PYTHONPATH"))))
    return found


def run(
    command: Sequence[str],
    log: Path,
    timeout: float = 300,
    variables: dict[str, str] | None = None,
    limit_mb: int | None = None,
) -> Ended:
    """Run a program to its end."""
    return Program(command, log, variables, limit_mb).wait(timeout)


def train(*overrides: str) -> list[str]:
    """Return the command line of `train.py`."""
    return [sys.executable, str(ROOT / "train.py"), *overrides]


def compress(*overrides: str) -> list[str]:
    """Return the command line of `compress.py`."""
    return [sys.executable, str(ROOT / "compress.py"), *overrides]


def ecg_lightning(*arguments: str) -> list[str]:
    """Return the command line of the `ecg-lightning` command."""
    return [sys.executable, "-c", "from ecg_lightning.commands.cli import app; app()", *arguments]


def shown(command: Sequence[str]) -> str:
    """Return a command line as one can type it."""
    return shlex.join(["python" if part == sys.executable else part.replace(f"{ROOT}/", "") for part in command])


def size_of(path: Path) -> int:
    """Return a file's bytes; 0 where it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def side_by_side(function: Callable[[T], R], items: Iterable[T], at_a_time: int = AT_A_TIME) -> Iterator[R]:
    """Call a function for each item, `at_a_time` at once, and yield the results in order."""
    with ThreadPoolExecutor(at_a_time) as pool:
        yield from pool.map(function, items)


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items, evenly chosen."""
    step = max(1.0, len(items) / most)
    return [items[int(number * step)] for number in range(min(most, len(items)))]


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's table; empty where there is none."""
    import json

    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
