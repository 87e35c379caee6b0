"""Time columns: the sampling rate that they give, and the check that they agree with a given rate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from ecg_lightning.data.recordings.csv_cells import parse_numbers
from ecg_lightning.data.recordings.csv_dialect import Table
from ecg_lightning.data.wfdb import RecordError

_PER_SECOND = {
    1.0: {"s", "sec", "secs", "second", "seconds", "sekunde", "sekunden"},
    1e3: {"ms", "msec", "msecs", "millisecond", "milliseconds", "millisekunden"},
    1e6: {"us", "μs", "usec", "microsecond", "microseconds", "mikrosekunden"},
}
_CLOCK = re.compile(r"(?:(\d{1,2}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,9})?)", re.ASCII)
_HEADINGS = {"t", "time", "times", "timestamp", "timestamps", "elapsed", "zeit", "temps", "tiempo", "tempo"}
_TOLERANCE = 0.02
_GAP = 5  # in usual steps
_EVENLY = 0.9  # share of the steps
_USUAL_HZ = (50, 2000)
"""Sampling rates of ECGs. Only one of s, ms and µs can give a rate in this range."""
_WHOLE = 1e-3
"""The relative distance of a sampling rate from a whole number that is rounded off, because times are rounded."""
_SHORTEST = 1e-9  # least step of a clock, in any unit
_WAY_OUT = "give the sampling rate with --rate HZ, in Python with fs=HZ"


def read_rate(cells: Sequence[Sequence[str]], table: Table, notes: list[str]) -> float:
    """Return the sampling rate in Hz that a time column gives. Without units in its heading, s, ms or µs are inferred.

    Args:
        cells: the table's cells, by column.
        table: the table, with its names and units.
        notes: a list to which a note on the column and on assumptions is added.

    Raises:
        RecordError: no time column advances evenly, by a step with only one interpretation.
    """
    found: dict[str, float] = {}
    for times, name, words in _columns(cells, table):
        step = (times[-1] - times[0]) / (len(times) - 1)
        off = np.abs(times - times[0] - step * np.arange(len(times)))
        if not (step > _SHORTEST and off.max() < step):
            raise RecordError(f"its column {name[:30]} does not advance evenly; {_WAY_OUT}")
        low, high = _USUAL_HZ
        stated = [per_second for per_second, known in _PER_SECOND.items() if known & set(words)]
        units = stated or [one for one in _PER_SECOND if low <= one / step <= high and abs(step - 1) >= _TOLERANCE]
        if len(units) != 1:
            raise RecordError(
                f"its column {name[:30]} advances by {step:.6g} a row, and not clearly in s, ms or µs; {_WAY_OUT}"
            )
        rate = units[0] / step
        rate = round(rate) if abs(rate - round(rate)) < _WHOLE * rate else rate
        unit = {1.0: "s", 1e3: "ms", 1e6: "µs"}[units[0]]
        found[f"{rate:g} Hz, from its column {name[:30]} in {unit}{'' if stated else ', which is assumed'}"] = rate
    if not found:
        raise RecordError(f"it has no column of time that says its sampling rate; {_WAY_OUT}")
    sentence, rate = next(iter(found.items()))
    if any(abs(other / rate - 1) > _TOLERANCE for other in found.values()):
        raise RecordError(f"its columns of time contradict each other ({'; '.join(found)}); {_WAY_OUT}")
    notes.append(f"sampling rate: {sentence}")
    return rate


def check_time(cells: Sequence[Sequence[str]], table: Table, rate: float) -> None:
    """Refuse a sampling rate that a time column contradicts, and gaps in the column.

    A column without units in its heading may be in s, ms or µs. It may also hold sample numbers, which fit any rate.

    Args:
        cells: the table's cells, by column.
        table: the table, with its names and units.
        rate: the sampling rate in Hz.

    Raises:
        RecordError: the column advances evenly at another rate, or advances evenly except for a gap.
    """
    for times, name, words in _columns(cells, table):
        _check(times, name, words, rate)


def _columns(cells: Sequence[Sequence[str]], table: Table) -> Iterator[tuple[np.ndarray, str, list[str]]]:
    """Yield the (T,) times of each time column, its name, and the words of its heading and units."""
    for column, name, units in zip(cells, table.names or [], table.units, strict=False):
        words = _words(name)
        is_time = bool(_HEADINGS & set(words)) or any(set(words[:1]) & known for known in _PER_SECOND.values())
        if not is_time or len(column) < 2:
            continue
        if (times := parse_numbers(column, table.dialect.decimal)) is not None:
            yield times, name, [*words, *_words(units or "")]
        elif (clock := _read_clock(column)) is not None:
            yield clock, name, ["s"]


def _read_clock(cells: Sequence[str]) -> np.ndarray | None:
    """Return the seconds of times such as `0:00.010` and `2020-01-01T12:30:00.010Z`, or None if a cell holds none."""
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
        return  # not an even clock, even if its values were rounded
    stated = [per_second for per_second, known in _PER_SECOND.items() if known & set(words)]
    if not stated and abs(step - 1) < _TOLERANCE:
        return
    if any(abs(step * rate / per_second - 1) < _TOLERANCE for per_second in stated or _PER_SECOND):
        return
    raise RecordError(
        f"its column {name[:30]} advances by {step:.6g} a row, which is not {rate:g} Hz"
        f"{'' if stated else ' in s, ms or µs'}. Correct --rate, or leave it out"
    )
