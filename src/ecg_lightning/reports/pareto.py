"""The Pareto plot: macro F1 against time and against size, with intervals and the front of each hardware."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ecg_lightning.reports.canvas import COLOURS, DPI, new_figure
from ecg_lightning.reports.figure_files import pixels, write_figure
from ecg_lightning.reports.variants import PARETO_FILE, variant_name, variant_rows, without_repeats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")
_AXES = (("ms", "time per record (ms; median, batch 1, one thread)"), ("megabytes", "size on disk (MB)"))
_MARKERS = "os^DvPX<>ph*"
_LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_STEPS = ((1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 4.0, 5.0, 6.0, 7.0, 8.5))


def pareto_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return a figure of the variants in two panels: a colour per model and hardware, a marker per compression.

    Equal checkpoints are one point. A bar is the 95 % interval of the difference to the uncompressed model, around the
    variant's macro F1. An open marker is a model that runs in bfloat16. Its file is the same, so the panel of sizes
    leaves it out.

    Args:
        rows: rows from `variants.variant_rows`.
    """
    rows = without_repeats(_at_one_speed(rows))
    models = sorted({(row["model"], row["hardware"]) for row in rows})
    hardware = sorted({row["hardware"] for row in rows})
    kinds = sorted({variant_name(row) for row in rows}, key=lambda kind: (kind != "uncompressed", kind))
    colour_of = {model: COLOURS[number % len(COLOURS)] for number, model in enumerate(models)}
    marker_of = {kind: _MARKERS[number % len(_MARKERS)] for number, kind in enumerate(kinds)}
    keys = _keys(colour_of, marker_of, hardware, any(_in_bf16(row) for row in rows))
    n_key_lines = -(-len(keys) // 4)
    height = 4.9 + 0.24 * n_key_lines
    figure = new_figure(11, height)
    figure.set_dpi(2 * DPI)
    figure.subplots_adjust(
        left=0.07, right=0.97, top=1 - 0.45 / height, bottom=(0.75 + 0.24 * n_key_lines) / height, wspace=0.07
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, label) in zip(panels, _AXES, strict=True):
        shown = [row for row in rows if row[name] and not (name == "megabytes" and _in_bf16(row))]
        _draw_points(axes, shown, name, colour_of, marker_of)
        _scale(axes, [row[name] for row in shown])
        _draw_fronts(axes, shown, name, hardware)
        axes.set_xlabel(label)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("macro F1, test fold")
    counts = ", ".join(f"{n:,}" for n in sorted({row["n_test"] for row in rows}))
    figure.suptitle(
        f"Score against time and size, N = {counts} test records; bars: 95 % interval of the change from uncompressed",
        fontsize=11,
        y=1 - 0.2 / height,
        va="center",
    )
    figure.legend(handles=keys, loc="lower center", ncols=min(4, len(keys)), frameon=False, fontsize=9)
    return figure


def _draw_points(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    cost: str,
    colour_of: Mapping[tuple[str, str], str],
    marker_of: Mapping[str, str],
) -> None:
    """Draw the F1 of each row over its cost, with the bar of its change from the uncompressed model."""
    for row in rows:
        colour = colour_of[row["model"], row["hardware"]]
        axes.errorbar(
            row[cost],
            row["f1"],
            yerr=_bar(row),
            marker=marker_of[variant_name(row)],
            color=colour,
            markerfacecolor="white" if _in_bf16(row) else colour,
            markersize=7,
            elinewidth=1,
            capsize=2.5,
            zorder=3,
        )


def _draw_fronts(axes: Axes, rows: Sequence[Mapping[str, Any]], cost: str, hardware: Sequence[str]) -> None:
    """Draw the Pareto front of each hardware to the right edge of the axes."""
    for line, one in zip(_LINES, hardware, strict=False):
        front = pareto_front([(row[cost], row["f1"]) for row in rows if row["hardware"] == one])
        if front:
            edge = (axes.get_xlim()[1], front[-1][1])  # higher cost without a higher score is below the front
            axes.step(*zip(*front, edge, strict=True), where="post", color="0.45", lw=1.4, ls=line, zorder=2)


def _keys(
    colour_of: Mapping[tuple[str, str], str], marker_of: Mapping[str, str], hardware: Sequence[str], any_bf16: bool
) -> list[Line2D]:
    """Return the legend of colours, markers and lines."""

    def dot(label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", markersize=7, label=label, **style)

    one_hardware = len(hardware) == 1
    found = [
        Line2D([], [], color=colour, lw=5, label=model[0] if one_hardware else " · ".join(model))
        for model, colour in colour_of.items()
    ]
    found += [dot(kind, marker=marker, color="0.25") for kind, marker in marker_of.items()]
    if any_bf16:
        found.append(dot("open: in bfloat16", marker="o", color="0.25", markerfacecolor="white"))
    for line, one in zip(_LINES, hardware, strict=False):
        label = "Pareto front" if one_hardware else f"Pareto front, {one}"
        found.append(Line2D([], [], color="0.45", lw=1.4, linestyle=line, label=label))
    return found


def _in_bf16(row: Mapping[str, Any]) -> bool:
    """Return whether a row is the file of another row, run in bfloat16."""
    return bool(row["precision"] == "bf16")


def _bar(row: Mapping[str, Any]) -> list[list[float]] | None:
    """Return the lengths of the difference's interval below and above its value, in the form of `errorbar`."""
    change, low, high = row["f1_change"], row["f1_low"], row["f1_high"]
    if change is None or low is None or high is None:
        return None
    return [[max(0.0, change - low)], [max(0.0, high - change)]]


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Set a logarithmic axis with plain numbers as ticks."""
    axes.set_xscale("log")
    if not values:
        return
    least, most = min(values) / 1.25, max(values) * 1.25
    axes.set_xlim(least, most)
    decades = range(int(np.floor(np.log10(least))), int(np.ceil(np.log10(most))) + 1)
    found: list[float] = []
    for steps in _STEPS:
        found = [step * 10.0**decade for decade in decades for step in steps if least <= step * 10.0**decade <= most]
        if len(found) >= 3:
            break
    axes.xaxis.set_major_locator(FixedLocator(found if len(found) > 1 else sorted({min(values), max(values)})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _at_one_speed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with milliseconds that can be compared between cells.

    Within a cell all variants took turns. Cells followed each other on a machine that may have become slower. Each time
    is therefore its ratio to the cell's own uncompressed model, times the median of that model's times.
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
    """Return the points that no other point beats in both, less cost and more F1, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, f1 in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or f1 > front[-1][1]:
            front.append((cost, f1))
    return front


def write_pareto(result: Mapping[str, Any], folder: Path, loggers: Sequence[Logger]) -> str:
    """Write the plot of one run, also to TensorBoard, and return the name of the PNG.

    Raises:
        UserError: the disk is full.
    """
    figure = pareto_figure(variant_rows(result))
    save_pareto(figure, folder)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image("pareto", pixels(figure)[..., :3], dataformats="HWC")
            logger.finalize("success")
    return PARETO_FILE


def save_pareto(figure: Figure, folder: Path) -> None:
    """Write `pareto.png`, `pareto.svg` and `pareto.pdf`.

    Raises:
        UserError: the disk is full.
    """
    write_figure(figure, folder / Path(PARETO_FILE).stem, FORMATS)
