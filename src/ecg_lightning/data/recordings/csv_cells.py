"""The cells of a table's rows, and the numbers in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

import numpy as np

from ecg_lightning.data.recordings.csv_dialect import MISSING, Dialect
from ecg_lightning.data.recordings.window import Floats
from ecg_lightning.data.wfdb import RecordError

_MAX_COLUMNS = 256
_LONG_CELL = 64  # characters
_LONG_LINE = 1000  # characters of other columns, such as comments
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
_OF_NUMBERS = frozenset("0123456789+-eE \t")


def read_columns(rows: Sequence[str], dialect: Dialect, above: int) -> list[tuple[str, ...]]:
    """Return the cells of a table by column. A row that is too short ends with empty cells.

    Args:
        rows: the lines of text, at least one.
        dialect: the dialect of the rows.
        above: the number of lines above the rows in the file.

    Raises:
        RecordError: the rows do not form a table.
    """
    n_columns = len(dialect.split(rows[0]))
    if n_columns > _MAX_COLUMNS:
        raise RecordError(f"it has {n_columns} columns: rows are samples and columns are leads; transpose it")
    longest = max(range(len(rows)), key=lambda place: len(rows[place]))
    if len(rows[longest]) > _LONG_LINE + _LONG_CELL * n_columns:
        raise RecordError(
            f"line {above + longest + 1} holds {len(rows[longest]):,} characters in {n_columns} columns, too many for "
            "numbers"
        )
    table = []
    try:
        for number, cells in enumerate(_split(rows, dialect), start=above + 1):
            if len(cells) > n_columns:
                raise RecordError(f"line {number} holds {len(cells)} cells, and the rows above it {n_columns}")
            table.append(cells + [""] * (n_columns - len(cells)))
    except csv.Error as error:
        raise RecordError(f"it is no table of numbers ({error})") from None
    return list(zip(*table, strict=True))


def _split(rows: Sequence[str], dialect: Dialect) -> Iterator[list[str]]:
    if dialect.delimiter is None:
        yield from (dialect.split(row) for row in rows)
        return
    reader = csv.reader(rows, delimiter=dialect.delimiter, skipinitialspace=True)
    for number, cells in enumerate(reader, start=1):
        if reader.line_num != number:
            raise RecordError("a quotation mark in it is not closed in the same row")
        yield cells
    if rows[-1].count('"') % 2:  # the end of the file closes it
        raise RecordError("a quotation mark in it is not closed in the same row")


def parse_numbers(cells: Sequence[str], decimal: str) -> Floats | None:
    """Return the (T,) numbers of a column, NaN for missing values, or None if a cell holds something else.

    Args:
        cells: the T texts of the column.
        decimal: the decimal sign, `.` or `,`.
    """
    try:
        if set("".join(cells)) <= _OF_NUMBERS | {decimal}:  # Python's float also accepts underscores and other digits
            return np.array([float(cell.replace(decimal, ".")) for cell in cells])
    except ValueError:  # an empty cell, or a sign alone
        pass
    values = [_parse_number(cell.strip(), decimal) for cell in cells]
    return None if None in values else np.array(values, dtype=np.float64)


def _parse_number(cell: str, decimal: str) -> float | None:
    if cell.lower() in MISSING:
        return np.nan
    if _INFINITE.fullmatch(cell):
        return float(cell)
    try:
        return float(cell.replace(decimal, ".")) if set(cell) <= _OF_NUMBERS | {decimal} else None
    except ValueError:
        return None


def first_word(cells: Sequence[str], decimal: str) -> tuple[int, str]:
    """Return the index and the text of the first cell that holds no number."""
    return next((place, cell) for place, cell in enumerate(cells) if _parse_number(cell.strip(), decimal) is None)
