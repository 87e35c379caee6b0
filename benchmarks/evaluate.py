"""`ecg-lightning evaluate` of a run on one thread: this code against another checkout of it, taking turns.

    git worktree add --detach ../before REVISION
    python benchmarks/evaluate.py RUN --before ../before --output benchmarks/results/evaluate.json

Each try is a process of its own, its imports included. Processor time is compared: it does not count the waiting for
other programs.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import torch
from _common import report

from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, read_predictions

HERE = Path(__file__).parents[1]


def entry_point(checkout: Path) -> str:
    """Return the code that starts `ecg-lightning`, from a checkout's pyproject.toml."""
    with (checkout / "pyproject.toml").open("rb") as file:
        module, _, name = tomllib.load(file)["project"]["scripts"]["ecg-lightning"].partition(":")
    return f"from {module} import {name}; {name}()"


def processor_seconds(checkout: Path, run: Path) -> float:
    """Return the processor seconds of one evaluation by the code of a checkout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    subprocess.run(
        [sys.executable, "-c", entry_point(checkout), "evaluate", str(run)],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=checkout,
        env={**os.environ, **threads, "PYTHONPATH": str(checkout / "src")},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--before", type=Path, required=True, help="another checkout")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = arguments.run.absolute()
    ways = {"before": arguments.before.absolute(), "now": HERE}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.repeats + 1):
        for name, checkout in ways.items():
            taken = processor_seconds(checkout, run)
            if number:  # the first try of each also fills the caches
                seconds[name].append(taken)
    n_records = {split: len(one.ecg_ids) for split, one in read_predictions(run / PREDICTIONS_FILE).items()}
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        {"way": name, "n_test": n_records["test"], "seconds": median[name], "times_before": median["before"] / one}
        for name, one in median.items()
    ]
    report("evaluate", rows, arguments.output)


if __name__ == "__main__":
    main()
