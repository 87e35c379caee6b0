"""A section of a report as plain data: a title, a table, notes, a legend and a figure. Renderers print it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ecg_lightning.evaluation.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING = "–"


class Spread(NamedTuple):
    """A mean over seeds with its standard deviation, which is None for a single seed."""

    mean: float
    sd: float | None


Cell = str | float | Interval | Spread | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: text above the column.
        name: name of the column in a CSV file.
        form: format of its numbers, such as `.3f` or `+.1%`. It is empty for a column of text, which is aligned to the
            left and may be wrapped.
        optional: 0 if the column is always printed. A narrow terminal drops the columns with the largest number first.
    """

    heading: str
    name: str
    form: str = ""
    optional: int = 0


@dataclass(frozen=True)
class Table:
    """Rows of cells, with one cell for each column.

    Attributes:
        columns: columns of the table; the first ones distinguish the rows.
        rows: cells of each row.
        rules: numbers of the rows that have a line above.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    rules: Sequence[int] = ()


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: name of its files, without a suffix.
        title: sentence or name above the table or figure.
        table: its figures in numbers.
        notes: remarks that a reader of the numbers must know, one paragraph each.
        legend: how to read the table.
        figure: a drawing.
    """

    name: str
    title: str
    table: Table | None = None
    notes: Sequence[str] = ()
    legend: str = ""
    figure: Figure | None = None


class Written(NamedTuple):
    """The text of a cell: its value, and its interval or standard deviation, which may be empty."""

    value: str
    range: str = ""

    @property
    def line(self) -> str:
        """The value and its interval in one line."""
        return f"{self.value} {self.range}".rstrip()


def write_cell(cell: Cell, form: str) -> Written:
    """Return the text of a cell. A number that does not exist is a dash."""
    if isinstance(cell, Interval):
        if cell.value != cell.value:
            return Written(MISSING)
        return Written(f"{cell.value:{form}}", f"[{_number(cell.low, form)}, {_number(cell.high, form)}]")
    if isinstance(cell, Spread):
        return Written(_number(cell.mean, form) + ("" if cell.sd is None else f" ± {cell.sd:{form.lstrip('+')}}"))
    if cell is None or cell != cell:
        return Written(MISSING)
    return Written(cell if isinstance(cell, str) else _number(cell, form))


def tables_of(sections: Iterable[Section]) -> list[Table]:
    """Return the tables of the sections that have one."""
    return [section.table for section in sections if section.table is not None]


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if value == value else MISSING
