"""Files and settings of a stranger that try to run code or write outside: counted by the canaries that they leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reliability import products
from reliability.attack import Attack
from reliability.configuration_attacks import configurations
from reliability.file_attacks import checkpoints, model_files, records
from reliability.products import Products
from reliability.programs import run, shown, side_by_side, spread
from reliability.tally import Tally

_TIMEOUT_S = 120


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Run at most `tries` attacks, of all kinds."""
    made = products.make(folder / "made")
    attacks = spread([*_attacks(folder / "attacks", made)], tries)
    tallies: dict[str, Tally] = {}
    answers = Tally("attacks: the answer", "one sentence within two minutes, no traceback")
    ends = side_by_side(_run, attacks)
    for attack, (fault, no_sentence) in zip(attacks, ends, strict=True):
        promise = "nothing is run, and nothing is written outside"
        tally = tallies.setdefault(attack.kind, Tally(f"attacks: {attack.kind}", promise))
        command = shown(attack.command)
        tally.count(fault and f"{attack.name}: {fault}", command)
        answers.count(no_sentence and f"{attack.name}: {no_sentence}", command)
    return [*tallies.values(), answers]


def _run(attack: Attack) -> tuple[str | None, str | None]:
    """Whether an attack got through, and whether it was answered in words."""
    log = attack.canary.with_name(attack.canary.name + ".log")
    ended = run(attack.command, log, _TIMEOUT_S, attack.variables)
    through = None
    if attack.canary.exists():
        through = f"it got through (exit {ended.code})"
    elif attack.must_fail and ended.code == 0:
        through = "it was accepted"
    text = log.read_text(errors="replace")
    wordless = "a traceback" if "Traceback" in text else f"over {_TIMEOUT_S} s" if ended.code is None else None
    return through, wordless and f"{wordless}: {ended.said[-200:]}"


def _attacks(folder: Path, made: Products) -> Iterator[Attack]:
    folder.mkdir(parents=True)
    counter = iter(range(10_000))

    def canary() -> Path:
        return folder / f"canary{next(counter)}"

    yield from configurations(folder, made, canary)
    yield from checkpoints(folder, made, canary)
    yield from model_files(folder, made, canary)
    yield from records(folder, made, canary)
