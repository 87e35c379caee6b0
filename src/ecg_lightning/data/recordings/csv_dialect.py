"""Dialects of tables: delimiter, decimal sign, and the header row with its lead names and units."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ecg_lightning.data.recordings.csv_preamble import Preamble, read_statements
from ecg_lightning.data.recordings.lead_names import split_units, standard_name
from ecg_lightning.data.recordings.voltage import millivolts
from ecg_lightning.data.wfdb import LEADS, RecordError

MISSING = ("", "-", "--", "?", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>")
# A semicolon may also be a delimiter after an empty first column.
_COMMENT = re.compile(r"\s*(?:(?:#|%|//|!)+|;+(?=[^;]*$|\s))\s*")
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
_WHITE_SPACE_NUMBER = re.compile(r"[+-]?\d*(?:,\d+)?(?:[eE][+-]?\d+)?", re.ASCII)  # commas in such words are decimal
_COLUMN_NUMBER = re.compile(r"\d{1,3}(?:\.0*)?", re.ASCII)  # pandas writes 0.0 if it read floats
_LONGEST_HEADER = 10_000  # characters
_DECIDING_ROWS = 50  # because a row of whole numbers does not show the decimal sign
_BRACKETS = " \t()[]{}"
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Dialect:
    """The format of a table.

    Attributes:
        delimiter: the text between columns; None for white space of any length.
        decimal: the decimal sign, `.` or `,`.
    """

    delimiter: str | None
    decimal: str

    def split(self, line: str) -> list[str]:
        """Return the cells of a line, without quotes and surrounding space."""
        if self.delimiter is None:
            return [unquote(cell) for cell in line.split()]
        cells = next(csv.reader([line.strip("\n")], delimiter=self.delimiter, skipinitialspace=True), [])
        return [unquote(cell) for cell in cells]


@dataclass(frozen=True)
class Table:
    """A table with interpreted first lines.

    Attributes:
        dialect: the table's dialect.
        names: the column names; None without a header row, or if it holds column numbers.
        units: the columns' units as the header writes them, None if absent; as long as `names`.
        preamble: the statements above the first row that hold for the whole table.
        first_row: the index of the first row of numbers among the lines.
        columns: the indices of the columns that may hold leads, if there are no names.
    """

    dialect: Dialect
    names: list[str] | None
    units: list[str | None]
    preamble: Preamble
    first_row: int
    columns: list[int]


def unquote(cell: str) -> str:
    """Return a cell without surrounding space and quotes."""
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'":
        cell = cell[1:-1].strip()
    return cell


def understand(lines: Sequence[str]) -> Table:
    """Return the dialect and the header row, found in the first lines of a table.

    A header row may follow a comment sign, as `numpy.savetxt` writes it. A row of column numbers, which pandas writes
    by default, counts as a header row and not as a sample. A row of units may follow the header row.

    Raises:
        RecordError: the table holds no rows of numbers.
    """
    header: str | None = None
    second: str | None = None
    others: list[str] = []
    for number, line in enumerate(lines):
        comment = _COMMENT.match(line)
        text = line[comment.end() :] if comment else line
        if not text.strip() or line.startswith("sep="):
            continue
        dialect = _dialect(text)
        cells = dialect.split(text)
        if not comment and _is_row_of_numbers(cells) and not _is_row_of_column_numbers(cells):
            dialect = _with_decimal_sign(dialect, lines[number : number + _DECIDING_ROWS])
            return _describe(dialect, header, second, others, lines, number)
        if header is not None and _names_leads(header) and second is None and _gives_units(text, not comment):
            second = text
        elif comment and not _names_leads(text):
            others.append(text)
        else:
            others += [old for old in (header, second) if old is not None]
            header, second = text, None
    raise RecordError(f"it holds no rows of numbers; it starts with {''.join(lines[:1]).strip()[:60]!r}")


def _gives_units(text: str, every_row: bool) -> bool:
    """Return whether a line below the lead names holds units. A comment must name the units of at least two leads."""
    if _names_leads(text):
        return False
    cells = _dialect(text).split(text)
    return every_row or sum(millivolts(cell.strip(_BRACKETS)) is not None for cell in cells) > 1


def _describe(
    dialect: Dialect, header: str | None, second: str | None, others: list[str], lines: Sequence[str], first_row: int
) -> Table:
    n_columns = len(cells := dialect.split(lines[first_row]))
    if not cells[-1]:  # a delimiter ends each row
        n_columns -= 1
    everything = list(range(n_columns))
    names = None if header is None else _split_header(header, dialect, n_columns)
    preamble = read_statements(others if names else [*others, header or ""])
    if names is None:
        return Table(dialect, None, [None] * n_columns, preamble, first_row, everything)
    if _is_row_of_column_numbers(names):
        columns = [column for column in everything if _is_number(names[column])]  # leaves out columns of row numbers
        return Table(dialect, None, [None] * n_columns, preamble, first_row, columns)
    split = [split_units(name) for name in names]
    units = [unit for _, unit in split]
    if second is not None:
        below = _split_header(second, dialect, n_columns)
        if below is None:
            raise RecordError(
                f"the line {second.strip()[:60]!r} below its lead names does not give the units of {n_columns} "
                "columns; remove it"
            )
        units = [unit or cell.strip(_BRACKETS) or None for unit, cell in zip(units, below, strict=True)]
    return Table(dialect, [name for name, _ in split], units, preamble, first_row, everything)


def _dialect(line: str) -> Dialect:
    delimiter = next((delimiter for delimiter in ("\t", ";", "|") if delimiter in line), None)
    words = line.split()
    if delimiter is None and "," in line and not (len(words) > 1 and all(map(_WHITE_SPACE_NUMBER.fullmatch, words))):
        delimiter = ","
    return _with_decimal_sign(Dialect(delimiter, "."), [line])


def _with_decimal_sign(dialect: Dialect, lines: Sequence[str]) -> Dialect:
    comma = any(any(map(_DECIMAL_COMMA.fullmatch, dialect.split(line))) for line in lines)
    return Dialect(dialect.delimiter, "," if comma else ".")


def _split_header(header: str, dialect: Dialect, n_columns: int) -> list[str] | None:
    """Return the names of `n_columns` columns. A header may have another delimiter than the rows below it.

    Raises:
        RecordError: the header names columns, but not as many as the table has.
    """
    for delimiter in (dialect.delimiter, ",", ";", "\t", "|", None):
        names = Dialect(delimiter, ".").split(header)
        if len(names) == n_columns + 1 and not names[-1]:
            names.pop()
        if len(names) == n_columns:
            return names
        if len(names) == n_columns - 1 and _names_leads(header):  # R writes no heading for row names
            return ["", *names]
    if _names_leads(header) or (dialect.delimiter and dialect.delimiter in header):
        raise RecordError(f"its header row {header.strip()[:60]!r} does not name {n_columns} columns, as its rows have")
    return None  # the line is a title


def _names_leads(header: str) -> bool:
    """Return whether at least two cells of a line are lead names."""
    if len(header) > _LONGEST_HEADER:
        return False
    return any(
        sum(standard_name(split_units(cell)[0]) is not None for cell in Dialect(delimiter, ".").split(header)) > 1
        for delimiter in (",", ";", "\t", "|", None)
    )


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _is_row_of_numbers(cells: Sequence[str]) -> bool:
    """Return whether the cells can be a row of a table.

    More than half of them must be numbers or missing. The others may be dates or words.
    """
    numbers = sum(map(_is_number, cells))
    missing = sum(cell.lower() in MISSING for cell in cells)
    return numbers + missing > len(cells) / 2 and (numbers > 0 or missing == len(cells))


def _is_row_of_column_numbers(cells: Sequence[str]) -> bool:
    """Return whether the cells are 0, 1, 2, … or 1, 2, 3, …, after any other headings."""
    numbers = list(itertools.dropwhile(lambda cell: not _is_number(cell), cells))
    if len(numbers) < len(LEADS):
        return False
    if not all(map(_COLUMN_NUMBER.fullmatch, numbers)):
        return False
    return any([int(float(n)) for n in numbers] == list(range(first, first + len(numbers))) for first in (0, 1))
