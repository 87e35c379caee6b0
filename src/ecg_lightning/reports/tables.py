"""Results of a sweep: `results.csv` and the ranked table."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ecg_lightning.data.source import OWN
from ecg_lightning.evaluation.metric_table import PHASES, csv_columns, ranked_columns
from ecg_lightning.reports.section import Cell, Column, Section, Spread, Table
from ecg_lightning.results.results import RESULT_FILE, RunResult, is_figure, read_result
from ecg_lightning.system.disk import write_whole
from ecg_lightning.text import duration

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
    *csv_columns(),
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
    """Return one flat row for each run of a sweep, best score first, runs without a score last.

    Args:
        sweep_dir: the sweep's folder. Each `result.json` below it belongs to a run.
        known: results by folder of the cells of a continued sweep. They give the rows of cells without a `result.json`,
            and the overrides of all, which an earlier command may have written differently.
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
    """Write the rows to a CSV file, whole or not at all."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, table.getvalue())


def ranking_section(
    rows: Sequence[dict[str, Any]], title: str, recipes: Mapping[str, str], *, with_figure: bool = False
) -> Section:
    """Return the ranked table with a remark for each row. The runs of one recipe become a mean ± sd.

    Args:
        rows: rows from `collect`.
        title: title of the table.
        recipes: recipe of each run, see `recipes.recipes_by_run`. A run without one has a row of its own.
        with_figure: whether to draw the scores.
    """
    shown = [name for name in _CHOICES[1:] if len({row[name] for row in rows}) > 1]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((recipes.get(row["run"], row["run"]), row["status"]), []).append(row)
    ranked = sorted(groups.values(), key=_best_first)
    typed = [[part for part in one[0]["overrides"].split(" ") if not part.startswith(_OWN_COLUMN)] for one in ranked]
    everywhere = set.intersection(*map(set, typed))
    differing = ["\n".join(part for part in parts if part not in everywhere) for parts in typed]
    n_grouped = len(rows) - len(groups)
    columns = [
        Column("#", "rank", "d"),
        *(Column(name, name) for name in ("model", *shown)),
        *([Column("overrides", "overrides")] if any(differing) else []),
        *([Column("seeds", "seeds", "d", optional=4)] if n_grouped else []),
    ]
    cells: list[list[Cell]] = []
    for rank, members in enumerate(ranked, start=1):
        own = [differing[rank - 1]] if any(differing) else []
        named: list[Cell] = [rank, *(str(members[0][name]) for name in ("model", *shown)), *own]
        seeds: list[Cell] = [len({row["seed"] for row in members})] if n_grouped else []
        scores = [_spread([row[column.name] for row in members]) for column in _SCORES]
        cells.append([*named, *seeds, *scores, _duration([row["fit_s"] for row in members])])
    remarks = [
        f"#{rank} {members[0]['model']}: {remark}"
        for rank, members in enumerate(ranked, start=1)
        if (remark := _remark(members, named=len(rows) > 1))
    ]
    n_tried = len({recipe for recipe, status in groups if status not in ("planned", "running")})  # also failed ones
    tried = f" {n_tried} configurations were tried." if n_tried > 1 else ""
    table = Table([*columns, *_SCORES, Column("fit", "fit_time", "s", optional=2)], cells)
    figure = None
    if with_figure:
        from ecg_lightning.reports.ranking_figure import (
            ranking_figure,
        )  # matplotlib: only where there is something to draw

        n_named = len(columns) - (2 if n_grouped else 1)
        labels = ["#" + " ".join(str(cell) for cell in row[: n_named + 1]).replace("\n", " ") for row in cells]
        figure = ranking_figure(labels, ranked)
    return Section("ranking", title, table, notes=remarks, legend=_caption(rows) + tried, figure=figure)


def run_row(folder: Path, sweep_dir: Path) -> dict[str, Any]:
    """Return a run's result as one flat row of `COLUMNS`."""
    return _row(str(folder.relative_to(sweep_dir)), read_result(folder))


def _row(run: str, result: Mapping[str, Any]) -> dict[str, Any]:
    data, timing = result["data"], result["timing"]
    found = {phase: _figures(result["metrics"].get(phase)) for phase in PHASES}
    scores = {f"{phase}_{name}": value for phase, metrics in found.items() for name, value in metrics.items()}
    size = _figures(result["variants"][-1].get("size")) if result["variants"] else {}
    return {
        "run": run,
        "status": result["status"],
        **{name: result["choices"].get(name, "") for name in _CHOICES},
        "seed": result["seed"],
        "overrides": " ".join(result["overrides"]),
        "score": result["score"],
        **{column: scores.get(column) for column in csv_columns()},
        **{name: _figures(data).get(name) for name in ("n_train", "n_val", "n_test")},
        **{name: data[name] if isinstance(data.get(name), str) else None for name in ("label_rule", "task")},
        "parameters": size.get("parameters"),
        "epochs": timing.get("epochs"),
        "fit_s": timing.get("fit_s"),
        "notes": "; ".join(result["notes"]),
        "reason": result["reason"],
    }


def _figures(values: Any) -> dict[str, Any]:
    """Return the numbers of a table. A stranger's result may hold anything."""
    return {name: value for name, value in values.items() if is_figure(value)} if isinstance(values, dict) else {}


def _labels(rule: str | None, task: str | None) -> str:
    if task == OWN:
        return "labels of its table"
    return f"label rule {rule}" + (f", task {task}" if task not in (None, "superdiagnostic") else "")


def _caption(rows: Sequence[dict[str, Any]]) -> str:
    described = {
        (row["n_train"], row["n_val"], row["n_test"], row["label_rule"], row["task"])
        for row in rows
        if row["n_val"] or row["n_test"]
    }
    counts = "; ".join(
        f"N train {train or 0:,} · val {val or 0:,} · test {test or 0:,}, {_labels(rule, task)}"
        for train, val, test, rule, task in sorted(described, key=str)
    )
    data = ", ".join(sorted({str(row["data"]) for row in rows}))
    return (
        f"Data {data}{': ' * bool(counts)}{counts}. F1: macro, at the threshold 0.5. Tuned: at thresholds that "
        "the validation fold chose. Validation scores are optimistic: they also selected the epoch (unless "
        "scored_epoch=last)."
    )


def _best_first(members: Sequence[dict[str, Any]]) -> tuple[bool, float]:
    scores = [row["score"] for row in members if row["score"] is not None]
    return (not scores, -mean(scores) if scores else 0.0)


def _spread(values: Sequence[float | None]) -> Spread | None:
    """Return mean and standard deviation of the seeds that have a value."""
    known = [value for value in values if value is not None]
    return Spread(mean(known), stdev(known) if len(known) > 1 else None) if known else None


def _duration(seconds: Sequence[float | None]) -> str | None:
    known = [value for value in seconds if value is not None]
    return duration(mean(known)) if known else None


def _remark(members: Sequence[dict[str, Any]], *, named: bool) -> str:
    """Return the number of seeds, and each run's failure and notes under the folder name that the log uses."""
    n_seeds = len({row["seed"] for row in members})
    parts = [f"{n_seeds} seeds"] if n_seeds > 1 else []
    parts += [f"{len(members)} runs"] if len(members) > n_seeds else []
    for row in members:
        run = f"{row['run']} " if named else ""
        said = [f"{run}{row['status']}: {row['reason']}"] if row["status"] != "ok" else []
        for text in (*said, *([row["notes"]] if row["notes"] else [])):
            whose = f"seed {row['seed']} " if len(members) > 1 and row["notes"] else ""
            if whose + text not in parts:
                parts.append(whose + text)
    return "; ".join(parts)


_SCORES = (
    *(Column(heading, name, ".3f", optional=rank) for heading, name, rank in ranked_columns()),
    Column("epochs", "epochs", ".0f", optional=3),
)
"""Scores of the ranked table. A narrow terminal drops the columns with the largest number first."""
