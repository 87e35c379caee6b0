"""Decisions against labels, class by class: a two-by-two table of each, as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ecg_lightning.runs.curves import MOST_CLASSES, new_figure

Flags = npt.NDArray[np.bool_]

_PANEL, _LEFT, _TOP, _BOTTOM, _GAP = 1.9, 0.9, 0.95, 0.55, 0.3  # inches
_MOST_COLUMNS = 6


def confusion_figure(decisions_NC: Flags, targets_NC: Flags, classes: Sequence[str]) -> Figure:
    """Draw how many records of each class were decided rightly and wrongly.

    A row of a panel holds the records with one label; its shares add up to 100 %. The labels are not exclusive, so a
    table over all classes together does not exist.

    Args:
        decisions_NC: (N, C) predicted classes.
        targets_NC: (N, C) labels.
        classes: names of the C classes; the most frequent ones are drawn.
    """
    decisions, targets = decisions_NC.astype(bool), targets_NC.astype(bool)
    shown = sorted(np.argsort(-targets.sum(axis=0), kind="stable")[:MOST_CLASSES].tolist())
    n_columns = min(len(shown), _MOST_COLUMNS)
    n_rows = math.ceil(len(shown) / n_columns)
    width = _LEFT + n_columns * (_PANEL + _GAP)
    height = _TOP + n_rows * (_PANEL + _TOP - 0.25) - 0.2 + _BOTTOM
    figure = new_figure(width, height)
    for place, column in enumerate(shown):
        row, across = divmod(place, n_columns)
        left = _LEFT + across * (_PANEL + _GAP)
        bottom = height - _TOP - row * (_PANEL + _TOP - 0.25) - _PANEL + 0.1
        axes = figure.add_axes((left / width, bottom / height, _PANEL / width, _PANEL / height))
        _draw_panel(axes, decisions[:, column], targets[:, column])
        axes.set_title(classes[column], fontsize=10, weight="bold")
        axes.set_xticks([0, 1], ["absent", "present"], fontsize=8)
        axes.set_yticks([0, 1], ["absent", "present"] if across == 0 else ["", ""], fontsize=8)
        if across == 0:
            axes.set_ylabel("labelled", fontsize=9)
        axes.set_xlabel("predicted", fontsize=9)
    left_out = f", the {len(shown)} most frequent of {len(classes)} classes" if len(shown) < len(classes) else ""
    figure.text(0.12 / width, 1 - 0.28 / height, f"Decisions by class, N = {len(targets):,}{left_out}", fontsize=11)
    return figure


def _draw_panel(axes: Any, decisions_N: Flags, targets_N: Flags) -> None:
    counts = np.array(
        [[np.sum((targets_N == label) & (decisions_N == said)) for said in (False, True)] for label in (False, True)]
    )
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for label, said in np.ndindex(2, 2):
        share = f"\n{shares[label, said]:.0%}" if totals[label, 0] else ""
        dark = shares[label, said] > 0.55
        text = f"{counts[label, said]:,}{share}"
        axes.text(said, label, text, ha="center", va="center", fontsize=9, color="white" if dark else "#101010")
