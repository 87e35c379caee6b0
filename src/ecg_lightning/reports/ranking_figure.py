"""The scores of a sweep as a figure, with a row for each configuration and a dot for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ecg_lightning.evaluation.metric_table import followed
from ecg_lightning.reports.canvas import COLOURS, new_figure
from ecg_lightning.text import shortened

_MOST_ROWS = 25
_LONGEST_LABEL = 40


def ranking_figure(labels: Sequence[str], ranked: Sequence[Sequence[Mapping[str, Any]]]) -> Figure | None:
    """Return a figure of each configuration's headline metrics, with mean and standard deviation over its seeds.

    Args:
        labels: labels of the configurations, best first.
        ranked: rows of each configuration's seeds, see `tables.collect`.

    Returns:
        The figure of the test fold if every scored run has it, else of the validation fold. None without a score.
    """
    both = zip(labels, ranked, strict=True)
    scored = [(label, rows) for label, rows in both if any(row["val_f1_macro"] is not None for row in rows)]
    if not scored:
        return None
    scored = scored[:_MOST_ROWS]
    known = [row for _, rows in scored for row in rows if row["val_f1_macro"] is not None]
    split = "test" if all(row["test_f1_macro"] is not None for row in known) else "val"
    names = [shortened(label, _LONGEST_LABEL) for label, _ in scored]
    left = 0.3 + 0.085 * max(map(len, names))
    width, height = left + 7.2, 1.25 + 0.34 * len(names)
    metrics = followed()
    figure = new_figure(width, height)
    figure.subplots_adjust(
        left=left / width, right=1 - 0.2 / width, top=1 - 0.6 / height, bottom=0.55 / height, wspace=0.12
    )
    panels = figure.subplots(1, len(metrics), sharey=True)
    for axes, (metric, label), colour in zip(panels, metrics.items(), COLOURS, strict=False):
        for place, (_, rows) in enumerate(scored):
            values = [row[f"{split}_{metric}"] for row in rows]
            values = [value for value in values if value is not None]
            if not values:
                continue
            axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.4, markersize=4, markeredgewidth=0)
            spread = stdev(values) if len(values) > 1 else None
            axes.errorbar(mean(values), place, xerr=spread, marker="D", color=colour, markersize=6, capsize=3, lw=1.2)
        axes.set_xlabel(f"macro {label}, {split}")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    counts = ", ".join(sorted({f"{row[f'n_{split}']:,}" for row in known if row[f"n_{split}"]}))
    several = any(len(rows) > 1 for _, rows in scored)
    dots = "dots: seeds, diamond: mean ± standard deviation" if several else "one run each"
    figure.text(
        0.1 / width, 1 - 0.3 / height, f"Scores of the sweep, N = {counts} {split} records; {dots}", fontsize=11
    )
    return figure
