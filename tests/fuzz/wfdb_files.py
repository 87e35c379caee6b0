"""WFDB records for the reader of `predict` and for the training reader."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import wfdb
from hypothesis import strategies as st
from scipy.signal import resample_poly

from ecg_lightning.data.recordings.records import read_record
from ecg_lightning.data.wfdb import RecordError, RecordReader
from ecg_lightning.errors import DataError
from fuzz.good_files import LEADS, N_SAMPLES, RATE, Signals, checksum, ecg, ptbxl_folder
from fuzz.lanes import Target, WrongAnswerError
from fuzz.mutation import damaged_bytes, damaged_text
from fuzz.wfdb_decoder import Signal, UnreadableError, decode

_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
_DERIVED = {  # of the leads I and II (Einthoven, Goldberger)
    "III": lambda one, two: two - one,
    "AVR": lambda one, two: -(one + two) / 2,
    "AVL": lambda one, two: one - two / 2,
    "AVF": lambda one, two: two - one / 2,
}
_GAINS = ("1000", "1000.0(0)", "200", "500(0)", "1000.5(12)", "1e3", "2000(-300)", "1000(1024)")
_UNITS = ("/mV", "/uV", "/µV", "/V", "/MV", "/mv", "", "/mmHg")


def targets(folder: Path) -> list[Target]:
    """Return the targets, with their good files in `folder`."""
    record = folder / "r"
    signals_CT = ecg(folder)
    header, content = _pack(signals_CT, "16")
    mine = next((ptbxl_folder(folder) / "records100").glob("*/*.hea"))
    own_header, own_content = mine.read_text(), mine.with_suffix(".dat").read_bytes()
    own = folder / mine.stem
    header_drawn = st.tuples(damaged_text(header, r"[\s/()]"), st.just(content))
    own_drawn = st.tuples(damaged_text(own_header, r"[\s/()]"), st.just(own_content))
    variants = {rate: ecg(folder, rate) for rate in (100, 250, 500)}
    return [
        Target("wfdb header, predict", header_drawn, partial(_check_predict, record)),
        Target(
            "wfdb signals, predict",
            st.tuples(st.just(header.encode()), damaged_bytes(content)),
            partial(_check_predict, record),
        ),
        Target("wfdb variants, predict", _variants(variants), partial(_check_predict, record)),
        Target("wfdb header, training", own_drawn, partial(_check_training, own)),
        Target(
            "wfdb signals, training",
            st.tuples(st.just(own_header.encode()), damaged_bytes(own_content)),
            partial(_check_training, own),
        ),
    ]


def _pack(signals_CT: Signals, kind: str, rate: str = str(RATE), **fields: str) -> tuple[str, bytes]:
    """Write signals in a WFDB format; `fields` replace those of the signal lines."""
    gain = fields.get("gain", "1000")
    number, _, baseline = gain.partition("(")
    scale, zero = float(number), int(baseline.rstrip(")") or fields.get("zero", "0"))
    factor = _MILLIVOLTS.get(fields.get("units", "/mV").lstrip("/").lower(), 1.0)
    digital_CT = np.round(signals_CT / factor * scale).astype(np.int64) + zero
    if kind == "212":
        digital_CT = np.clip(digital_CT, -2047, 2047)
    flat = digital_CT.T.ravel()
    if kind == "212":
        pairs = flat.reshape(-1, 2) & 4095
        content = np.stack([pairs[:, 0], pairs[:, 0] >> 8 | pairs[:, 1] >> 8 << 4, pairs[:, 1]], axis=1)
        content = content.astype(np.uint8).tobytes()
    elif kind == "24":
        content = np.stack([flat & 255, flat >> 8 & 255, flat >> 16 & 255], axis=1).astype(np.uint8).tobytes()
    else:
        dtype, shift = {"16": ("<i2", 0), "61": (">i2", 0), "32": ("<i4", 0), "160": ("<u2", 32768)}[kind]
        content = (flat + shift).astype(dtype).tobytes()
    names = fields.get("names", " ".join(LEADS)).split()
    lines = [f"r {len(names)} {rate}{fields.get('length', f' {signals_CT.shape[1]}')}"]
    for name, digital_T in zip(names, digital_CT, strict=True):
        end = f" {digital_T[0]} {checksum(digital_T)} 0 {name}"
        line = f"{gain}{fields.get('units', '/mV')} {fields.get('bits', '16')} {fields.get('zero', '0')}{end}"
        lines.append(f"r.dat {kind}{fields.get('offset', '')} {line}")
    if fields.get("offset"):
        content = b"\0" * int(fields["offset"].lstrip("+")) + content
    return "\n".join([*lines, *fields.get("comments", "").split("|")]) + "\n", content


def _variants(signals: dict[int, Signals]) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Draw headers that are good by the manual, with optional fields, gains, units, formats and encodings."""

    def make(rate: int, kind: str, encoding: str, end: str, **fields: str) -> tuple[bytes, bytes]:
        header, content = _pack(signals[rate], kind, str(rate) + fields.pop("counter"), **fields)
        return header.replace("\n", end).encode(encoding, errors="replace"), content

    return st.builds(
        make,
        rate=st.sampled_from(sorted(signals)),
        kind=st.sampled_from(("16", "16", "61", "32", "24", "160", "212")),
        encoding=st.sampled_from(("utf-8", "utf-8", "latin-1", "utf-8-sig")),
        end=st.sampled_from(("\n", "\n", "\r\n")),
        counter=st.sampled_from(("", "", "/250", "/250(12)", ".0")),
        gain=st.sampled_from(_GAINS),
        units=st.sampled_from(("/mV", *_UNITS)),
        length=st.sampled_from((f" {N_SAMPLES}", "", " 1000 12:00:00", " 1000 12:00:00 1/2/2003")),
        offset=st.sampled_from(("", "", "+24", "+0")),
        zero=st.sampled_from(("0", "0", "5")),
        bits=st.sampled_from(("16", "0", "12")),
        comments=st.sampled_from(("", "#Age: 56|#Sex: Female|#Dx: 426783006", "# ünïcode")),
        names=st.sampled_from(
            (" ".join(LEADS), " ".join(f"MDC_ECG_LEAD_{one.upper()}" for one in LEADS), " ".join(LEADS).upper())
        ),
    )


def _check_predict(record: Path, files: tuple[bytes, bytes]) -> None:
    header, content = files
    record.with_suffix(".hea").write_bytes(header)
    record.with_suffix(".dat").write_bytes(content)
    found = read_record(record, sampling_rate=RATE, n_samples=N_SAMPLES)
    expected_CT, is_assumed = _independent(record.with_suffix(".hea"))
    if is_assumed and not found.notes:
        raise WrongAnswerError("a missing gain or rate was filled in without a note")
    _compare(found.millivolts_CT, expected_CT)


def _compare(found_CT: np.ndarray, expected_CT: Signals) -> None:
    if found_CT.shape != expected_CT.shape:
        raise WrongAnswerError(f"shape {found_CT.shape}, expected {expected_CT.shape}")
    size = float(np.abs(expected_CT).max(initial=1e-3))
    difference = float(np.abs(found_CT - expected_CT).max())
    if not difference <= 1e-4 * size + 1e-6:
        raise WrongAnswerError(f"values differ by {difference:.4g} mV, of {size:.4g} mV")


def _independent(header: Path) -> tuple[Signals, bool]:
    """What a model of 100 Hz and 10 s takes of a record, and whether a gain or rate had to be assumed."""
    try:
        rate, signals = decode(header)
    except UnreadableError as reason:
        rate, signals = _by_wfdb(header, reason)
    if any(signal.checksum_fits is False for signal in signals if _lead(signal.name) in map(str.upper, LEADS)):
        raise WrongAnswerError("a lead's checksum does not fit")
    leads = {_lead(signal.name): signal for signal in signals}
    millivolts = {
        name: signal.values_T * _MILLIVOLTS.get((signal.units or "mV").lower(), np.nan)
        for name, signal in leads.items()
    }
    for name, derive in _DERIVED.items():
        if name not in millivolts and {"I", "II"} <= set(millivolts):
            millivolts[name] = derive(millivolts["I"], millivolts["II"])
    if missing := [lead for lead in LEADS if lead.upper() not in millivolts]:
        raise WrongAnswerError(f"the file has no lead {missing}")
    signals_CT = np.stack([millivolts[lead.upper()] for lead in LEADS])
    is_assumed = rate is None or any(signal.assumed or signal.units is None for signal in leads.values())
    return _to_model(signals_CT, rate or 250.0), is_assumed


def _by_wfdb(header: Path, reason: Exception) -> tuple[float | None, list[Signal]]:
    """What the wfdb package reads where the small decoder gives up."""
    try:
        read = wfdb.rdrecord(str(header.with_suffix("")))
        names, units = list(read.sig_name), list(read.units)
        values_CT = np.asarray(read.p_signal, dtype=np.float64).T
    except Exception as error:
        raise WrongAnswerError(f"accepted, but no independent reader can read it ({reason}; wfdb: {error})") from None
    signals = [
        Signal(name, values_T, unit, None, False) for name, unit, values_T in zip(names, units, values_CT, strict=True)
    ]
    return float(read.fs), signals


def _lead(name: str | None) -> str:
    found = (name or "").strip(" \t'\"`").upper()
    for prefix in ("MDC_ECG_", "LEAD", "_", "-", " "):
        found = found.removeprefix(prefix)
    return re.sub(r"^[CV][ _-]?(?=[1-6]$)", "V", found)


def _to_model(signals_CT: Signals, rate: float) -> Signals:
    ratio = (Fraction(RATE) / Fraction(rate)).limit_denominator(1000)
    signals_CT = signals_CT[:, : ceil(N_SAMPLES / ratio)]
    if ratio != 1:
        signals_CT = resample_poly(signals_CT, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return signals_CT[:, :N_SAMPLES]


def _check_training(record: Path, files: tuple[bytes, bytes]) -> None:
    header, content = files
    record.with_suffix(".hea").write_bytes(header)
    record.with_suffix(".dat").write_bytes(content)
    found_CT = np.empty((len(LEADS), N_SAMPLES), dtype=np.int16)
    try:
        RecordReader(RATE).read_into(str(record), found_CT)
    except (RecordError, OSError) as error:  # the two that its users turn into a sentence
        raise DataError(str(error)) from None
    try:
        rate, signals = decode(record.with_suffix(".hea"))
    except UnreadableError as reason:
        raise WrongAnswerError(f"accepted, but it is no record: {reason}") from None
    names = [_lead(signal.name) for signal in signals]
    fits = [signal.checksum_fits for signal in signals]
    if rate != RATE or names != [lead.upper() for lead in LEADS] or not all(fits):
        raise WrongAnswerError(f"accepted with rate {rate}, leads {names}, checksums {fits}")
    _compare(found_CT * 1e-3, np.stack([signal.values_T for signal in signals]))
