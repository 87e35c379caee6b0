"""A reader of tables with a row for each sample and a column for each lead."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from ecg_lightning.data.recordings.csv_cells import first_word, parse_numbers, read_columns
from ecg_lightning.data.recordings.csv_dialect import Dialect, Table, understand
from ecg_lightning.data.recordings.input_file import open_regular
from ecg_lightning.data.recordings.lead_names import LEAD_SETS, complete, find_leads, say, spell
from ecg_lightning.data.recordings.time_column import check_time, read_rate
from ecg_lightning.data.recordings.voltage import as_written, ask_units, millivolts
from ecg_lightning.data.recordings.window import Floats, Reading, Window
from ecg_lightning.data.wfdb import LEADS, RecordError

SUFFIXES = (".csv", ".tsv", ".txt")
_MAX_BYTES = 50_000_000
_MAX_LINE = 65_536  # characters
_CHUNK = 1 << 20
_PREAMBLE = 200  # the most lines before the first sample
_ROWS_OF_TIME = 1000  # used to find the sampling rate
_RATE_TOLERANCE = 0.02
_MINUS = "\N{MINUS SIGN}"
_BELOW_THOUSAND = re.compile(r"[+-]?\d{1,3}", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:[.,]\d{3})+", re.ASCII)


def read_csv(
    path: Path, rate: float | None, units: str | None, window: Window, notes: list[str]
) -> tuple[Reading, bool]:
    """Return the part of a table that a model uses, and whether its leads are named.

    Args:
        path: the path of the table.
        rate: the table's sampling rate in Hz; None uses the rate of a line above the rows or of a time column.
        units: the units of the values; by default the units that the table states, or mV.
        window: the part that the model uses.
        notes: a list to which notes on conversions and assumptions are added.

    Raises:
        RecordError: the table does not hold twelve leads, contradicts `rate` or `units`, or does not state its rate.
        OSError: the file cannot be read.
    """
    first = _ROWS_OF_TIME if rate is None else window.samples_at(rate)
    file, size = open_regular(path)
    with file:
        if size > _MAX_BYTES:
            raise RecordError(
                f"it holds {size:,} bytes, and a table may hold {_MAX_BYTES:,}; cut out the part to predict"
            )
        text = io.TextIOWrapper(file, encoding=_encoding(file.read(_MAX_LINE)), errors="replace")
        text.seek(0)
        lines = _read_lines(text, first + _PREAMBLE)
        table = understand(lines[:_PREAMBLE])
        if rate is None:
            rate = _stated_rate(table, _rows(lines[table.first_row :], first, table.first_row)[:first], notes)
        wanted = window.samples_at(rate)
        lines += _read_lines(text, wanted - first)
        rows = _rows(lines[table.first_row :], wanted, table.first_row)
        n_total = len(rows) + _count_rows(text)
    _check_rate(table, rate)
    if table.preamble.scale:
        notes.append(f"the line {table.preamble.scale[:60]!r} above its rows was not applied: check its values' units")
    cells = read_columns(rows[:wanted], table.dialect, table.first_row)
    if table.names is None:
        columns = _unnamed_columns(table)
        _refuse_thousands(rows[:wanted], table.dialect, columns)
        values_TC = _numbers(cells, table, columns)
        if first := table.columns[0]:
            notes.append("left out: column 1" if first == 1 else f"left out: columns 1 to {first}")
        return Reading(values_TC.T * _factor(table.preamble.units, units, notes), rate, n_total), False
    places = find_leads(table.names, notes)
    factors = _factors(table, places, units, notes)
    _refuse_thousands(rows[:wanted], table.dialect, list(places.values()))
    values_TC = _numbers(cells, table, list(places.values()))
    check_time(cells, table, rate)
    found = {lead: values_TC[:, number] * factors[lead] for number, lead in enumerate(places)}
    return Reading(np.stack(list(complete(found).values())), rate, n_total), True


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        raise RecordError("it is no text in UTF-8, Latin-1, or UTF-16 with a byte order mark")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def _read_lines(text: TextIO, limit: int) -> list[str]:
    lines: list[str] = []
    while len(lines) < limit and (line := text.readline(_MAX_LINE)):
        if len(line) == _MAX_LINE:
            raise RecordError(f"line {len(lines) + 1} is longer than {_MAX_LINE:,} characters: rows are samples")
        lines.append(line.replace(_MINUS, "-"))
    return lines


def _count_rows(text: TextIO) -> int:
    """Return the number of remaining lines, up to the last one that is not blank."""
    count = passed = 0
    while chunk := text.read(_CHUNK):
        if visible := chunk.rstrip():
            count = passed + visible.count("\n") + 1
        passed += chunk.count("\n")
    return count


def _unnamed_columns(table: Table) -> list[int]:
    if len(table.columns) != len(LEADS):
        raise RecordError(
            f"it has {len(table.columns)} columns and no row of lead names. Rows are samples and columns are leads, "
            f"which the first row must name: {LEAD_SETS}"
        )
    return table.columns


def _factors(table: Table, places: dict[str, int], asked: str | None, notes: list[str]) -> dict[str, float]:
    """Return for each lead the mV that correspond to one unit of its column."""
    written = {lead: table.units[place] for lead, place in places.items()}
    given = {as_written(unit) for unit in written.values() if unit}
    if not given:
        return dict.fromkeys(places, _factor(table.preamble.units, asked, notes))
    if without := [lead for lead, unit in written.items() if not unit]:
        raise RecordError(f"its header row gives units for some leads, but none for {spell(without)}")
    factors = {}
    for lead, unit in written.items():
        factor = millivolts(unit or "")
        if factor is None:
            raise RecordError(
                f"{say([lead])}: its units are {str(unit)[:20]!r}, which are not of voltage; convert it to mV"
            )
        factors[lead] = factor
    stated = table.preamble.units
    if stated and {millivolts(stated)} != set(factors.values()):
        raise RecordError(f"its header row gives {', '.join(sorted(given))}, and a line above it {stated[:20]}")
    if asked and {millivolts(asked)} != set(factors.values()):
        raise RecordError(
            f"its header row gives {', '.join(sorted(given))}, and --units says {asked}. Leave --units out, or correct "
            "the header row"
        )
    if others := sorted(unit for unit in given if millivolts(unit) != 1.0):
        notes.append(f"converted from {', '.join(others)} to mV, as its header row says")
    return factors


def _factor(stated: str | None, asked: str | None, notes: list[str]) -> float:
    """Return the mV that correspond to one unit of a table whose columns have no units."""
    if stated is None:
        return ask_units(asked, notes)
    factor = millivolts(stated) or 1.0
    if asked and millivolts(asked) != factor:
        raise RecordError(
            f"a line above its rows says {as_written(stated)}, and --units says {asked}. Leave --units out, or correct "
            "that line"
        )
    if factor != 1.0:
        notes.append(f"converted from {as_written(stated)} to mV, as a line above its rows says")
    return factor


def _stated_rate(table: Table, rows: Sequence[str], notes: list[str]) -> float:
    """Return the sampling rate in Hz that a table itself states."""
    if table.preamble.rate is not None:
        notes.append(f"sampling rate: {table.preamble.rate:g} Hz, as a line above its rows says")
        return table.preamble.rate
    return read_rate(read_columns(rows, table.dialect, table.first_row), table, notes)


def _check_rate(table: Table, rate: float) -> None:
    stated = table.preamble.rate
    if stated is not None and abs(stated / rate - 1) > _RATE_TOLERANCE:
        raise RecordError(
            f"a line above its rows says a sampling rate of {stated:g} Hz, and --rate says {rate:g}. Leave --rate out, "
            "or correct that line"
        )


def _rows(lines: Sequence[str], wanted: int, above: int) -> list[str]:
    """Return the rows of a table. A blank line between them is refused, because samples may be missing there."""
    rows = list(lines)
    while rows and not rows[-1].strip():
        rows.pop()
    for number, row in enumerate(rows[:wanted], start=above + 1):
        if not row.strip():
            raise RecordError(
                f"line {number} is blank, between rows of samples; remove it, or write the sample that is missing there"
            )
    return rows


def _refuse_thousands(rows: Sequence[str], dialect: Dialect, columns: Sequence[int]) -> None:
    """Refuse whole numbers with thousands separators that look like decimals, such as `2.345` beside `595`."""
    example, has_small = "", False
    for row in rows:
        cells = dialect.split(row)
        for cell in (cells[column] for column in columns if column < len(cells)):
            if _THOUSANDS.fullmatch(cell) and dialect.decimal in cell:
                example = cell
            elif _BELOW_THOUSAND.fullmatch(cell):
                has_small = True
            else:
                return
    if example and has_small:
        raise RecordError(
            f"{dialect.decimal!r} may stand between thousands in it, as {example!r} beside whole numbers below 1000; "
            "write whole numbers without it, and decimals with a fixed number of digits"
        )


def _numbers(cells: Sequence[Sequence[str]], table: Table, columns: Sequence[int]) -> Floats:
    """Return the (T, columns) numbers, with NaN for missing values."""
    found = []
    for column in columns:
        values_T = parse_numbers(cells[column], table.dialect.decimal)
        if values_T is None:
            row, cell = first_word(cells[column], table.dialect.decimal)
            name = table.names[column] if table.names else f"{column + 1}"
            raise RecordError(f"it is no table of numbers: column {name[:30]} holds {cell[:30]!r} in sample {row + 1}")
        found.append(values_T)
    return np.stack(found, axis=1)
