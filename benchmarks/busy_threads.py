"""Training on a processor whose cores other programs use: the threads that a run chooses, against one thread.

    python benchmarks/busy_threads.py --output benchmarks/results/busy_threads.json

Trains the first 25 batches of the demo's ViT with the default threads and with hardware.threads=1 in turn, beside one
endless loop for each core, and compares the seconds of the fits and of the whole commands.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import report

ROOT = Path(__file__).parents[1]
WAYS = {"default": [], "one thread": ["hardware.threads=1"]}


def train(settings: list[str], folder: Path) -> dict[str, float]:
    """Train once; return the seconds of the fit and of the command, and the threads that were used."""
    quiet = [
        "logger=none",
        "callbacks.figures=false",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=25",
        f"hydra.run.dir={folder}",
    ]
    command = [sys.executable, str(ROOT / "train.py"), "experiment=demo", "model=vit", *settings, *quiet]
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    result = json.loads((folder / "result.json").read_text())
    return {"fit_s": result["timing"]["fit_s"], "command_s": seconds, "threads": result["host"]["threads"]}


def main() -> None:
    """Print the times of each repetition, and the medians of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)  # which would choose the threads
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        train([], Path(folder) / "first")  # it writes the data
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
        try:
            for number in range(arguments.repeats):
                names = sorted(WAYS, reverse=bool(number % 2))
                rounds.append({name: train(WAYS[name], Path(folder) / f"{number}_{name[:3]}") for name in names})
                print(f"repetition {number + 1}: {rounds[-1]}", flush=True)
        finally:
            for loop in loops:
                loop.kill()
    rows = [
        {"way": name, **{key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]}}
        for name in WAYS
    ]
    ratios = {
        key: statistics.median(one["default"][key] / one["one thread"][key] for one in rounds)
        for key in ("fit_s", "command_s")
    }
    report("busy_threads", [*rows, {"way": "default / one thread", **ratios}], arguments.output)


if __name__ == "__main__":
    main()
