"""Time and memory of opened models, measured so that they can be compared on a busy machine."""

from __future__ import annotations

import gc
import itertools
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ecg_lightning.errors import ModelFileError
from ecg_lightning.system.memory_limit import limited_memory

_PACKAGE_ROOT = Path(__file__).parents[3]
_CHILD_CALLS = 5
_CHILD_TIMEOUT_S = 600


@dataclass(frozen=True)
class Latency:
    """Times of one case.

    Attributes:
        p50_ms: median time of a call: the median of the turns' medians.
        p95_ms: time that 95 of 100 calls do not exceed; every turn counts alike.
        n: number of timed calls.
    """

    p50_ms: float
    p95_ms: float
    n: int

    def samples_per_s(self, batch: int) -> float:
        """Return the records a second at the median time, for calls with `batch` records."""
        return 1000 * batch / self.p50_ms


def measure(
    cases: Mapping[str, Callable[[], object]], rounds: int = 20, warmup: int = 3, min_round_s: float = 0.05
) -> dict[str, Latency]:
    """Time all cases in turn, round by round, and return their latencies by name.

    A slow moment of the machine then slows all cases. The order is drawn anew for every round. The first call of a turn
    is not timed, because it pays for the caches and threads that the case before it leaves behind. Turns count alike,
    however many calls fit into one. Otherwise fast cases would be judged by the machine's quiet moments, in which most
    of their calls are made, and slow cases by all moments.

    Args:
        cases: functions to call, by name.
        rounds: number of turns of each case.
        warmup: untimed calls of each case before the first round.
        min_round_s: shortest duration of a turn, which has at least one call.
    """
    for call in cases.values():
        for _ in range(warmup):
            call()
    turns: dict[str, list[list[float]]] = {name: [] for name in cases}
    order, shuffle = list(cases), random.Random(0)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            shuffle.shuffle(order)
            for name in order:
                cases[name]()
                turns[name].append(_one_turn(cases[name], min_round_s))
    finally:
        if collecting:
            gc.enable()
    return {name: summarise(of_case) for name, of_case in turns.items()}


def summarise(turns: Sequence[Sequence[float]]) -> Latency:
    """Return the median and 95th percentile (nearest rank) of the calls' seconds, turn by turn."""
    p50 = statistics.median(statistics.median(seconds) for seconds in turns)
    ranked = sorted((second, 1 / len(seconds)) for seconds in turns for second in seconds)
    reached = itertools.accumulate(share for _, share in ranked)
    enough = 0.95 * len(turns) * (1 - 1e-9)  # tolerance for sums of fractions
    slow = next(second for (second, _), share in zip(ranked, reached, strict=True) if share >= enough)
    return Latency(p50_ms=1000 * p50, p95_ms=1000 * slow, n=len(ranked))


def peak_memory_mib(path: Path, runtime: str, precision: str = "fp32") -> float:
    """Return the largest resident memory, in MiB, of a fresh process that opens a file and runs single records.

    The process uses one thread. For PyTorch on a CUDA device, it is the memory that was allocated there.

    The figure is that of the whole process: the interpreter, NumPy, the runtime's own library and, for `torch`, PyTorch
    and Lightning. Differences between files in one runtime come from the models.

    Raises:
        ModelFileError: the process failed; the message is its own.
    """
    paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ecg_lightning.deployment.measuring.latency", str(path), runtime, precision],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_CHILD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(f"the memory of {path} in {runtime} was not measured in {_CHILD_TIMEOUT_S} s") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
        raise ModelFileError(f"the memory of {path} in {runtime} was not measured: {reason}")
    return float(done.stdout.split()[-1])


def _one_turn(call: Callable[[], object], min_round_s: float) -> list[float]:
    times = []
    end = time.perf_counter() + min_round_s
    now = 0.0
    while now < end:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        times.append(now - start)
    return times


def _peak_mib() -> float:
    """Return the largest memory of this process in MiB; NaN on Windows, which does not report it."""
    try:
        status = Path("/proc/self/status").read_text()
        # Not getrusage: its maximum outlives exec, so it would start with the parent's maximum.
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        try:
            import resource
        except ImportError:
            return math.nan
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def _child(path: str, runtime: str, precision: str) -> None:
    import numpy as np

    from ecg_lightning.deployment.runtimes.opening import open_runtime
    from ecg_lightning.deployment.runtimes.runtime import files_of

    opened = open_runtime(Path(path), runtime, precision, threads=1, batch=1)
    record = np.zeros((1, 12, opened.n_samples), dtype=np.float32)
    in_memory = limited_memory(files_of(Path(path)), 1) if runtime in ("onnxruntime", "openvino") else nullcontext()
    with in_memory:
        for _ in range(_CHILD_CALLS):
            opened.logits(record)
    if runtime.startswith("cuda-") and "torch" in sys.modules:
        print(sys.modules["torch"].cuda.max_memory_allocated() / 1024**2)
    else:
        print(_peak_mib())


if __name__ == "__main__":
    _child(*sys.argv[1:])
