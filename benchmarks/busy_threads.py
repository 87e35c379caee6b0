"""Training on a processor whose cores other programs use: the threads that a run chooses, against one thread.

    python benchmarks/busy_threads.py [--repeats 3] [--json FILE]

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
    """Print the ratio of each repetition, and their median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)  # which would choose the threads
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        train([], Path(folder) / "first")  # it writes the data
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
        try:
            for number in range(asked.repeats):
                row = {}
                for name in sorted(WAYS, reverse=bool(number % 2)):
                    row[name] = train(WAYS[name], Path(folder) / f"{name} {number}".replace(" ", "_"))
                rows.append(row)
                ratios = {key: row["default"][key] / row["one thread"][key] for key in ("fit_s", "command_s")}
                print(
                    f"{number + 1}: default against one thread: fit {ratios['fit_s']:.2f}, command "
                    f"{ratios['command_s']:.2f} (threads by default: {row['default']['threads']})",
                    flush=True,
                )
        finally:
            for loop in loops:
                loop.kill()
    medians = {
        key: statistics.median(row["default"][key] / row["one thread"][key] for row in rows)
        for key in ("fit_s", "command_s")
    }
    print(f"median: fit {medians['fit_s']:.2f}, command {medians['command_s']:.2f}")
    if asked.json:
        asked.json.write_text(json.dumps({"rows": rows, "medians": medians}, indent=1) + "\n")


if __name__ == "__main__":
    main()
