"""Small, sparse or linked files that ask for the machine: seconds and memory above what a good file needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reliability import products
from reliability.bomb_files import Bomb, checkpoint_bombs, model_bombs, record_bombs, result_bombs, yaml_bombs
from reliability.products import Products
from reliability.programs import Ended, run, shown, spread
from reliability.tally import Tally

_TIMEOUT_S = 60
_LIMIT_MB = 4_000  # of data, so that a bomb that goes off leaves the machine alive
_MORE_S, _MORE_MB = 2.0, 500.0


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Give at most `tries` bombs to their commands, one at a time, since times are compared."""
    made = products.make(folder / "made")
    tally = Tally("resource bombs", f"refused within {_MORE_S:g} s and {_MORE_MB:g} MB above a good file's needs")
    needs: dict[tuple[str, ...], Ended] = {}
    most_s = most_mb = 0.0
    for number, bomb in enumerate(spread([*_bombs(folder / "bombs", made)], tries)):
        key = tuple(bomb.good)
        if key not in needs:
            needs[key] = _best_of_two(bomb.good, folder / f"good{number}.log")
        ended = run(bomb.command, folder / f"bomb{number}.log", _TIMEOUT_S, limit_mb=_LIMIT_MB)
        more_s, more_mb = ended.seconds - needs[key].seconds, ended.peak_mb - needs[key].peak_mb
        if more_s > _MORE_S and ended.code not in (0, None):  # a busy machine: both once more, one after the other
            good = run(bomb.good, folder / f"good{number}.log")
            ended = run(bomb.command, folder / f"bomb{number}.log", _TIMEOUT_S, limit_mb=_LIMIT_MB)
            more_s = min(more_s, ended.seconds - good.seconds)
        most_s, most_mb = max(most_s, more_s), max(most_mb, more_mb)
        fault = _fault(ended, more_s, more_mb, (folder / f"bomb{number}.log").read_text(errors="replace"), bomb)
        tally.count(fault and f"{bomb.name}: {fault}", shown(bomb.command))
    tally.figures = {"most seconds above": most_s, "most MB above": most_mb}
    return [tally]


def _bombs(folder: Path, made: Products) -> Iterator[Bomb]:
    folder.mkdir()
    for make in (record_bombs, model_bombs, checkpoint_bombs, result_bombs, yaml_bombs):
        yield from make(folder, made)


def _best_of_two(command: list[str], log: Path) -> Ended:
    """How a good file's command ends, the faster of two runs."""
    ends = [run(command, log) for _ in range(2)]
    if any(ended.code != 0 for ended in ends):
        raise RuntimeError(f"a good file was refused: {shown(command)}: {ends[0].said}")
    return min(ends, key=lambda ended: ended.seconds)


def _fault(ended: Ended, more_s: float, more_mb: float, text: str, bomb: Bomb) -> str | None:
    if ended.code is None:
        return f"it ran for more than {_TIMEOUT_S} s"
    if ended.code == 0 and bomb.must_fail:
        return "it was accepted"
    if ended.code < 0:
        return f"killed by signal {-ended.code}"
    if "Traceback" in text:
        return f"a traceback: {ended.said[-160:]}"
    if more_s > _MORE_S or more_mb > _MORE_MB:
        return f"{more_s:.1f} s and {more_mb:.0f} MB more than a good file"
    return None
