"""Results of a sweep: `results.csv` and the ranked table."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from ecg_lightning.disk import write_whole
from ecg_lightning.runs.console import fits
from ecg_lightning.runs.equality import has_effect
from ecg_lightning.runs.results import RESULT_FILE, RunResult, clock, is_figure, read_result

COLUMNS = (
    "run",
    "status",
    "model",
    "data",
    "frontend",
    "compression",
    "hardware",
    "seed",
    "overrides",
    "score",
    "val_f1_macro",
    "val_auroc_macro",
    "test_f1_macro",
    "test_f1_macro_tuned",
    "test_auroc_macro",
    "test_accuracy",
    "n_train",
    "n_val",
    "n_test",
    "label_rule",
    "task",
    "parameters",
    "epochs",
    "fit_s",
    "notes",
    "reason",
)
_CHOICES = ("model", "data", "frontend", "compression", "hardware")
_OWN_COLUMN = ("seed=", *(f"{name}=" for name in _CHOICES))


def collect(sweep_dir: Path, known: Mapping[str, RunResult] | None = None) -> list[dict[str, Any]]:
    """Return one flat row for each run of a sweep, best score first, runs without one last.

    Args:
        sweep_dir: the sweep's folder; each `result.json` below it is a run's.
        known: the cells of a sweep that goes on by their folder: rows of those that have no `result.json` yet, and
            the overrides of all, which an earlier command may have set in other words.
    """
    known = known or {}
    rows = {row["run"]: row for row in (run_row(one.parent, sweep_dir) for one in sorted(sweep_dir.rglob(RESULT_FILE)))}
    for run, result in known.items():
        if run not in rows and result.status == "ok":
            result = RunResult("failed", "its result.json was removed", result.choices, result.overrides, result.seed)
        own = _row(run, dataclasses.asdict(result))
        rows[run] = rows.get(run, own) | {"overrides": own["overrides"]}
    return sorted(rows.values(), key=lambda row: (row["score"] is None, -(row["score"] or 0.0)))


def write_csv(rows: Sequence[dict[str, Any]], path: Path, columns: Sequence[str] = COLUMNS) -> None:
    """Write the rows, whole or not at all."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, table.getvalue())


def print_table(rows: Sequence[dict[str, Any]], console: Console, title: str) -> None:
    """The ranked table, and a line for each remark; runs that differ in their seed alone become a row of mean ± sd."""
    shown = [name for name in _CHOICES[1:] if len({row[name] for row in rows}) > 1]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        parts = row["overrides"].split(" ")
        overrides = tuple(part for part in parts if not part.startswith(_OWN_COLUMN) and has_effect(part))
        groups.setdefault((*(row[name] for name in _CHOICES), overrides, row["status"]), []).append(row)
    varying = {part for key in groups for part in key[-2]} - set.intersection(*({*key[-2]} for key in groups))
    ranked = sorted(groups.values(), key=_best_first)

    names = ["model", *shown, *(["overrides"] if varying else [])]
    described = [
        [*(str(members[0][name]) for name in ("model", *shown)), *_own(members, varying)] for members in ranked
    ]
    for columns in _COLUMNS:  # as many as the terminal has room for
        table = _table(names, described, columns, ranked)
        if fits(table, console):
            break
    console.print(title, style="italic", highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for rank, members in enumerate(ranked, start=1):
        if remark := _remark(members, named=len(rows) > 1):
            console.print(f"#{rank} {members[0]['model']}: {remark}", highlight=False, markup=False)
    n_tried = len({key[:-1] for key in groups if key[-1] not in ("planned", "running")})  # whatever became of them
    tried = f" {n_tried} configurations were tried." if n_tried > 1 else ""
    console.print(_caption(rows) + tried, style="dim", highlight=False, markup=False)


def _own(members: Sequence[dict[str, Any]], varying: set[str]) -> list[str]:
    """The overrides that tell these runs from the others, one a line."""
    return ["\n".join(part for part in members[0]["overrides"].split(" ") if part in varying)] if varying else []


def _table(
    names: Sequence[str],
    described: Sequence[Sequence[str]],
    columns: Mapping[str, str],
    ranked: Sequence[Sequence[dict[str, Any]]],
) -> Table:
    table = Table()
    for heading in ("#", *names):
        table.add_column(heading, overflow="fold" if heading == "overrides" else "ellipsis")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for rank, (cells, members) in enumerate(zip(described, ranked, strict=True), start=1):
        values = [_FORMATS.get(name, _mean_sd)([row[name] for row in members]) for name in columns.values()]
        table.add_row(str(rank), *cells, *values)
    return table


def run_row(folder: Path, sweep_dir: Path) -> dict[str, Any]:
    """A run's result as one flat row of `COLUMNS`."""
    return _row(str(folder.relative_to(sweep_dir)), read_result(folder))


def _row(run: str, result: Mapping[str, Any]) -> dict[str, Any]:
    data, timing = result["data"], result["timing"]
    val, test = (_figures(result["metrics"].get(split)) for split in ("val", "test"))
    size = _figures(result["variants"][-1].get("size")) if result["variants"] else {}
    return {
        "run": run,
        "status": result["status"],
        **{name: result["choices"].get(name, "") for name in _CHOICES},
        "seed": result["seed"],
        "overrides": " ".join(result["overrides"]),
        "score": result["score"],
        "val_f1_macro": val.get("f1_macro"),
        "val_auroc_macro": val.get("auroc_macro"),
        "test_f1_macro": test.get("f1_macro"),
        "test_f1_macro_tuned": test.get("f1_macro_tuned"),
        "test_auroc_macro": test.get("auroc_macro"),
        "test_accuracy": test.get("accuracy"),
        **{name: _figures(data).get(name) for name in ("n_train", "n_val", "n_test")},
        **{name: data[name] if isinstance(data.get(name), str) else None for name in ("label_rule", "task")},
        "parameters": size.get("parameters"),
        "epochs": timing.get("epochs"),
        "fit_s": timing.get("fit_s"),
        "notes": "; ".join(result["notes"]),
        "reason": result["reason"],
    }


def _figures(values: Any) -> dict[str, Any]:
    """Return the numbers of a table; a stranger's result may hold anything."""
    return {name: value for name, value in values.items() if is_figure(value)} if isinstance(values, dict) else {}


def _caption(rows: Sequence[dict[str, Any]]) -> str:
    described = {
        (row["n_train"], row["n_val"], row["n_test"], row["label_rule"], row["task"])
        for row in rows
        if row["n_val"] or row["n_test"]
    }
    counts = "; ".join(
        f"N train {train or 0:,} · val {val or 0:,} · test {test or 0:,}, label rule {rule}"
        + (f", task {task}" if task not in (None, "superdiagnostic") else "")
        for train, val, test, rule, task in sorted(described, key=str)
    )
    data = ", ".join(sorted({str(row["data"]) for row in rows}))
    return (
        f"data {data}{': ' * bool(counts)}{counts}. F1 is macro F1 at threshold 0.5; tuned: thresholds chosen on the "
        "validation fold. "
        "val: of the scored checkpoint, which was chosen by it unless scored_epoch=last."
    )


def _best_first(members: Sequence[dict[str, Any]]) -> tuple[bool, float]:
    scores = [row["score"] for row in members if row["score"] is not None]
    return (not scores, -mean(scores) if scores else 0.0)


def _mean_sd(values: Sequence[float | None], digits: int = 3) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    text = f"{mean(known):.{digits}f}"
    return f"{text} ± {stdev(known):.{digits}f}" if len(known) > 1 else text


def _duration(seconds: Sequence[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    if not known:
        return "–"
    return clock(mean(known))


def _remark(members: Sequence[dict[str, Any]], *, named: bool) -> str:
    """Return the seeds, and what went wrong in any of them: by the folder of the run, as the log names it."""
    parts = [f"{len(members)} seeds"] if len(members) > 1 else []
    for row in members:
        run = f"{row['run']} " if named else ""
        said = [f"{run}{row['status']}: {row['reason']}"] if row["status"] != "ok" else []
        for text in (*said, *([row["notes"]] if row["notes"] else [])):
            whose = f"seed {row['seed']} " if len(members) > 1 and row["notes"] else ""
            if whose + text not in parts:
                parts.append(whose + text)
    return "; ".join(parts)


_FORMATS: dict[str, Callable[[Sequence[float | None]], str]] = {
    "epochs": lambda values: _mean_sd(values, digits=0),
    "fit_s": _duration,
}
_COLUMNS: tuple[dict[str, str], ...] = (
    {
        "val F1": "val_f1_macro",
        "val AUROC": "val_auroc_macro",
        "test F1": "test_f1_macro",
        "test F1 tuned": "test_f1_macro_tuned",
        "test AUROC": "test_auroc_macro",
        "epochs": "epochs",
        "fit": "fit_s",
    },
    {
        "val F1": "val_f1_macro",
        "val AUROC": "val_auroc_macro",
        "test F1": "test_f1_macro",
        "test AUROC": "test_auroc_macro",
        "fit": "fit_s",
    },
    {"val F1": "val_f1_macro", "val AUROC": "val_auroc_macro", "test F1": "test_f1_macro"},
    {"val F1": "val_f1_macro"},
)
