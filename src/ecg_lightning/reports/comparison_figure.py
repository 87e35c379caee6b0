"""A comparison of runs as a figure: scores and paired differences, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ecg_lightning.reports.canvas import COLOURS, new_figure
from ecg_lightning.reports.evaluation_tables import row_names
from ecg_lightning.text import shortened

_LONGEST_LABEL = 40


def comparison_figure(rows: Sequence[Mapping[str, Any]], split: str) -> Figure:
    """Return a figure of each row's macro F1 and AUROC and the differences to the first row, with 95 % intervals.

    Args:
        rows: rows from `evaluations.compare_runs`.
        split: split of the compared records.
    """
    names = [shortened(name, _LONGEST_LABEL) for name in row_names(rows)]
    left = 0.3 + 0.085 * max(map(len, names))
    width, height = left + 7.2, 1.6 + 0.8 * len(names)
    figure = new_figure(width, height)
    figure.subplots_adjust(
        left=left / width, right=1 - 0.2 / width, top=1 - 0.6 / height, bottom=0.55 / height, wspace=0.1, hspace=0.6
    )
    panels = figure.subplots(2, 2, sharey=True)
    metrics = zip(panels, ("f1", "auroc"), ("macro F1", "macro AUROC"), COLOURS, strict=False)
    for (scores, differences), metric, title, colour in metrics:
        differences.axvline(0, color="0.6", linestyle=":", linewidth=1)
        for place, row in enumerate(rows):
            for axes, interval in ((scores, row[metric]), (differences, row.get(f"{metric}_change"))):
                if interval is not None:
                    below, above = interval.value - interval.low, interval.high - interval.value
                    axes.errorbar(
                        interval.value, place, xerr=[[below], [above]], marker="o", color=colour, capsize=3, lw=1.4
                    )
        scores.set_xlabel(f"{title}, {split}")
        differences.set_xlabel(f"difference in {title} to {names[0]}")
        for axes in (scores, differences):
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.grid(axis="x", color="0.9", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        scores.set_yticks(range(len(names)), names)
        scores.set_ylim(len(names) - 0.4, -0.6)
    said = f"N = {rows[0]['n_records']:,} {split} records; bars: 95 % intervals, by patient, paired for differences"
    figure.text(0.1 / width, 1 - 0.3 / height, said, fontsize=11)
    return figure
