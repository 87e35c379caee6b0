"""One recording in the form that a model needs: twelve leads in order, in mV, at its rate and length.

A recording comes from a file or an array. Conversions are noted, and what cannot be right is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.recordings import array_record, csv_record
from ecg_lightning.data.recordings.csv_record import read_csv
from ecg_lightning.data.recordings.lead_names import STANDARD_ORDER
from ecg_lightning.data.recordings.npy_record import read_npy
from ecg_lightning.data.recordings.plausibility import check_plausible
from ecg_lightning.data.recordings.voltage import ask_units
from ecg_lightning.data.recordings.wfdb_record import read_wfdb
from ecg_lightning.data.recordings.window import Floats, Reading, Window
from ecg_lightning.data.wfdb import RecordError
from ecg_lightning.errors import DataError
from ecg_lightning.text import printable

UNITS = ("mV", "uV")
PADDED = "padded with zeros at the end"
"""The note on a recording that was too short."""

LEAST_S = 2.0
"""The seconds that a recording must last to be padded."""

_RATE_OF_SECONDS = 100
"""A window of whole seconds has the same length at any rate."""

_SPREADSHEETS = (".xlsx", ".xls", ".ods")
_ARRAYS = (*csv_record.SUFFIXES, ".npy")


@dataclass(frozen=True)
class Recording:
    """A recording that is ready for a model.

    Attributes:
        millivolts_CT: float32 (12, T), in the standard order.
        notes: sentences on conversions, assumptions and unusual findings.
    """

    millivolts_CT: npt.NDArray[np.float32]
    notes: tuple[str, ...]


def read_record(
    path: Path,
    *,
    sampling_rate: int,
    n_samples: int,
    rate: float | None = None,
    units: str | None = None,
    pad: bool = False,
) -> Recording:
    """Return a recording in the form that a model of `sampling_rate` and `n_samples` needs.

    Args:
        path: a WFDB record (with or without .hea, .dat or .mat), a table (.csv, .tsv or .txt) or a .npy array. A
            table's rows are samples; its first row names the leads, or it has twelve columns in the standard order. An
            array is (12, T) or (T, 12), in the standard order.
        sampling_rate: the model's sampling rate in Hz.
        n_samples: the number of samples per lead that the model needs.
        rate: the rate in Hz of a .npy file or of a table without a time column; a WFDB header states it.
        units: the units of a table or .npy file, `mV` or `uV`; by default the table's own, or mV with a note.
        pad: whether zeros fill up a recording that is too short; otherwise it is refused.

    Raises:
        DataError: the recording cannot be used. The message names the file and the reason.
    """
    notes: list[str] = []
    with _naming(path):
        _check_units(units)
        window = Window(sampling_rate, n_samples)
        return _prepare(*_read(path, window, rate, units, notes), window, notes, pad)


def read_unchanged(
    path: Path, *, seconds: int, rate: float | None = None, units: str | None = None
) -> tuple[Recording, float]:
    """Return the first seconds of a recording at its own sampling rate, and that rate in Hz; see `read_record`.

    Raises:
        DataError: the recording cannot be used. The message names the file and the reason.
    """
    notes: list[str] = []
    with _naming(path):
        _check_units(units)
        window = Window(_RATE_OF_SECONDS, seconds * _RATE_OF_SECONDS)
        reading, named, way_out = _read(path, window, rate, units, notes)
        return _recording(_checked(reading, named, way_out, window, notes), notes), reading.rate


def read_array(
    signals: npt.ArrayLike,
    *,
    sampling_rate: int,
    n_samples: int,
    fs: float,
    leads: Sequence[str] | None = None,
    units: str | None = None,
) -> Recording:
    """Return an array in the form that a model of `sampling_rate` and `n_samples` needs; see `array_record.read_array`.

    Raises:
        DataError: the array cannot be used. The message names the reason.
    """
    notes: list[str] = []
    way_out = "give units='uV' if they are µV; counts of an ADC must be converted to mV first"
    if units is not None:
        way_out = "check units="
    with _naming("the array"):
        window = Window(sampling_rate, n_samples)
        reading = array_record.read_array(signals, fs, leads, units, window, notes)
        return _prepare(reading, leads is not None, way_out, window, notes)


def _check_units(units: str | None) -> None:
    if units not in (None, *UNITS):
        raise RecordError(f"units {units}: allowed are {', '.join(UNITS)}")


@contextmanager
def _naming(what: Path | str) -> Iterator[None]:
    """Add the name of the file or array to the error."""
    try:
        # Damaged values may overflow. The result is no voltage of an ECG, and is refused.
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except RecordError as error:
        raise DataError(f"{what}: {error}") from None
    except FileNotFoundError as error:
        raise DataError(f"{what}: {Path(str(error.filename)).name} is not there") from None
    except OSError as error:
        raise DataError(f"{what} cannot be read ({error.strerror or error})") from None


def _prepare(
    reading: Reading, named: bool, way_out: str, window: Window, notes: list[str], pad: bool = False
) -> Recording:
    """Return the recording, cut, checked, resampled and, if requested, padded."""
    signals_CT = _checked(reading, named, way_out, window, notes, pad)
    if not window.is_at(reading.rate):
        notes.append(f"resampled from {reading.rate:g} to {window.sampling_rate} Hz")
        signals_CT = window.resample(signals_CT, reading.rate)
    if pad and (missing := window.n_samples - signals_CT.shape[1]):
        notes.append(PADDED)
        signals_CT = np.pad(signals_CT, ((0, 0), (0, missing)))
    return _recording(signals_CT, notes)


def _checked(
    reading: Reading, named: bool, way_out: str, window: Window, notes: list[str], pad: bool = False
) -> Floats:
    """Return the signals, cut and checked, at their own rate."""
    signals_CT = _cut(reading, window, notes, pad)
    if not named:
        notes.append(f"its leads have no names, so they are read in the order {STANDARD_ORDER}")
    warnings: list[str] = []
    signals_CT = check_plausible(signals_CT, reading.rate, named, way_out, warnings)
    notes[:0] = warnings  # possible faults come before conversions
    return signals_CT


def _recording(signals_CT: Floats, notes: list[str]) -> Recording:
    sentences = tuple(printable(" ".join(note.split())) for note in notes)
    return Recording(np.ascontiguousarray(signals_CT, dtype=np.float32), sentences)


def _read(
    path: Path, window: Window, rate: float | None, units: str | None, notes: list[str]
) -> tuple[Reading, bool, str]:
    """Return the recording, whether its leads have names, and the advice for an amplitude that cannot be right."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        raise RecordError("it is an .npz archive; save one array with numpy.save")
    if suffix in _SPREADSHEETS:
        raise RecordError("it is a spreadsheet; save it as CSV")
    if suffix not in _ARRAYS:
        reading = read_wfdb(path, window, notes)
        if rate not in (None, reading.rate):
            notes.append(f"--rate was ignored: the record's header states {reading.rate:g} Hz")
        if units not in (None, "mV"):
            notes.append("--units was ignored: the record's header states the units")
        return reading, True, "check the gain and units in its header"
    convert = "give --units uV if they are µV; counts of an ADC must be converted to mV first"
    way_out = "check the file's units, and correct its header if it states others" if units == "uV" else convert
    if suffix in csv_record.SUFFIXES:
        reading, named = read_csv(path, rate, units, window, notes)
        return reading, named, way_out
    if rate is None:
        raise RecordError("this format does not say its sampling rate; give it with --rate HZ, in Python with fs=HZ")
    reading = read_npy(path, rate, window)
    return Reading(reading.signals_CT * ask_units(units, notes), rate, reading.n_total), False, way_out


def _cut(reading: Reading, window: Window, notes: list[str], pad: bool) -> npt.NDArray[np.float64]:
    """Return the first seconds, which the model uses. A short recording that is padded has fewer."""
    needed = window.samples_at(reading.rate)
    if not reading.n_total:
        raise RecordError("it holds no samples")
    if reading.n_total < needed and pad and reading.n_total / reading.rate >= LEAST_S:
        return reading.signals_CT
    if reading.n_total < needed:
        lasts = f"{reading.n_total / reading.rate:.3g} s at {reading.rate:g} Hz"
        raise RecordError(f"it lasts {lasts}, and {window.seconds:g} s are needed")
    if reading.n_total > needed:
        lasts = f"{reading.n_total / reading.rate:.4g}"
        notes.append(f"it lasts {lasts} s; the first {window.seconds:g} s are used")
    return reading.signals_CT[:, :needed]
