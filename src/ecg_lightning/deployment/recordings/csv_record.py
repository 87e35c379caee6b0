"""Reading of tables with a row for each sample and a column for each lead."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from ecg_lightning.data.wfdb import LEADS, RecordError
from ecg_lightning.deployment.recordings.csv_dialect import MISSING, Table, understand
from ecg_lightning.deployment.recordings.input_file import open_regular
from ecg_lightning.deployment.recordings.lead_names import LEAD_SETS, complete, find_leads
from ecg_lightning.deployment.recordings.voltage import as_written, millivolts
from ecg_lightning.deployment.recordings.window import Floats, Reading, Window

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".txt")
_MAX_BYTES = 50_000_000
_MAX_LINE = 65_536  # characters
_MAX_COLUMNS = 256
_CHUNK = 1 << 20
_PREAMBLE = 200  # lines before the first sample, at most
_TIME = re.compile(r"(?:t|time|times|timestamp|elapsed.*|s|secs?|seconds?|ms|msecs?|milliseconds?)\b.*", re.IGNORECASE)
_PER_SECOND = (1.0, 1e3, 1e6)  # a column of time may be in s, ms or µs


def read_csv(path: Path, rate: float, units: str | None, window: Window, notes: list[str]) -> tuple[Reading, bool]:
    """Read the part of a table that a model uses, and whether its leads are named.

    Args:
        path: the table.
        rate: its sampling rate, Hz.
        units: of its values; by default those of the header row, or mV.
        window: what the model uses.
        notes: sentences on what was converted or assumed are added here.

    Raises:
        RecordError: it is no table of twelve leads, or contradicts `rate` or `units`.
        OSError: it cannot be read.
    """
    wanted = window.samples_at(rate)
    file, size = open_regular(path)
    with file:
        if size > _MAX_BYTES:
            raise RecordError(
                f"it holds {size:,} bytes, and a table may hold {_MAX_BYTES:,}; cut out the part to predict"
            )
        text = io.TextIOWrapper(file, encoding=_encoding(file.read(_MAX_LINE)), errors="replace")
        text.seek(0)
        lines = _read_lines(text, wanted + _PREAMBLE)
        table = understand(lines[:_PREAMBLE])
        rows = [line for line in lines[table.first_row :] if line.strip()]
        n_total = len(rows) + _count_rows(text)
    frame = _parse(rows[:wanted], table)
    if table.names is None:
        values_TC = _numbers(frame, table, _unnamed_columns(table))
        if first := table.columns[0]:
            notes.append("left out: column 1" if first == 1 else f"left out: columns 1 to {first}")
        return Reading(values_TC.T * (millivolts(units or "mV") or 1.0), rate, n_total), False
    places = find_leads(table.names, notes)
    factors = _factors(table, places, units, notes)
    values_TC = _numbers(frame, table, list(places.values()))
    _check_time(frame, table.names, rate)
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
        lines.append(line)
    return lines


def _count_rows(text: TextIO) -> int:
    """How many more lines there are, up to the last one that is not blank."""
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
    """How many mV one unit of each lead's column is."""
    written = {lead: table.units[place] for lead, place in places.items()}
    given = {as_written(unit) for unit in written.values() if unit}
    if not given:
        return dict.fromkeys(places, millivolts(asked or "mV") or 1.0)
    if without := [lead for lead, unit in written.items() if not unit]:
        raise RecordError(f"its header row gives units for some leads, but none for {', '.join(without)}")
    factors = {lead: millivolts(unit or "") or 1.0 for lead, unit in written.items()}
    if asked and {millivolts(asked)} != set(factors.values()):
        raise RecordError(f"its header row gives {', '.join(sorted(given))}, and --units says {asked}; leave it out")
    if others := sorted(unit for unit in given if millivolts(unit) != 1.0):
        notes.append(f"converted from {', '.join(others)} to mV, as its header row says")
    return factors


def _parse(rows: Sequence[str], table: Table) -> pd.DataFrame:
    import pandas as pd

    dialect = table.dialect
    n_columns = len(dialect.split(rows[0]))
    if n_columns > _MAX_COLUMNS:
        raise RecordError(f"it has {n_columns} columns: rows are samples and columns are leads; transpose it")
    try:
        frame = pd.read_csv(
            io.BytesIO("".join(rows).encode()),
            sep=r"\s+" if dialect.delimiter is None else dialect.delimiter,
            decimal=dialect.decimal,
            header=None,
            skipinitialspace=True,
            keep_default_na=False,
            na_values=[*MISSING, *map(str.upper, MISSING), "NaN", "-NaN", "None", "Null"],
            low_memory=False,
        )
    except (ValueError, OverflowError) as error:  # a ParserError is a ValueError
        raise RecordError(f"it is no table of numbers ({' '.join(str(error).split())[:120]})") from None
    if len(frame) != len(rows):
        raise RecordError("a quotation mark in it is not closed in the same row")
    return frame


def _numbers(frame: pd.DataFrame, table: Table, columns: Sequence[int]) -> Floats:
    """(T, columns) numbers; NaN where a value is missing."""
    for column in columns:
        if frame[column].dtype.kind not in "iuf":
            row, cell = _first_word(frame[column])
            name = table.names[column] if table.names else f"{column + 1}"
            raise RecordError(f"it is no table of numbers: column {name[:30]} holds {cell[:30]!r} in sample {row + 1}")
    return frame[list(columns)].to_numpy(dtype=np.float64)


def _first_word(column: pd.Series) -> tuple[int, str]:
    """Place and text of the first cell that is no number."""
    import pandas as pd

    words = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    row = int(np.argmax(words))
    return row, str(column.iloc[row])


def _check_time(frame: pd.DataFrame, names: Sequence[str], rate: float) -> None:
    """Refuse a sampling rate that a column of time contradicts; a column of sample numbers contradicts none."""
    place = next((place for place, name in enumerate(names) if _TIME.fullmatch(name)), None)
    if place is None or frame[place].dtype.kind not in "iuf" or len(frame) < 2:
        return
    times = frame[place].to_numpy(dtype=np.float64)
    step = (times[-1] - times[0]) / (len(times) - 1)
    if not step > 0 or not np.allclose(np.diff(times), step, rtol=0.6, atol=0):
        return  # no clock that runs evenly, even if its values were rounded
    if abs(step - 1) < 0.02 or any(abs(step * rate / per_second - 1) < 0.02 for per_second in _PER_SECOND):
        return
    raise RecordError(
        f"its column {names[place][:30]} advances by {step:.6g} a row, which is not {rate:g} Hz in s, ms or µs; "
        "correct --rate"
    )
