"""Several processes that build one cache at once, and builders that are killed."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from pathlib import Path

import numpy as np

from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from reliability.build_cache import names_in
from reliability.programs import Program
from reliability.tally import Tally

_AT_ONCE = 4
_N_RECORDS = 2000


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Build a cache `tries` times: half of them with four processes at once, half with a killed one."""
    root = folder / "data"
    write_synthetic_ptbxl(root, n_records=_N_RECORDS)
    digest = hashlib.sha256()
    for name in names_in(root):
        signals_TC = np.fromfile(root / f"{name}.dat", "<i2").reshape(-1, 12)
        digest.update(np.ascontiguousarray(signals_TC.T).tobytes())
    expected = digest.hexdigest()
    at_once = Tally(f"{_AT_ONCE} processes build one cache", "all of them get the right signals, and one cache is left")
    killed = Tally("a killed cache builder, then another", "the right signals, and nothing left behind")
    moments = random.Random(3)
    for number in range(tries - tries // 2):
        at_once.count(_build_at_once(root, folder / f"once{number}", expected), f"try {number}")
    for number in range(tries // 2):
        killed.count(_kill_builder(root, folder / f"killed{number}", moments.random(), expected), f"try {number}")
    return [at_once, killed]


def _builder(root: Path, folder: Path, number: int) -> Program:
    script = str(Path(__file__).with_name("build_cache.py"))
    return Program([sys.executable, script, str(root), str(folder / "cache")], folder / f"{number}.log")


def _build_at_once(root: Path, folder: Path, expected: str) -> str | None:
    builders = [_builder(root, folder, number) for number in range(_AT_ONCE)]
    for builder in builders:
        if builder.wait().code != 0 or builder.said() != expected:
            return f"a builder gave {builder.said()}"
    return _left(folder / "cache")


def _kill_builder(root: Path, folder: Path, share: float, expected: str) -> str | None:
    first = _builder(root, folder, 0)
    first.wait_until(lambda: any((folder / "cache").rglob(".signals-*.tmp")))
    time.sleep(share * 0.3)  # reading 2,000 records takes about that long
    first.kill()
    first.wait()
    second = _builder(root, folder, 1)
    if second.wait().code != 0 or second.said() != expected:
        return f"the next builder gave {second.said()}"
    return _left(folder / "cache")


def _left(cache: Path) -> str | None:
    files = sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != ".lock")
    kinds = [name.partition("-")[0] for name in files]
    return None if kinds == ["index", "signals"] else f"the cache holds {files}"
