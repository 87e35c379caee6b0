"""SIGTERM, SIGINT, SIGHUP and SIGUSR1 at random moments from the first import on; then `ckpt_path=auto`."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reliability.data import training
from reliability.kills import Reference, command_of, finish, uninterrupted
from reliability.programs import Program, read_json, shown, side_by_side, size_of
from reliability.states import steps_in
from reliability.tally import Tally

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGUSR1: 138}
"""Exit codes as shells and schedulers know them: 128 and the signal's number."""
_EARLIEST_S = 0.05


@dataclass(frozen=True)
class Stop:
    """One try.

    Attributes:
        number: its place among the tries.
        signal: that is sent.
        workers: processes that load the data.
        share: how far into the run, 0 to 1; by steps where `by_step`, else by time.
        by_step: whether the moment lies within the fit.
    """

    number: int
    signal: signal.Signals
    workers: int
    share: float
    by_step: bool


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Stop `tries` trainings by each signal in turn, and finish each one by the same command."""
    settings = training(folder)
    workers = (0, 2) if tries > len(CODES) else (0,)
    made = side_by_side(lambda number: uninterrupted(folder, settings, "ema", number), workers)
    references = dict(zip(workers, made, strict=True))
    moments = random.Random(1)
    stops = [
        Stop(
            number,
            [*CODES][number % len(CODES)],
            workers[number // len(CODES) % len(workers)],
            moments.random(),
            number % 2 == 0,
        )
        for number in range(tries)
    ]
    ends = Tally(
        "signals: exit code and `result.json`", "143, 130, 129 or 138; `interrupted` once the run has a folder"
    )
    lost = Tally("signals: work lost", "at most one step")
    resumed = Tally("signals, then `ckpt_path=auto`", "equal to the uninterrupted run, bit for bit")
    results = side_by_side(
        lambda stop: _try(folder / f"stop{stop.number}", settings, stop, references[stop.workers], resume), stops
    )
    for stop, (end, n_lost, fault, command) in zip(stops, results, strict=True):
        what = f"{stop.signal.name}, {stop.workers} workers"
        ends.count(end and f"{what}: {end}", command)
        lost.count(f"{what}: {n_lost} steps" if n_lost > 1 else None, command)
        resumed.count(fault and f"{what}: {fault}", command)
    return [ends, lost, resumed]


def _try(
    folder: Path, settings: Sequence[str], stop: Stop, reference: Reference, resume: str
) -> tuple[str | None, int, str | None, str]:
    """Stop one training and finish it; what was wrong with its end, lost steps, what is wrong after, the command."""
    target, steps, started = folder / "run", folder / "steps", folder / "started"
    first = [f"ckpt_path={resume}"] if resume == "auto" else []
    command = command_of(settings, "ema", stop.workers, target, *first)
    program = Program(
        command, folder / "first.log", {"RELIABILITY_STEPS": str(steps), "RELIABILITY_STARTED": str(started)}
    )
    program.wait_until(lambda: size_of(started) > 0)
    if stop.by_step:
        wanted = 1 + int(stop.share * (reference.n_steps - 1))
        program.wait_until(lambda: size_of(steps) >= wanted)
    else:
        time.sleep(_EARLIEST_S + stop.share * 0.9 * reference.seconds)
    had_folder = target.is_dir()
    where = f"after {size_of(steps)} steps" if size_of(steps) else "before the first step"
    was_running = program.is_running()
    if was_running:
        program.process.send_signal(stop.signal)
    ended = program.wait()
    end = _fault_of_end(stop.signal, ended.code, read_json(target / "result.json"), had_folder, was_running)
    n_lost = max(0, size_of(steps) - steps_in(target / "checkpoints" / "last.ckpt"))
    again = command_of(settings, "ema", stop.workers, target, f"ckpt_path={resume}")
    fault = finish(again, target, folder / "again.log", reference)
    program.kill_all()
    return end and f"{where}: {end} ({ended.said[-160:]})", n_lost, fault and f"{where}: {fault}", shown(again)


def _fault_of_end(
    sent: signal.Signals, code: int | None, result: dict[str, object], had_folder: bool, was_running: bool
) -> str | None:
    if not was_running or (code == 0 and result.get("status") == "ok"):  # the work was done before the signal
        return None
    if code != CODES[sent]:
        return f"exit {code}, expected {CODES[sent]}"
    status = result.get("status")
    return f"result.json says {status}" if had_folder and status not in ("interrupted", "ok") else None
