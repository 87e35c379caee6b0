"""The Pareto plot: macro F1 against latency and against size, a line for each hardware."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.figure import Figure

from ecg_lightning.runs.curves import COLOURS, new_figure, save_figure
from ecg_lightning.runs.variants import PARETO_FILE, variant_name, variant_rows

_AXES = (("ms", "ms a record (batch 1, one thread)"), ("megabytes", "MB on disk"))


def pareto_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Two panels of the variants, the best ones joined.

    Args:
        rows: from `variants.variant_rows`.
    """
    figure = new_figure(12, 5.5, layout="constrained")
    rows = _at_one_speed(rows)
    groups = sorted({(row["model"], row["hardware"]) for row in rows})
    for axes, (name, label) in zip(figure.subplots(1, 2, sharey=True), _AXES, strict=True):
        for colour, group in zip(COLOURS * (len(groups) // len(COLOURS) + 1), groups, strict=False):
            points = [row for row in rows if (row["model"], row["hardware"]) == group and row[name] is not None]
            axes.scatter([row[name] for row in points], [row["f1"] for row in points], color=colour, s=26, zorder=3)
            front = pareto_front([(row[name], row["f1"]) for row in points])
            axes.plot(
                *zip(*front, strict=True), color=colour, lw=1, alpha=0.6, label=" · ".join(group)
            ) if front else None
            for row in points:
                axes.annotate(
                    variant_name(row), (row[name], row["f1"]), xytext=(4, 4), textcoords="offset points", fontsize=7
                )
        axes.set(xscale="log", xlabel=label)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel("macro F1 on the test fold (thresholds of the validation fold)") if name == "ms" else None
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def _at_one_speed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Milliseconds of different cells, made comparable.

    Within a cell all variants took turns, cells followed each other on a machine that may have become slower: each
    time is its ratio to the cell's own uncompressed model, times the median of that model's times.
    """
    uncompressed = defaultdict(list)
    for row in rows:
        if row["times_fp32"]:
            uncompressed[row["checkpoint"], row["hardware"]].append(row["ms"] * row["times_fp32"])
    return [
        {**row, "ms": median(uncompressed[row["checkpoint"], row["hardware"]]) / row["times_fp32"]}
        if row["times_fp32"]
        else dict(row)
        for row in rows
    ]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats in both: less cost, more F1; by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, f1 in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or f1 > front[-1][1]:
            front.append((cost, f1))
    return front


def write_pareto(result: Mapping[str, Any], folder: Path, loggers: Sequence[Logger]) -> str:
    """Write `pareto.png` of one run, and the same in TensorBoard; return the file's name.

    Raises:
        UserError: the disk is full.
    """
    figure = pareto_figure(variant_rows(result))
    save_figure(figure, folder / PARETO_FILE)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure("pareto", figure)
            logger.finalize("success")
    return PARETO_FILE
