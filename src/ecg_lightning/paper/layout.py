"""Layouts: the row, the column and the part of the record in which a page shows each lead."""

from __future__ import annotations

from dataclasses import dataclass

from ecg_lightning.data.leads import LEADS

ORDERS: dict[str, tuple[str, ...]] = {
    "standard": LEADS,
    "cabrera": ("AVL", "I", "-AVR", "II", "AVF", "III", *LEADS[6:]),
}
"""Orders of the twelve leads: the limb leads by their history, or by the angles of their axes (Cabrera)."""

LAYOUTS: dict[str, tuple[int, int, bool]] = {
    "3x4_rhythm": (3, 4, True),
    "3x4": (3, 4, False),
    "6x2": (6, 2, False),
    "12x1": (12, 1, False),
}
"""Rows, columns, and whether lead II is repeated below them over the whole record."""

RHYTHM_LEAD = "II"


@dataclass(frozen=True)
class Panel:
    """A lead's place on the page.

    Attributes:
        lead: place of the lead in `LEADS`.
        sign: 1, or -1 if the lead is drawn upside down (−aVR of Cabrera's order).
        row: number of the row, from the top.
        column_s: seconds from the beginning of the row to the beginning of the panel.
        start_s: second of the record at which the panel begins.
        duration_s: seconds that the panel shows.
    """

    lead: int
    sign: int
    row: int
    column_s: float
    start_s: float
    duration_s: float

    @property
    def name(self) -> str:
        """The lead's name as it is printed, such as `aVR`."""
        return ("−" if self.sign < 0 else "") + LEADS[self.lead].replace("AV", "aV")


def panels(layout: str, order: str, columns: str, duration_s: float) -> tuple[Panel, ...]:
    """Return the panels of a page, row by row. The leads run down the columns.

    Args:
        layout: name from `LAYOUTS`.
        order: name from `ORDERS`.
        columns: `consecutive` or `simultaneous`; see `PageConfig`.
        duration_s: duration of the record, in seconds.
    """
    n_rows, n_columns, with_rhythm = LAYOUTS[layout]
    width_s = duration_s / n_columns
    found = []
    for place, name in enumerate(ORDERS[order]):
        column, row = divmod(place, n_rows)
        lead, sign = LEADS.index(name.removeprefix("-")), -1 if name.startswith("-") else 1
        start_s = column * width_s if columns == "consecutive" else 0.0
        found.append(Panel(lead, sign, row, column * width_s, start_s, width_s))
    if with_rhythm:
        found.append(Panel(LEADS.index(RHYTHM_LEAD), 1, n_rows, 0.0, 0.0, duration_s))
    return tuple(sorted(found, key=lambda panel: (panel.row, panel.column_s)))
