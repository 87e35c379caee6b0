"""Our runs of the PTB-XL benchmark beside its published table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from ecg_lightning.runs.results import RESULT_FILE, read_result

TOLERANCE = 0.005
"""Of macro AUROC; a full fold 10 leaves ± 0.0065 to chance (95 %)."""

TASKS = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")
PUBLISHED = {
    "resnet1d_wang": (0.919, 0.936, 0.928, 0.930, 0.880, 0.946),
    "xresnet1d101": (0.925, 0.937, 0.929, 0.928, 0.896, 0.957),
    "inception1d": (0.925, 0.931, 0.930, 0.921, 0.899, 0.953),
    "lstm": (0.907, 0.927, 0.928, 0.927, 0.851, 0.953),
    "lstm_bidir": (0.914, 0.932, 0.923, 0.921, 0.876, 0.949),
}
"""Macro AUROC on fold 10 by model and task of `TASKS`, trained and tested on PTB-XL 1.0.1 (Strodthoff et al. 2021, doi
10.1109/JBHI.2020.3022989; table of github.com/helme/ecg_ptbxl_benchmarking)."""

N_TEST = {
    "superdiagnostic": 2158,
    "subdiagnostic": 2158,
    "diagnostic": 2158,
    "form": 880,
    "rhythm": 2098,
    "all": 2198,
}
"""Labelled records of fold 10 in PTB-XL 1.0.3."""


_NOT_OF_THE_PROTOCOL = (
    *("experiment", "model", "seed", "task_name", "logger", "hardware", "hardware.threads", "hardware.accelerator"),
    *("data", "data.root", "data.task", "data.cache_dir", "data.num_workers", "data.on_bad_record"),
)
"""Settings that leave a run the benchmark's."""


def reproduction_rows(folder: Path) -> list[dict[str, Any]]:
    """One row for each model and task of a sweep: ours over the seeds, the published value, and whether they agree.

    Args:
        folder: of the sweep.
    """
    scores: dict[tuple[str, str, int, str], list[float]] = {}
    for path in sorted(folder.glob(f"*/{RESULT_FILE}")):
        result = read_result(path.parent)
        if result["status"] == "ok":
            key = (
                result["choices"]["model"],
                result["data"]["task"],
                result["data"]["n_test"],
                " ".join(_own_settings(result["overrides"])),
            )
            scores.setdefault(key, []).append(result["metrics"]["test"]["auroc_macro"])
    return [_row(*key, values) for key, values in scores.items()]


def _own_settings(overrides: Sequence[str]) -> list[str]:
    """What the command line changed of the protocol."""
    return sorted(part for part in overrides if part.lstrip("+~").partition("=")[0] not in _NOT_OF_THE_PROTOCOL)


def _row(model: str, task: str, n_test: int, settings: str, values: Sequence[float]) -> dict[str, Any]:
    published = PUBLISHED[model][TASKS.index(task)] if model in PUBLISHED else None
    difference = mean(values) - published if published else None
    if difference is None:
        verdict = "not published"
    elif n_test < N_TEST[task]:  # 1.0.1, which the published table is of, has a few more
        verdict = f"not comparable: {n_test:,} of fold 10's {N_TEST[task]:,} records"
    elif settings:
        verdict = f"not the protocol: {settings}"
    else:
        verdict = "reproduced" if abs(difference) <= TOLERANCE else "off"
    return {
        "model": model,
        "task": task,
        "n_test": n_test,
        "settings": settings,
        "seeds": len(values),
        "auroc_macro": mean(values),
        "deviation": stdev(values) if len(values) > 1 else None,
        "published": published,
        "difference": difference,
        "verdict": verdict,
    }


def print_reproduction(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The table of `reproduction_rows`."""
    table = Table()
    for heading in ("model", "task", "N test", "seeds", "AUROC", "published", "difference", ""):
        table.add_column(heading, justify="right" if heading in ("N test", "seeds") else "left")
    for row in rows:
        deviation = "" if row["deviation"] is None else f" ± {row['deviation']:.3f}"
        table.add_row(
            row["model"],
            row["task"],
            f"{row['n_test']:,}",
            str(row["seeds"]),
            f"{row['auroc_macro']:.3f}{deviation}",
            "–" if row["published"] is None else f"{row['published']:.3f}",
            "–" if row["difference"] is None else f"{row['difference']:+.3f}",
            row["verdict"],
        )
    console.print(table)
    console.print(
        "AUROC: macro, fold 10, last epoch, maximum over seven windows, unless a row's settings say otherwise; "
        f"reproduced: within {TOLERANCE}, where fold 10 alone leaves ± 0.0065 to chance (95 %). Published: on PTB-XL "
        "1.0.1, Strodthoff et al. 2021.",
        style="dim",
        highlight=False,
    )
