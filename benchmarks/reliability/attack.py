"""One attack: a command that a user runs on a stranger's file, and the canary that shows that it got through."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        kind: its row in the table.
        name: what it does.
        command: that a user would run.
        canary: a path that is there once the attack ran code or wrote.
        must_fail: whether exit code 0 means that the attack got through, for those that only read.
        variables: of the environment.
    """

    kind: str
    name: str
    command: list[str]
    canary: Path
    must_fail: bool = False
    variables: dict[str, str] = field(default_factory=dict)


class Touch:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def pickled(folder: Path, canary: Path) -> Path:
    """Write a pickle that makes a canary."""
    path = folder / f"{canary.name}.pkl"
    path.write_bytes(pickle.dumps(Touch(canary)))
    return path


def run_dir(path: Path) -> str:
    """Return the setting of a folder beside a canary."""
    return f"hydra.run.dir={path}.run"
