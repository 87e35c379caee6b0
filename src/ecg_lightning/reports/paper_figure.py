"""A record on a page of ECG paper, true to scale, to print and to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecg_lightning.paper.colours import GRIDS, INK, PAPER
from ecg_lightning.paper.layout import Panel
from ecg_lightning.paper.marks import GRID_MM, names, pulses, separators
from ecg_lightning.paper.page import LINE_MM, MAJOR_MM, MINOR_MM, NAME_MM, Page
from ecg_lightning.reports.canvas import new_figure

_MM_PER_INCH = 25.4
_POINTS_PER_MM = 72 / _MM_PER_INCH
_CAPITAL = 0.729
"""Height of DejaVu Sans' capitals, as a share of the font size."""
_EDGE_MM = 3.0


def paper_figure(
    millivolts_CT: npt.NDArray[np.floating], sampling_rate: float, page: Page, title: str = "", dpi: float = 200.0
) -> Figure:
    """Return a figure of a record, as large as the page.

    Args:
        millivolts_CT: (12, T) signals in mV, leads as in `LEADS`; T samples last as long as the page's record.
        sampling_rate: Hz.
        page: the page.
        title: the record's name, for a lower corner.
        dpi: dots per inch of a .png file.
    """
    figure = new_figure(page.width_mm / _MM_PER_INCH, page.height_mm / _MM_PER_INCH)
    figure.set_dpi(dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, page.width_mm), ylim=(page.height_mm, 0))  # as the page counts, from the upper left corner
    axes.set_axis_off()
    figure.set_facecolor(PAPER)
    _draw_grid(axes, page)
    for corners in (*pulses(page), *separators(page)):
        axes.plot(*zip(*corners, strict=True), **_pen("miter"))
    for name in names(page):
        size = NAME_MM * _POINTS_PER_MM / _CAPITAL
        axes.text(name.left_mm, name.bottom_mm, name.text, fontsize=size, color=INK, va="baseline")
    for panel in page.panels:
        axes.plot(*trace(millivolts_CT, sampling_rate, page, panel), **_pen("round"))
    scale = f"{page.settings.mm_per_s} mm/s   {page.settings.mm_per_mv} mm/mV"
    for x, align, text in ((_EDGE_MM, "left", scale), (page.width_mm - _EDGE_MM, "right", title)):
        box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
        low = page.height_mm - _EDGE_MM
        axes.text(x, low, text, fontsize=8, color=INK, ha=align, va="baseline", bbox=box, parse_math=False)
    return figure


def trace(
    millivolts_CT: npt.NDArray[np.floating], sampling_rate: float, page: Page, panel: Panel
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the corners of a panel's trace, x and y in millimetres from the page's upper left corner.

    A trace ends where the next lead begins, between two samples if need be; the last one ends with the last sample.
    """
    signal_T = millivolts_CT[panel.lead].astype(np.float64)
    times_T = np.arange(len(signal_T)) / sampling_rate
    end_s = min(panel.start_s + panel.duration_s, times_T[-1])
    inside = times_T[(times_T > panel.start_s) & (times_T < end_s)]
    shown = np.array([panel.start_s, *inside, end_s])
    x_mm = page.x_mm(panel) + (shown - panel.start_s) * page.settings.mm_per_s
    heights = panel.sign * np.interp(shown, times_T, signal_T) * page.settings.mm_per_mv
    return x_mm, page.baseline_mm(panel.row) - heights


def _draw_grid(axes: Axes, page: Page) -> None:
    grid = GRIDS[page.settings.grid]
    for every, colour in ((MINOR_MM, grid.minor), (MAJOR_MM, grid.major)) if grid else ():
        style: dict[str, Any] = {"color": colour, "linewidth": GRID_MM * _POINTS_PER_MM, "zorder": 0, "snap": False}
        across, down = (np.arange(0, side + every, every) for side in (page.width_mm, page.height_mm))
        axes.vlines(across, 0, page.height_mm, **style)
        axes.hlines(down, 0, page.width_mm, **style)


def _pen(join: str) -> dict[str, Any]:
    return {
        "snap": False,  # whole pixels would move lines
        "color": INK,
        "linewidth": LINE_MM * _POINTS_PER_MM,
        "solid_joinstyle": join,
        "solid_capstyle": "projecting" if join == "miter" else "round",
    }
