"""A small independent decoder of WFDB records, after the manual pages header(5) and signal(5).

It knows no checksums and nothing of ECGs: bytes go in, named signals in physical units come out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RECORD = re.compile(
    rf"(?P<name>[^\s/]+)(?P<segments>/\d+)?\s+(?P<signals>\d+)"
    rf"(?:\s+(?P<rate>{_NUMBER})(?:/{_NUMBER}(?:\({_NUMBER}\))?)?(?:\s+(?P<samples>\d+)(?:\s+\S.*)?)?)?",
    re.ASCII,
)
_SIGNAL = re.compile(
    rf"(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    rf"(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>[+-]?\d+)\))?(?:/(?P<units>\S+))?(?:\s+(?P<bits>\+?\d+)"
    r"(?:\s+(?P<zero>[+-]?\d+)(?:\s+(?P<initial>[+-]?\d+)(?:\s+(?P<checksum>[+-]?\d+)(?:\s+(?P<block>\+?\d+)"
    r"(?:\s+(?P<name>.+))?)?)?)?)?)?)?",
    re.ASCII,
)
_SIMPLE = {"16": "<i2", "61": ">i2", "32": "<i4"}
_SHIFTED = {"80": ("u1", 128), "160": ("<u2", 32768)}
_MISSING = {"16": 16, "61": 16, "160": 16, "24": 24, "32": 32, "212": 12, "310": 10, "311": 10, "80": 8}
"""Bits of a format whose lowest value marks a missing sample."""

Integers = npt.NDArray[np.int64]


class UnreadableError(Exception):
    """The bytes are no record by the manual's rules, or use a feature that this decoder does not have."""


@dataclass(frozen=True)
class Signal:
    """One signal.

    Attributes:
        name: its description; None where the header has none.
        values_T: physical values; NaN where WFDB's mark for a missing sample stands.
        units: as the header writes them; None where it does not.
        checksum_fits: whether the 16-bit sum over all its samples is the header's; None where it has none.
        assumed: whether its gain is WFDB's default, which means that it is not calibrated.
    """

    name: str | None
    values_T: npt.NDArray[np.float64]
    units: str | None
    checksum_fits: bool | None
    assumed: bool


def decode(header_path: Path) -> tuple[float | None, list[Signal]]:
    """Return the sampling rate in Hz, or None where the header has none, and the signals of one record."""
    try:
        text = header_path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = header_path.read_bytes().decode("latin-1")
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", text)]
    lines = [line for line in lines if line and not line.startswith("#")]
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None or record["segments"]:
        raise UnreadableError("record line")
    fields = [_SIGNAL.fullmatch(line) for line in lines[1 : 1 + int(record["signals"])]]
    if len(fields) != int(record["signals"]) or None in fields:
        raise UnreadableError("signal lines")
    samples = int(record["samples"] or 0)
    found: dict[int, Signal] = {}
    for name in dict.fromkeys(line["file"] for line in fields):
        group = [(number, line) for number, line in enumerate(fields) if line["file"] == name]
        for (number, line), digital_T in zip(group, _read(header_path.parent, group, samples), strict=True):
            found[number] = _physical(line, digital_T)
    rate = float(record["rate"]) if record["rate"] else None
    return rate, [found[number] for number in sorted(found)]


def _read(folder: Path, group: list[tuple[int, re.Match[str]]], samples: int) -> Integers:
    """(signals, samples) of one signal file, as integers."""
    first = group[0][1]
    if "/" in first["file"] or any(line["format"] != first["format"] for _, line in group):
        raise UnreadableError("file name or mixed formats")
    if any(int(line["frame"] or 1) != 1 or int(line["skew"] or 0) for _, line in group):
        raise UnreadableError("several samples a frame, or skew")
    content = (folder / first["file"]).read_bytes()[int(first["offset"] or 0) :]
    values = _integers(content, first["format"])
    frames = samples or len(values) // len(group)
    if len(values) < frames * len(group):
        raise UnreadableError("too few samples")
    values_CT = values[: frames * len(group)].reshape(frames, len(group)).T
    if first["format"] == "8":  # first differences
        initial = np.array([int(line["initial"] or 0) for _, line in group])
        values_CT = initial[:, None] + np.cumsum(values_CT, axis=1)
    return values_CT


def _integers(content: bytes, kind: str) -> Integers:
    if kind in _SIMPLE:
        return _array(content, _SIMPLE[kind]).astype(np.int64)
    if kind in _SHIFTED:
        dtype, zero = _SHIFTED[kind]
        return _array(content, dtype).astype(np.int64) - zero
    if kind == "8":
        return _array(content, "i1").astype(np.int64)
    if kind == "24":
        parts = _array(content, "u1").astype(np.int64)
        parts = parts[: len(parts) // 3 * 3].reshape(-1, 3)
        return _signed(parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16, 24)
    if kind == "212":  # two samples in three bytes: the low bytes, and both high halves between them
        parts = _array(content, "u1").astype(np.int64)
        whole = np.pad(parts, (0, -len(parts) % 3)).reshape(-1, 3)
        pairs = np.stack([whole[:, 0] | (whole[:, 1] & 15) << 8, whole[:, 2] | (whole[:, 1] >> 4) << 8], axis=1)
        return _signed(pairs.ravel()[: len(parts) * 2 // 3], 12)
    raise UnreadableError(f"format {kind}")


def _array(content: bytes, dtype: str) -> npt.NDArray[np.generic]:
    size = np.dtype(dtype).itemsize
    return np.frombuffer(content[: len(content) // size * size], dtype=dtype)


def _signed(values: Integers, bits: int) -> Integers:
    return values - (values >> (bits - 1)) * (1 << bits)


def _physical(line: re.Match[str], digital_T: Integers) -> Signal:
    gain = float(line["gain"] or 0)
    zero = int(line["zero"] or 0)
    baseline = int(line["baseline"]) if line["baseline"] else zero
    if max(abs(baseline), abs(zero)) >= 2**31 or not math.isfinite(gain):
        raise UnreadableError("baseline or gain")
    values_T = (digital_T - baseline) / (gain or 200.0)
    if line["format"] in _MISSING:
        values_T[digital_T == -(2 ** (_MISSING[line["format"]] - 1))] = np.nan
    said = line["checksum"]
    fits = None if said is None else (int(digital_T.sum()) - int(said)) % 65536 == 0
    return Signal(line["name"], values_T, line["units"], fits, gain == 0)
