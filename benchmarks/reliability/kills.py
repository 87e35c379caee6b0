"""kill -9 at random moments and inside saves; then the same command with `ckpt_path=auto`."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reliability.data import training
from reliability.programs import Ended, Program, run, shown, side_by_side, size_of, train
from reliability.states import difference
from reliability.tally import Tally

VARIANTS = {
    "plain": ["model.scheduler.name=cosine"],
    "ema": ["callbacks=ema"],
    "swa": ["callbacks=swa", "scored_epoch=last"],
    "mixup": ["model.mixup=0.4", "model.scheduler.name=constant"],
    "one_cycle": ["model.scheduler.name=one_cycle"],
    "accumulation": ["trainer.accumulate_grad_batches=3", "data.batch_size=4"],
}
WORKERS = (0, 2)
EPOCHS = 8


@dataclass(frozen=True)
class Kill:
    """One try.

    Attributes:
        number: its place among the tries.
        variant: a key of `VARIANTS`.
        workers: processes that load the data.
        moment: `time`, `step` or `save`.
        share: how far into the training, 0 to 1.
    """

    number: int
    variant: str
    workers: int
    moment: str
    share: float


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: its folder, steps and seconds."""

    folder: Path
    n_steps: int
    seconds: float


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Kill `tries` trainings, half of them with two workers, and finish each one by the same command."""
    settings = training(folder)
    names = [(variant, workers) for variant in VARIANTS for workers in WORKERS][: max(2, tries)]
    made = side_by_side(lambda name: uninterrupted(folder, settings, *name), names)
    references = dict(zip(names, made, strict=True))
    moments = random.Random(0)
    kills = [
        Kill(
            number, *names[number % len(names)], ("step", "save", "time", "save", "step")[number % 5], moments.random()
        )
        for number in range(tries)
    ]
    tallies = {
        workers: Tally(
            f"kill -9, {workers} workers, then `ckpt_path=auto`",
            "weights, optimizer, thresholds, scores and predictions equal the uninterrupted run's, bit for bit",
        )
        for workers in WORKERS
    }
    inside = dict.fromkeys(WORKERS, 0)
    results = side_by_side(
        lambda kill: _try(
            folder / f"kill{kill.number}", settings, kill, references[kill.variant, kill.workers], resume
        ),
        kills,
    )
    for kill, (fault, command, was_inside) in zip(kills, results, strict=True):
        inside[kill.workers] += was_inside
        tallies[kill.workers].count(fault and f"{kill.variant}, {kill.moment}: {fault}", command)
    for workers, tally in tallies.items():
        tally.figures["inside a save"] = inside[workers]
    return [tally for tally in tallies.values() if tally.tried]


def command_of(settings: Sequence[str], variant: str, workers: int, folder: Path, *more: str) -> list[str]:
    """Return the command line of one variant."""
    return train(
        *settings, f"trainer.max_epochs={EPOCHS}", f"data.num_workers={workers}", *VARIANTS[variant],
        f"hydra.run.dir={folder}", *more,
    )  # fmt: skip


def uninterrupted(folder: Path, settings: Sequence[str], variant: str, workers: int) -> Reference:
    """Run one variant to its end."""
    target = folder / f"reference-{variant}-{workers}"
    steps = folder / f"{target.name}.steps"
    ended = run(
        command_of(settings, variant, workers, target),
        target.with_suffix(".log"),
        variables={"RELIABILITY_STEPS": str(steps)},
    )
    if ended.code != 0:
        raise RuntimeError(f"the uninterrupted run of {variant} failed: {ended.said}")
    return Reference(target, size_of(steps), ended.seconds)


def _try(
    folder: Path, settings: Sequence[str], kill: Kill, reference: Reference, resume: str
) -> tuple[str | None, str, bool]:
    """Kill one training and finish it; the fault, the command, and whether the kill hit a save."""
    target, steps = folder / "run", folder / "steps"
    first = [f"ckpt_path={resume}"] if resume == "auto" else []
    command = command_of(settings, kill.variant, kill.workers, target, *first)
    program = Program(command, folder / "first.log", {"RELIABILITY_STEPS": str(steps)})
    began = time.monotonic()
    wanted = 1 + int(kill.share * (reference.n_steps - 1))
    if kill.moment == "time":
        program.wait_until(lambda: time.monotonic() - began > kill.share * reference.seconds)
    else:
        program.wait_until(lambda: size_of(steps) >= wanted)
    if kill.moment == "save":
        program.wait_until(lambda: any((target / "checkpoints").glob(".*.tmp")), timeout=20)
    program.kill()
    ended = program.wait()
    was_inside = any((target / "checkpoints").glob(".*.tmp"))
    again = command_of(settings, kill.variant, kill.workers, target, f"ckpt_path={resume}")
    fault = finish(again, target, folder / "again.log", reference)
    program.kill_all()  # workers that outlived it
    return (
        fault if ended.code == -9 or fault is None else f"{fault} (it ended before the kill)",
        shown(again),
        was_inside,
    )


def finish(command: list[str], target: Path, log: Path, reference: Reference) -> str | None:
    """Run a command that goes on with a stopped run; why its end is not the uninterrupted run's."""
    ended: Ended = run(command, log)
    if ended.code != 0:
        return f"exit {ended.code}: {ended.said}"
    left = [path.name for path in target.rglob(".*.tmp")]
    return difference(target, reference.folder) or (f"{left[0]} was left behind" if left else None)
