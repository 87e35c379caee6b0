"""Sections as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ecg_lightning.reports.section import Section, Table, write_cell


def to_markdown(sections: Sequence[Section], level: int = 2) -> str:
    """Return the sections as Markdown with headings of a level, in lines of at most 100 characters."""
    return "\n\n".join(_section(section, level) for section in sections) + "\n"


def paragraph(text: str) -> str:
    """Return a paragraph in lines of at most 100 characters."""
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def _section(section: Section, level: int) -> str:
    parts = [f"{'#' * level} {section.title}"] if section.title else []
    if section.table is not None:
        parts.append(_table(section.table))
    parts += [paragraph(text) for text in (*section.notes, section.legend) if text]
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    headings = [_cell(column.heading) for column in table.columns]
    rows = [
        [_cell(write_cell(cell, column.form).line) for column, cell in zip(table.columns, row, strict=True)]
        for row in table.rows
    ]
    widths = [max(3, *(len(row[place]) for row in (headings, *rows))) for place in range(len(headings))]
    rules = [
        "-" * (width - 1) + ":" if column.form else "-" * width
        for column, width in zip(table.columns, widths, strict=True)
    ]
    return "\n".join(_line(row, table, widths) for row in (headings, rules, *rows))


def _line(cells: Sequence[str], table: Table, widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if column.form else cell.ljust(width)
        for cell, column, width in zip(cells, table.columns, widths, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", "; ")
