"""Decisions against labels: a figure with a two-by-two table of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ecg_lightning.reports.canvas import new_figure
from ecg_lightning.reports.curves import MOST_CLASSES

Flags = npt.NDArray[np.bool_]

_CELL, _LEFT, _GAP, _HEAD, _FOOT = 0.95, 0.95, 0.3, 0.35, 0.55  # inches
_MOST_ACROSS = 6


def confusion_figure(decisions_NC: Flags, targets_NC: Flags, classes: Sequence[str]) -> Figure:
    """Return a figure of the right and wrong decisions of each class.

    A row of a class's four cells holds the records with one label; its shares add up to 100 %. The labels are not
    exclusive, so a table over all classes together does not exist.

    Args:
        decisions_NC: (N, C) predicted classes.
        targets_NC: (N, C) labels.
        classes: names of the C classes; the most frequent ones are drawn.
    """
    decisions_NC, targets_NC = decisions_NC.astype(bool), targets_NC.astype(bool)
    shown = sorted(np.argsort(-targets_NC.sum(axis=0), kind="stable")[:MOST_CLASSES].tolist())
    n_across = min(len(shown), _MOST_ACROSS)
    n_down = math.ceil(len(shown) / n_across)
    width = _LEFT + n_across * (2 * _CELL + _GAP)
    row_height = _HEAD + 2 * _CELL + _FOOT
    height = 0.4 + n_down * row_height
    figure = new_figure(width, height)
    # One pair of axes in inches, because every further pair costs as much as all the cells.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    cells: list[Rectangle] = []
    shares: list[float] = []
    for place, column in enumerate(shown):
        down, across = divmod(place, n_across)
        left, top = _LEFT + across * (2 * _CELL + _GAP), 0.4 + down * row_height + _HEAD
        axes.text(left + _CELL, top - 0.12, classes[column], fontsize=10, weight="bold", ha="center")
        axes.text(left + _CELL, top + 2 * _CELL + 0.38, "predicted", fontsize=9, ha="center")
        counts = _counts(decisions_NC[:, column], targets_NC[:, column])
        for label, said in np.ndindex(2, 2):
            total = counts[label].sum()
            share = counts[label, said] / total if total else 0.0
            x, y = left + said * _CELL, top + label * _CELL
            cells.append(Rectangle((x, y), _CELL, _CELL))
            shares.append(share)
            text = f"{counts[label, said]:,}" + (f"\n{share:.0%}" if total else "")
            colour = "white" if share > 0.55 else "#101010"
            axes.text(x + _CELL / 2, y + _CELL / 2, text, ha="center", va="center", fontsize=9, color=colour)
        for number, name in enumerate(("absent", "present")):
            middle = (number + 0.5) * _CELL
            axes.text(left + middle, top + 2 * _CELL + 0.17, name, fontsize=8, ha="center")
            if not across:
                axes.text(left - 0.07, top + middle, name, fontsize=8, ha="right", va="center")
        if not across:
            axes.text(0.2, top + _CELL, "labelled", fontsize=9, rotation=90, ha="center", va="center")
    colours = colormaps["Blues"](np.array(shares))
    axes.add_collection(PatchCollection(cells, facecolors=colours, edgecolors="white", linewidths=1))
    left_out = f", the {len(shown)} most frequent of {len(classes)} classes" if len(shown) < len(classes) else ""
    axes.text(0.12, 0.28, f"Decisions by class, N = {len(targets_NC):,}{left_out}", fontsize=11)
    return figure


def _counts(decisions_N: Flags, targets_N: Flags) -> npt.NDArray[np.int64]:
    """Return the (2, 2) numbers of records: rows absent or present by label, columns by decision."""
    return np.bincount(2 * targets_N.astype(np.int64) + decisions_N, minlength=4).reshape(2, 2)
