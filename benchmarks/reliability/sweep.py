"""Faults in cell 2 of 4 of a sweep, and kills of a whole sweep with the same command after it."""

from __future__ import annotations

import csv
import random
import time
from pathlib import Path

from reliability.data import training
from reliability.programs import Program, read_json, run, shown, side_by_side, train
from reliability.tally import Tally

FAULTS = (
    *("exception", "MemoryError", "OSError", "sys.exit(0)", "sys.exit(3)", "os._exit(0)", "SIGKILL"),
    *("segmentation fault", "hang"),
)
SEEDS = ("1", "2", "3", "4")
CELL_TIMEOUT_S = 60


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Try each kind of fault once, and kill `tries` sweeps."""
    settings = [*training(folder), "trainer.max_epochs=4"]
    faults = Tally("a fault in cell 2 of 4", "the other cells finish, a row with the reason, exit code 1")
    tried = FAULTS[: max(2, tries)]
    results = side_by_side(lambda number: _fault(folder / f"fault{number}", settings, tried[number]), range(len(tried)))
    for kind, (fault, command) in zip(tried, results, strict=True):
        faults.count(fault and f"{kind}: {fault}", command)
    kills = Tally("a killed sweep, then the same command", "no finished cell runs again, and the table is right")
    began = time.monotonic()
    reference = folder / "reference"
    ended = run(_command(settings, reference), folder / "reference.log")
    if ended.code != 0:
        raise RuntimeError(f"the uninterrupted sweep failed: {ended.said}")
    seconds = time.monotonic() - began
    moments = random.Random(2)
    shares = [moments.random() for _ in range(tries)]
    results = side_by_side(
        lambda number: _kill(folder / f"kill{number}", settings, shares[number] * seconds, number, reference),
        range(tries),
    )
    again = 0
    for fault, command, n_again in results:
        kills.count(fault, command)
        again += n_again
    kills.figures["finished cells run again"] = again
    return [faults, kills]


def _command(settings: list[str], folder: Path, *more: str) -> list[str]:
    return train("-m", *settings, f"seed={','.join(SEEDS)}", f"hydra.sweep.dir={folder}", *more)


def _fault(folder: Path, settings: list[str], kind: str) -> tuple[str | None, str]:
    """Run a sweep whose second cell fails; what is not as promised, and the command."""
    limits = [f"hydra.launcher.cell_timeout={CELL_TIMEOUT_S}"] if kind == "hang" else []
    command = _command(settings, folder / "sweep", *limits)
    ended = run(command, folder / "log", 240, {"RELIABILITY_FAULT": kind, "RELIABILITY_SEED": SEEDS[1]})
    rows = _rows(folder / "sweep")
    done = sorted(row.get("seed", "") for row in rows if row.get("status") == "ok")
    others = [row for row in rows if row.get("status") != "ok"]
    if done != [seed for seed in SEEDS if seed != SEEDS[1]]:
        return f"finished cells: {', '.join(done) or 'none'}; exit {ended.code}: {ended.said[-200:]}", shown(command)
    if len(others) != 1 or not others[0].get("reason"):
        return f"{len(others)} rows that are not ok, reason {[row.get('reason') for row in others]}", shown(command)
    return (None if ended.code == 1 else f"exit {ended.code}"), shown(command)


def _kill(
    folder: Path, settings: list[str], after_s: float, number: int, reference: Path
) -> tuple[str | None, str, int]:
    """Kill a sweep, run the same command again; the fault, the command, and how many finished cells ran again."""
    command = _command(settings, folder / "sweep")
    program = Program(command, folder / "first.log")
    time.sleep(after_s)
    if number % 2:
        program.kill()  # the kernel kills one process
    else:
        program.kill_all()  # the machine loses its power
    program.wait()
    finished = {path: path.read_bytes() for path in _results(folder / "sweep") if read_json(path).get("status") == "ok"}
    times = {path: path.stat().st_mtime_ns for path in finished}
    ended = run(command, folder / "again.log")
    program.kill_all()
    again = [path for path in finished if path.read_bytes() != finished[path] or path.stat().st_mtime_ns != times[path]]
    if again:
        return f"{again[0].parent.name} was finished and ran again", shown(command), len(again)
    if ended.code != 0:
        return f"exit {ended.code} with {len(finished)} finished cells: {ended.said}", shown(command), 0
    found, expected = _scores(folder / "sweep"), _scores(reference)
    return (None if found == expected else f"the table says {found}, expected {expected}"), shown(command), 0


def _results(sweep: Path) -> list[Path]:
    return sorted(sweep.glob("*/result.json"))


def _rows(sweep: Path) -> list[dict[str, str]]:
    table = sweep / "results.csv"
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def _scores(sweep: Path) -> list[tuple[str, ...]]:
    """Seed, status and scores of each row, the cells' folders left out."""
    return sorted(
        tuple(value for name, value in row.items() if name in ("seed", "status") or name.startswith(("val", "test")))
        for row in _rows(sweep)
    )
