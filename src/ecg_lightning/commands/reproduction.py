"""Comparison of our runs of the PTB-XL benchmark with its published table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from ecg_lightning.errors import ConfigError
from ecg_lightning.reports.next_steps import key_of
from ecg_lightning.results.equality import flat, without
from ecg_lightning.results.results import RESULT_FILE, read_config, read_result
from ecg_lightning.text import override

TOLERANCE = 0.005
"""Tolerance of macro AUROC. A full fold 10 has a random error of ± 0.0065 (95 %)."""

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

N_RECORDS = {
    "superdiagnostic": (17_084, 2_158),
    "subdiagnostic": (17_084, 2_158),
    "diagnostic": (17_084, 2_158),
    "form": (7_197, 880),
    "rhythm": (16_832, 2_098),
    "all": (17_418, 2_198),
}
"""Labelled records of folds 1 to 8, and of fold 10, in PTB-XL 1.0.3."""

_OWN_SETTINGS = ("experiment", "model", "seed", "data", "data.root", "data.task", "hydra.run.dir", "ckpt_path")
"""Settings that a cell of the table sets itself."""

_OF_THE_TEST_FOLD = ("train", "test", "cross_validation")
"""Settings that could remove the score on the test fold, which is needed for the comparison."""

_NOT_OF_THE_PROTOCOL = (
    *("seed", "task_name", "for_model", "logger", "paths", "ckpt_path", "n_tried", "compression"),
    *("data.root", "data.cache_dir", "data.num_workers", "data.on_bad_record", "data.task"),
    *("hardware.accelerator", "hardware.devices", "hardware.strategy"),
    *("hardware.threads", "hardware.channels_last", "hardware.compile"),
    *("callbacks.figures", "callbacks.collapse_guard", "trainer.log_every_n_steps", "trainer.profiler"),
)
"""Settings that may differ from the benchmark's."""

_NOT_TRAINED = tuple(key for key in _NOT_OF_THE_PROTOCOL if key not in ("data.root", "data.task"))
"""Settings that may differ between equal runs on the same data."""


def run_protocol(
    models: Sequence[str], tasks: Sequence[str], seeds: int, root: Path, output: Path, settings: Sequence[str] = ()
) -> int:
    """Train every model on every task with every seed, each in its folder below `output`, and return the exit code.

    Finished runs are not repeated, and interrupted runs are resumed.

    Args:
        models: models of the published table.
        tasks: tasks of the published table.
        seeds: number of seeds, from 0.
        root: PTB-XL's folder.
        output: folder of the runs.
        settings: settings for the command line of each run.

    Returns:
        The exit code of the last failed run; 0 if none failed.

    Raises:
        ConfigError: a folder holds a finished run with other settings, or the user may not set one of the settings.
    """
    from ecg_lightning.commands import launching
    from ecg_lightning.commands.job import FAILED

    for setting in settings:
        key = key_of(setting)
        if key in _OWN_SETTINGS:
            raise ConfigError(
                f"--setting {setting}: reproduce sets this key itself. Use --model, --task, --seeds or --root"
            )
        if key in _OF_THE_TEST_FOLD:
            raise ConfigError(f"--setting {setting}: the published table holds scores on fold 10. Remove this setting")

    data = override("data.root", str(root.expanduser().absolute()))
    missing: dict[Path, list[str]] = {}  # all runs, so that a setting is refused before anything is trained
    for model, task in itertools.product(models, tasks):
        recipe = ["experiment=benchmark", f"model={model}", f"data.task={task}", "data=ptbxl", data, *settings]
        asked = launching.compose(*recipe)
        for seed in range(seeds):
            folder = output / f"{model}-{task}-{seed}"
            if not _is_finished(folder, asked):
                missing[folder] = [*recipe, f"seed={seed}"]
    failed = 0
    for folder, recipe in missing.items():
        go_on = ["ckpt_path=last"] if (folder / "checkpoints" / "last.ckpt").is_file() else []
        try:
            launching.train([*recipe, *go_on, override("hydra.run.dir", str(folder))])
        except SystemExit as stop:  # a failed cell must not hide the others
            failed = stop.code if isinstance(stop.code, int) else FAILED
            if failed > 128:  # stopped by the user or the system
                break
    return failed


def _is_finished(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Return whether a folder holds a finished run of these settings.

    Raises:
        ConfigError: the folder holds a finished run with other settings.
    """
    if not (folder / RESULT_FILE).is_file() or read_result(folder)["status"] != "ok":
        return False
    ours = flat(without(asked, _NOT_TRAINED))
    there = flat(without(read_config(folder), _NOT_TRAINED))  # an earlier version lacks some settings
    if other := sorted(
        f"{key}={there[key]}, not {ours[key]}" for key in there.keys() & ours.keys() if there[key] != ours[key]
    ):
        raise ConfigError(
            f"{folder} holds a finished run with other settings ({'; '.join(other)}). Name another --output"
        )
    return True


def reproduction_rows(folder: Path) -> list[dict[str, Any]]:
    """Return one row for each model and task of a sweep: our result over the seeds, the published value, and a verdict.

    Args:
        folder: folder of the sweep.
    """
    scores: dict[tuple[str, str, int, int, str], list[float]] = {}
    for path in sorted(folder.glob(f"*/{RESULT_FILE}")):
        result = read_result(path.parent)
        if result["status"] == "ok" and "test" in result["metrics"]:
            model, data = result["choices"]["model"], result["data"]
            changed = " ".join(_changed(read_config(path.parent), model))
            key = (model, data["task"], data["n_train"], data["n_test"], changed)
            scores.setdefault(key, []).append(result["metrics"]["test"]["auroc_macro"])
    return [_row(*key, values) for key, values in scores.items()]


def _changed(config: Mapping[str, Any], model: str) -> list[str]:
    """Return the settings of a run that differ from the protocol's.

    The command line or a file of the user's may have changed them.
    """
    if not config:
        return ["settings unknown, because config.yaml is missing"]
    protocol = _protocol(model)
    # A run of an earlier version lacks some settings.
    own = flat(without(config, _NOT_OF_THE_PROTOCOL))
    return sorted(f"{key}={value}" for key, value in own.items() if value != protocol.get(key))


@cache
def _protocol(model: str) -> dict[str, Any]:
    """Return the protocol's settings for a model, flat. They are composed once, and not for every run."""
    from ecg_lightning.commands.launching import compose_without_local  # Hydra

    settings = compose_without_local("experiment=benchmark", f"model={model}", "data=ptbxl")
    return flat(without(settings, _NOT_OF_THE_PROTOCOL))


def _row(model: str, task: str, n_train: int, n_test: int, settings: str, values: Sequence[float]) -> dict[str, Any]:
    published = PUBLISHED[model][TASKS.index(task)] if model in PUBLISHED else None
    difference = mean(values) - published if published else None
    if difference is None:
        verdict = "not published"
    elif n_test < N_RECORDS[task][1]:  # the published 1.0.1 has a few more
        verdict = f"not comparable: {n_test:,} of fold 10's {N_RECORDS[task][1]:,} records"
    elif n_train < N_RECORDS[task][0]:
        verdict = f"not comparable: trained on {n_train:,} of {N_RECORDS[task][0]:,} records"
    elif settings:
        verdict = f"other settings than the protocol: {settings}"
    else:
        verdict = "reproduced" if abs(difference) <= TOLERANCE else "not reproduced"
    return {
        "model": model,
        "task": task,
        "n_train": n_train,
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
    """Print the table of `reproduction_rows`."""
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
        "AUROC: macro, fold 10, last epoch, maximum over seven windows, unless the row names other settings. "
        f"Reproduced: the difference is at most {TOLERANCE}; the sample of fold 10 alone has an uncertainty of ± "
        "0.0065 (95 %). Published: PTB-XL 1.0.1, Strodthoff et al. 2021.",
        style="dim",
        highlight=False,
    )
