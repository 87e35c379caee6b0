"""How many inputs each target gets in each lane, and what counts as an outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from ecg_lightning.errors import UserError

INPUTS = {  # by target: inputs in the quick lane and in the slow one
    "wfdb header, predict": (70, 2200),
    "wfdb signals, predict": (20, 500),
    "wfdb variants, predict": (40, 800),
    "wfdb header, training": (60, 1800),
    "wfdb signals, training": (20, 400),
    "ptbxl_database.csv": (35, 900),
    "scp_statements.csv": (40, 900),
    "csv input": (60, 1200),
    "csv dialects": (20, 400),
    "npy input": (60, 1200),
    "result.json": (20, 500),
    "predictions.csv": (10, 250),
    "checkpoint": (20, 400),
    "cache": (15, 350),
    "metadata": (30, 900),
    "exported file": (15, 300),
}


class WrongAnswerError(AssertionError):
    """A reader accepted an input and gave something else than an independent reader."""


@dataclass(frozen=True)
class Target:
    """A reader, its inputs, and the check of one answer.

    Attributes:
        name: a key of `INPUTS`.
        inputs: a strategy for inputs.
        check: reads one input and compares the answer. It lets the reader's exceptions pass, and raises
            `WrongAnswerError` itself.
    """

    name: str
    inputs: SearchStrategy[Any]
    check: Callable[[Any], None]


class Input:
    """One drawn input, which a failing test prints in short; the blob below it makes it again."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        text = repr(self.value)
        return text if len(text) <= 600 else f"{text[:400]} … {text[-150:]}"


@dataclass
class Outcome:
    """What became of a target's inputs.

    Attributes:
        refused: inputs that ended in a `UserError`.
        right: inputs that ended in the independent reader's values.
        wrong: messages of wrong answers.
        foreign: messages of other exceptions, each with its type.
    """

    refused: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.refused + self.right + len(self.wrong) + len(self.foreign)

    def __str__(self) -> str:
        kinds = Counter(text.partition(":")[0] for text in self.foreign)
        return (
            f"{self.tried} tried: {self.refused} refused, {self.right} right, {len(self.wrong)} wrong, "
            f"{len(self.foreign)} other exceptions {dict(kinds) or ''}"
        )


def fuzz(target: Target, n_inputs: int, *, stop: bool = True) -> Outcome:
    """Try inputs of a target, the same in every call, and count their outcomes.

    Args:
        target: the reader.
        n_inputs: how many.
        stop: raise at the first fault, which hypothesis then makes smaller; else count the faults.
    """
    outcome = Outcome()

    @settings(
        max_examples=n_inputs,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs.map(Input))
    def try_one(one: Input) -> None:
        try:
            target.check(one.value)
            outcome.right += 1
        except UserError:
            outcome.refused += 1
        except Exception as error:
            found = outcome.wrong if isinstance(error, WrongAnswerError) else outcome.foreign
            found.append(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            if stop:
                raise

    try_one()
    return outcome
