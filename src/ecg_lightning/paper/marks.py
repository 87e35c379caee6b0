"""The marks on a page beside the traces: calibration pulses, separators and the places of the lead names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ecg_lightning.paper.page import NAME_MM, PULSE_MV, PULSE_S, PULSE_STUB_S, Page

GRID_MM = 25.4 / 72 / 2
"""Width of the grid's lines: 0.5 pt, as in ECG-Image-Kit."""
SEPARATOR_MM = 5.0
"""Height of the tick between two leads of a row."""
NAME_ABOVE_MM = 11.0
"""Distance of a name's lower edge from the baseline; less where the rows are close."""
NAME_GAP_MM = 1.0
"""Distance of a name from the beginning of its panel, and from the row above."""

Polyline = tuple[tuple[float, float], ...]
"""Corners (x, y) in millimetres from the page's upper left corner. Each stroke is horizontal or vertical."""


class Name(NamedTuple):
    """A lead's name on the page.

    Attributes:
        text: the name as it is printed.
        left_mm: the left edge of the first letter.
        bottom_mm: the lower edge of the capitals, from the top of the page.
    """

    text: str
    left_mm: float
    bottom_mm: float


def pulses(page: Page) -> Iterator[Polyline]:
    """Yield the calibration pulse of each row; none if the page has no pulses."""
    if not page.settings.calibration:
        return
    stub, width = (seconds * page.settings.mm_per_s for seconds in (PULSE_STUB_S, PULSE_S))
    rise, fall, end = page.left_mm + stub, page.left_mm + stub + width, page.left_mm + page.pulse_mm
    for row in range(page.n_rows):
        low = page.baseline_mm(row)
        high = low - PULSE_MV * page.settings.mm_per_mv
        yield ((page.left_mm, low), (rise, low), (rise, high), (fall, high), (fall, low), (end, low))


def separators(page: Page) -> Iterator[Polyline]:
    """Yield the tick before each lead that follows another one in its row; none if the page has no separators."""
    for panel in page.panels if page.settings.separators else ():
        if panel.column_s:
            x, middle = page.x_mm(panel), page.baseline_mm(panel.row)
            yield ((x, middle - SEPARATOR_MM / 2), (x, middle + SEPARATOR_MM / 2))


def names(page: Page) -> Iterator[Name]:
    """Yield the lead names, above the beginnings of their traces; none if the page has no names."""
    above = min(NAME_ABOVE_MM, page.row_mm / 2 - NAME_MM - NAME_GAP_MM)
    for panel in page.panels if page.settings.lead_names else ():
        yield Name(panel.name, page.x_mm(panel) + NAME_GAP_MM, page.baseline_mm(panel.row) - above)
