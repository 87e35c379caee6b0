"""Empty figures and their colours. They need no window and no pyplot, which would keep them open."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 25.4 * 4
"""Dots per inch: whole pixels per millimetre keep an ECG paper's lines sharp and evenly spaced."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The colours of Okabe and Ito, which colour-blind readers can distinguish."""


def new_figure(width_inches: float, height_inches: float, **settings: Any) -> Figure:
    """Return a white figure."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=DPI, facecolor="white", **settings)
    FigureCanvasAgg(figure)
    return figure
