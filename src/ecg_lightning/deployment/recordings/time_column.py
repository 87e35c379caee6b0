"""Columns of time: whether they agree with the sampling rate that was given."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ecg_lightning.data.wfdb import RecordError
from ecg_lightning.deployment.recordings.csv_cells import parse_numbers
from ecg_lightning.deployment.recordings.csv_dialect import Table

_PER_SECOND = {
    1.0: {"s", "sec", "secs", "second", "seconds", "sekunde", "sekunden"},
    1e3: {"ms", "msec", "msecs", "millisecond", "milliseconds", "millisekunden"},
    1e6: {"us", "μs", "usec", "microsecond", "microseconds", "mikrosekunden"},
}
_CLOCK = re.compile(r"(?:(\d{1,2}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,9})?)", re.ASCII)
_HEADINGS = {"t", "time", "times", "timestamp", "timestamps", "elapsed", "zeit", "temps", "tiempo", "tempo"}
_TOLERANCE = 0.02
_GAP = 5  # times the usual step
_EVENLY = 0.9  # of the steps


def check_time(cells: Sequence[Sequence[str]], table: Table, rate: float) -> None:
    """Refuse a sampling rate that a column of time contradicts, and gaps in it.

    Without units in its heading, a column may be in s, ms or µs, or hold sample numbers, which contradict no rate.

    Args:
        cells: the table's, by column.
        table: its names and units.
        rate: sampling rate, Hz.

    Raises:
        RecordError: the column advances evenly, at another rate or but for a gap.
    """
    for column, name, units in zip(cells, table.names or [], table.units, strict=False):
        words = _words(name)
        is_time = bool(_HEADINGS & set(words)) or any(set(words[:1]) & known for known in _PER_SECOND.values())
        if not is_time or len(column) < 2:
            continue
        if (times := parse_numbers(column, table.dialect.decimal)) is not None:
            _check(times, name, [*words, *_words(units or "")], rate)
        elif (clock := _read_clock(column)) is not None:
            _check(clock, name, ["s"], rate)


def _read_clock(cells: Sequence[str]) -> np.ndarray | None:
    """Return the seconds of times such as `0:00.010` and `2020-01-01T12:30:00.010Z`; None where a cell holds none."""
    found = [match for cell in cells if (match := _CLOCK.search(cell))]
    if len(found) < len(cells):
        return None
    return np.array([int(one[1] or 0) * 3600 + int(one[2]) * 60 + float(one[3].replace(",", ".")) for one in found])


def _words(heading: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", heading.replace("µ", "μ"))
    return [word.lower() for word in re.split(r"[\W_\d]+", spaced) if word]


def _check(times: np.ndarray, name: str, words: Sequence[str], rate: float) -> None:
    steps = np.diff(times)
    usual, gap = float(np.median(steps)), int(steps.argmax())
    if usual > 0 and steps[gap] > _GAP * usual and np.mean(np.isclose(steps, usual, rtol=0.6)) > _EVENLY:
        raise RecordError(
            f"its column {name[:30]} advances by {steps[gap]:.6g} below sample {gap + 1} and by {usual:.6g} elsewhere: "
            "samples are missing there"
        )
    step = (times[-1] - times[0]) / (len(times) - 1)
    if not step > 0 or not np.allclose(steps, step, rtol=0.6, atol=0):
        return  # no clock that runs evenly, even if its values were rounded
    stated = [per_second for per_second, known in _PER_SECOND.items() if known & set(words)]
    if not stated and abs(step - 1) < _TOLERANCE:
        return
    if any(abs(step * rate / per_second - 1) < _TOLERANCE for per_second in stated or _PER_SECOND):
        return
    raise RecordError(
        f"its column {name[:30]} advances by {step:.6g} a row, which is not {rate:g} Hz"
        f"{'' if stated else ' in s, ms or µs'}; correct --rate"
    )
