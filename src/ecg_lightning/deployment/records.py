"""One recording from a WFDB, CSV or NPY file, as a model wants it: twelve leads in order, mV, its rate and length.

What can be converted is converted and said; what cannot be right is refused.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from ecg_lightning.data.wfdb import LEADS, MILLIVOLTS_PER_UNIT, RecordError, RecordReader
from ecg_lightning.errors import DataError

UNITS = {"mV": 1.0, "uV": 1e-3}
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3}  # µ has two code points
_RATES_HZ = (50, 20_000)
_LARGEST_MV = 50.0  # peak to peak; the ECG itself stays below 10 mV
_SMALLEST_MV = 0.02
_UNUSUAL_OFFSET_MV = 6.0  # of 3,142 records of PTB-XL, 5.6 at most
_LARGEST_OFFSET_MV = 1000.0
# Of the limb leads' size: 400 records of PTB-XL reach 0.18 at most; with their leads shuffled, 0.63 at least.
_UNLIKELY = 0.35
_VERIFIED_RATES = (100, 500)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """A recording that is ready for a model.

    Attributes:
        millivolts_CT: float32 (12, T), in the order of `LEADS`.
        notes: what was converted, as sentences.
    """

    millivolts_CT: npt.NDArray[np.float32]
    notes: tuple[str, ...]


def read_record(
    path: Path, *, sampling_rate: int, n_samples: int, rate: float | None = None, units: str | None = None
) -> Recording:
    """Read a recording as a model of `sampling_rate` and `n_samples` wants it.

    Args:
        path: a WFDB record (with or without .hea), .csv (rows are samples; a first row with lead names, or twelve
            columns in the standard order) or .npy ((12, T) or (T, 12), in the standard order).
        sampling_rate: of the model, Hz.
        n_samples: samples a lead that the model takes.
        rate: Hz of a .csv or .npy file, which cannot say it; a WFDB header can.
        units: of a .csv or .npy file, `mV` (the default) or `uV`.

    Raises:
        DataError: names the file, and what keeps it from being used.
    """
    notes: list[str] = []
    try:
        if units not in (None, *UNITS):
            raise RecordError(f"units {units}: allowed are {', '.join(UNITS)}")
        if path.suffix.lower() in (".csv", ".npy"):
            if rate is None:
                raise RecordError("this format does not say its sampling rate; give it with --rate HZ")
            read = _read_csv if path.suffix.lower() == ".csv" else _read_npy
            signals_CT = read(path, notes) * UNITS[units or "mV"]
            way_out = "they look like µV: give --units uV" if (units or "mV") == "mV" else "check the file's units"
        else:
            signals_CT, said = _read_wfdb(path, n_samples / sampling_rate, notes)
            if rate not in (None, said):
                notes.append(f"--rate is for .csv and .npy files: its header says {said:g} Hz")
            if units not in (None, "mV"):
                notes.append("--units is for .csv and .npy files: its header gives them")
            rate = said
            way_out = "check the gain and units in its header"
        _check(signals_CT, way_out, notes)
        signals_CT = _fit(signals_CT, rate, sampling_rate, n_samples, notes)
    except RecordError as error:
        raise DataError(f"{path}: {error}") from None
    except FileNotFoundError as error:
        raise DataError(f"{path}: {Path(str(error.filename)).name} is not there") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    return Recording(np.ascontiguousarray(signals_CT, dtype=np.float32), tuple(notes))


def _read_wfdb(path: Path, duration_s: float, notes: list[str]) -> tuple[Floats, float]:
    """(12, T) mV and their rate; the first `duration_s` seconds suffice."""
    record = str(path.with_suffix("") if path.suffix in (".hea", ".dat") else path)
    if not Path(record + ".hea").is_file():
        known = "" if path.exists() else " It is not there, either."
        raise RecordError(f"it is no .csv or .npy file, and {Path(record).name}.hea is not beside it.{known}")
    for rate in _VERIFIED_RATES:
        reader = RecordReader(rate)
        if reader.fits(record):
            units_CT = np.empty((len(LEADS), reader.n_samples), dtype=np.int16)
            reader.read_into(record, units_CT)
            return units_CT.astype(np.float64) * MILLIVOLTS_PER_UNIT, rate
    return _read_other_wfdb(record, duration_s, notes)


def _read_other_wfdb(record: str, duration_s: float, notes: list[str]) -> tuple[Floats, float]:
    """A record that is not PTB-XL's, through the wfdb package, with the checks that it lacks."""
    import wfdb

    try:
        header = wfdb.rdheader(record)  # which also refuses file names that lead out of the folder
        if not isinstance(header, wfdb.Record) or not header.sig_name:
            raise RecordError("its header describes no single-segment record with signals")
        longest = math.ceil(duration_s * header.fs) + 1
        cut = header.sig_len is not None and header.sig_len > longest
        read: Any = wfdb.rdrecord(record, physical=False, sampto=longest if cut else None)
    except (RecordError, FileNotFoundError):
        raise
    except Exception as error:  # wfdb raises whatever its parsing stumbles over
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise RecordError(f"it is damaged or no WFDB record ({reason})") from None
    checksums = [None if value is None else value % 65536 for value in read.checksum or (None,)]
    whole = not cut and all(frame == 1 for frame in header.samps_per_frame)  # else the sums are of other samples
    if whole and None not in checksums and checksums != read.calc_checksum():
        raise RecordError("a lead does not match its WFDB checksum: the file was changed")
    order = _lead_order(list(header.sig_name), notes)
    # Unknown units become NaN, which is refused; those of signals other than the twelve leads do not matter.
    factors = [_MILLIVOLTS.get(str(header.units[index]).lower(), math.nan) for index in order]
    if others := {header.units[index] for index in order} - {"mV"}:
        notes.append(f"converted from {', '.join(sorted(map(str, others)))} to mV")
    return read.dac()[:, order].T * np.array(factors)[:, None], float(header.fs)


def _read_csv(path: Path, notes: list[str]) -> Floats:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    cells = [cell.strip().strip('"') for cell in first.split(",")]
    if len(cells) < len(LEADS):
        raise RecordError(
            f"its first row has {len(cells)} values between commas, expected at least {len(LEADS)}: columns stand "
            "between commas, decimals behind points"
        )
    named = not all(_is_number(cell) for cell in cells)
    order = _lead_order(cells, notes) if named else list(range(len(LEADS)))
    if not named and len(cells) != len(LEADS):
        raise RecordError(f"it has {len(cells)} columns and no row of lead names; give {', '.join(LEADS)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a table without rows, which is refused below
            values_TC = np.loadtxt(
                path, delimiter=",", skiprows=int(named), usecols=order, ndmin=2, encoding="utf-8-sig", quotechar='"'
            )
    except (ValueError, UnicodeDecodeError) as error:
        raise RecordError(f"it is no table of numbers ({' '.join(str(error).split())[:120]})") from None
    return values_TC.T if named else _in_assumed_order(values_TC.T, notes)


def _read_npy(path: Path, notes: list[str]) -> Floats:
    try:
        # Mapped, so that a header which lies about the size allocates nothing.
        signals = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError) as error:
        raise RecordError(f"it is damaged or no .npy file ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(signals, np.ndarray) or signals.dtype.kind not in "iuf":
        raise RecordError("it holds no array of numbers")
    if signals.ndim != 2 or len(LEADS) not in signals.shape:
        raise RecordError(f"its shape is {signals.shape}, expected (12, samples) or (samples, 12)")
    if signals.shape[0] == signals.shape[1]:
        raise RecordError(f"its shape {signals.shape} does not tell leads from samples")
    signals_CT = signals if signals.shape[0] == len(LEADS) else signals.T
    return _in_assumed_order(np.asarray(signals_CT, dtype=np.float64), notes)


def _in_assumed_order(signals_CT: Floats, notes: list[str]) -> Floats:
    """Leads without names are taken in the standard order, where the limb leads do not speak against it.

    Six limb leads come from three electrodes: II = I + III (Einthoven), aVR = -(I + II) / 2, aVL = (I - III) / 2 and
    aVF = (II + III) / 2 (Goldberger).
    """
    notes.append(f"its leads have no names: taken in the order {', '.join(LEADS)}")
    limb_CT = signals_CT[:6] - np.median(signals_CT[:6], axis=1, keepdims=True)
    size = np.sqrt(np.mean(limb_CT**2))
    if not np.isfinite(size) or not limb_CT.any(axis=1).all():  # refused by others; or a lead that was off
        return signals_CT
    one, two, three, right, left, foot = limb_CT
    rest = np.stack([two - one - three, right + (one + two) / 2, left - (one - three) / 2, foot - (two + three) / 2])
    if np.sqrt(np.mean(rest**2)) > _UNLIKELY * size:
        raise RecordError(
            f"its leads have no names and are not in the order {', '.join(LEADS)}: II is not I + III, as it must be; "
            "put them into that order, or name them in the first row of a .csv file"
        )
    return signals_CT


def _lead_order(names: list[str], notes: list[str]) -> list[int]:
    """Where each of the twelve leads is among `names`."""
    found = [re.sub(r"^LEAD[ _-]*", "", name.strip().upper()) for name in names]
    if missing := [lead for lead in LEADS if lead not in found]:
        raise RecordError(
            f"lead {', '.join(missing)} is missing; it has {', '.join(names)[:120]}; they are called {', '.join(LEADS)}"
        )
    if double := [lead for lead in LEADS if found.count(lead) > 1]:
        raise RecordError(f"lead {', '.join(double)} is there more than once")
    order = [found.index(lead) for lead in LEADS]
    if len(found) > len(LEADS):
        others = [name for index, name in enumerate(names) if index not in order]
        notes.append(f"left out: {', '.join(others)[:120]}")
    if order != sorted(order):
        notes.append("leads were put into the standard order, by their names")
    return order


def _check(signals_CT: Floats, way_out: str, notes: list[str]) -> None:
    """Refuse missing samples and values that no ECG in mV has."""
    if (bad := ~np.isfinite(signals_CT).all(axis=1)).any():
        leads = ", ".join(np.array(LEADS)[bad])
        raise RecordError(f"lead {leads} has missing samples (NaN), or units that are not of voltage")
    if not signals_CT.size:
        raise RecordError("it holds no samples")
    peak_to_peak_C = np.ptp(signals_CT, axis=1)
    if (largest := float(peak_to_peak_C.max())) > _LARGEST_MV:
        lead = LEADS[int(peak_to_peak_C.argmax())]
        raise RecordError(f"lead {lead} spans {largest:.0f} mV, which no ECG does; {way_out}")
    if largest < _SMALLEST_MV:
        raise RecordError(
            f"no lead spans more than {largest:.2g} mV: it is flat, or not in the units that were given; check --units"
        )
    offsets_C = np.abs(np.median(signals_CT, axis=1))
    said = f"lead {LEADS[int(offsets_C.argmax())]} lies {offsets_C.max():.3g} mV off zero"
    if offsets_C.max() > _LARGEST_OFFSET_MV:
        raise RecordError(f"{said}, which no electrode does; {way_out}")
    if offsets_C.max() > _UNUSUAL_OFFSET_MV:
        notes.append(f"{said}, farther than PTB-XL's records do")
    if (flat := peak_to_peak_C == 0).any():
        notes.append(f"lead {', '.join(np.array(LEADS)[flat])} is flat")


def _fit(signals_CT: Floats, rate: float, sampling_rate: int, n_samples: int, notes: list[str]) -> Floats:
    """Cut to the first seconds that the model takes, and resample."""
    low, high = _RATES_HZ
    if not low <= rate <= high:
        raise RecordError(f"its sampling rate is {rate:g} Hz, expected {low} to {high}")
    # Filters grow with both numbers of the ratio: an odd rate is taken as the nearest simple one, within a sample.
    ratio = (Fraction(sampling_rate) / Fraction(rate)).limit_denominator(1000)
    needed = math.ceil(n_samples / ratio)
    seconds = n_samples / sampling_rate
    found = signals_CT.shape[1]
    if found < needed:
        raise RecordError(f"it lasts {found / rate:.3g} s, and the model needs {seconds:g} s")
    if found > needed:
        notes.append(f"it lasts {found / rate:.4g} s; the first {seconds:g} s are used")
    signals_CT = signals_CT[:, :needed]
    if ratio != 1:
        notes.append(f"resampled from {rate:g} to {sampling_rate} Hz")
        # A line through both ends, since zeros beyond them would bend a signal that is off the baseline.
        signals_CT = resample_poly(signals_CT, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return signals_CT[:, :n_samples]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
