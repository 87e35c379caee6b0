"""Geometry of a paper ECG in millimetres, from the page's upper left corner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.paper.layout import Panel, panels
from ecg_lightning.paper.schema import PageConfig

MINOR_MM, MAJOR_MM = 1.0, 5.0
"""Distances of the grid's lines (AHA/ACC/HRS 2007, part I)."""
LETTER_MM = (279.4, 215.9)
"""Width and height of US letter paper in landscape, the page of ECG-Image-Kit."""
MARGIN_MM = 9.5
HIGHEST_ROW_MM = 40.0
"""The largest distance of two rows; layouts with many rows have less."""
PULSE_MV, PULSE_S, PULSE_STUB_S = 1.0, 0.2, 0.1
"""The calibration pulse, with a stub of baseline on either side."""
LINE_MM = 0.26
"""Width of the trace: 0.75 pt, as in ECG-Image-Kit."""
NAME_MM = 3.0
"""Height of the lead names' capitals."""


@dataclass(frozen=True)
class Page:
    """The places of everything that is drawn on a page.

    The paper is as large as a letter, or larger if the rows need more. `view=crop` leaves the margins out.

    Attributes:
        settings: settings of the page.
        duration_s: duration of the record, in seconds.
    """

    settings: PageConfig
    duration_s: float = DURATION_S

    @cached_property
    def panels(self) -> tuple[Panel, ...]:
        """The panels, row by row."""
        return panels(self.settings.layout, self.settings.order, self.settings.columns, self.duration_s)

    @property
    def n_rows(self) -> int:
        """The number of rows, with the rhythm strip."""
        return 1 + max(panel.row for panel in self.panels)

    @property
    def pulse_mm(self) -> float:
        """The width of the calibration pulse with its stubs; 0 without a pulse."""
        return (PULSE_S + 2 * PULSE_STUB_S) * self.settings.mm_per_s if self.settings.calibration else 0.0

    @property
    def rows_width_mm(self) -> float:
        """The width of pulse and traces."""
        return self.pulse_mm + self.duration_s * self.settings.mm_per_s

    @property
    def row_mm(self) -> float:
        """The distance of two rows."""
        return min(HIGHEST_ROW_MM, (LETTER_MM[1] - 2 * MARGIN_MM) / self.n_rows)

    @property
    def width_mm(self) -> float:
        """The width of the picture."""
        if self.settings.view == "crop":
            return self.rows_width_mm
        return max(LETTER_MM[0], self.rows_width_mm + 2 * MARGIN_MM)

    @property
    def height_mm(self) -> float:
        """The height of the picture."""
        return self.n_rows * self.row_mm if self.settings.view == "crop" else LETTER_MM[1]

    @property
    def left_mm(self) -> float:
        """The left end of the rows, where the pulse begins."""
        return (self.width_mm - self.rows_width_mm) / 2

    def baseline_mm(self, row: int) -> float:
        """Return the height of 0 mV of a row, from the top."""
        top = (self.height_mm - self.n_rows * self.row_mm) / 2
        return top + (row + 0.5) * self.row_mm

    def x_mm(self, panel: Panel) -> float:
        """Return the place of a panel's first sample, from the left."""
        return self.left_mm + self.pulse_mm + panel.column_s * self.settings.mm_per_s
