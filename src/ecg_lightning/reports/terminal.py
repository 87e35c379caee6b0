"""Sections on a terminal of any width: no heading or number is broken, and no interval is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich import table as rich_table
from rich.console import Console

from ecg_lightning.reports.section import Column, Section, Table, Written, write_cell

_LEAST_TEXT = 12
"""Fewest characters of a wrapped column of text."""


def print_sections(sections: Sequence[Section], console: Console) -> None:
    """Print the sections, with an empty line between two of them."""
    for number, section in enumerate(sections):
        if number:
            console.print()
        print_section(section, console)


def print_section(section: Section, console: Console) -> None:
    """Print a title, a table, notes and a legend."""
    if section.title:
        console.print(section.title, style="italic", highlight=False, markup=False, soft_wrap=True)
    if section.table is not None:
        for part in _fitted(section.table, console.width):
            console.print(part)
    for note in section.notes:
        console.print(note, highlight=False, markup=False)
    if section.legend:
        console.print(section.legend, style="dim", highlight=False, markup=False)


def _fitted(table: Table, room: int) -> Iterator[rich_table.Table]:
    """Yield the table in one part that fits, or in parts that repeat its first column.

    Intervals move below their numbers before an optional column is dropped. Optional columns are dropped before the
    table is cut.
    """
    whole = [
        _Laid(column, [write_cell(row[place], column.form) for row in table.rows])
        for place, column in enumerate(table.columns)
    ]
    ranks = sorted({column.optional for column in table.columns}, reverse=True)
    for most in ranks:
        kept = [one for one in whole if one.column.optional <= most]
        for below in (False, True):
            for wrapped in (False, True):
                if _total(kept, below, wrapped) <= room:
                    yield _drawn(kept, table, room, below, wrapped)
                    return
    first, *others = [one for one in whole if one.column.optional == 0]
    part = [first]
    for one in others:
        if len(part) > 1 and _total([*part, one], below=True, wrapped=True) > room:
            yield _drawn(part, table, room, below=True, wrapped=True)
            part = [first]
        part.append(one)
    yield _drawn(part, table, room, below=True, wrapped=True)


class _Laid:
    """A column with its cells' texts and its width."""

    def __init__(self, column: Column, cells: Sequence[Written]) -> None:
        self.column = column
        self.cells = cells

    def text(self, row: int, below: bool) -> str:
        written = self.cells[row]
        return "\n".join(part for part in written if part) if below else written.line

    def width(self, below: bool, wrapped: bool) -> int:
        lines = [line for row in range(len(self.cells)) for line in self.text(row, below).split("\n")]
        longest = max((len(line) for line in lines), default=0)
        if not wrapped:
            return max(longest, len(self.column.heading))
        heading = max(len(word) for word in self.column.heading.split() or [""])
        if self.column.form:
            return max(longest, heading)
        words = max((len(word) for line in lines for word in line.split()), default=0)
        return max(heading, min(longest, max(_LEAST_TEXT, min(words, 2 * _LEAST_TEXT))))


def _total(columns: Sequence[_Laid], below: bool, wrapped: bool) -> int:
    """Return the characters of a line.

    Each column has a space on both sides and a rule before it, and the line ends with a rule.
    """
    return sum(one.width(below, wrapped) + 3 for one in columns) + 1


def _drawn(columns: Sequence[_Laid], table: Table, room: int, below: bool, wrapped: bool) -> rich_table.Table:
    drawn = rich_table.Table()
    left = max(0, room - _total(columns, below, wrapped))
    for one in columns:
        width, is_text = one.width(below, wrapped), not one.column.form
        more = (
            min(left, one.width(below, wrapped=False) - width) if is_text else 0
        )  # columns of text share what is left
        left -= more
        justify: Literal["left", "right"] = "left" if is_text else "right"
        drawn.add_column(one.column.heading, justify=justify, overflow="fold", width=width + more)
    for row in range(len(table.rows)):
        if row in table.rules:
            drawn.add_section()
        drawn.add_row(*(one.text(row, below) for one in columns))
    return drawn
