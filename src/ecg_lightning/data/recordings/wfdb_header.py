"""A parser of WFDB headers. It checks what a header contains and adds nothing.

Format: the header(5) manual of the WFDB software package, https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ecg_lightning.data.wfdb import RecordError

MAX_HEADER_BYTES = 65_536
_MAX_SIGNALS = 64
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_FORMAT = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?", re.ASCII)
_CALIBRATION = re.compile(r"([^(/\s]+)(?:\(([^)\s]*)\))?(?:/(\S+))?", re.ASCII)


@dataclass(frozen=True)
class Signal:
    """One signal line. An absent optional field is None.

    Attributes:
        file: the name of the signal file.
        code: the storage format, such as 16 or 212.
        samples_per_frame: the samples per frame; more than one if the signal is sampled faster than the record.
        skew: the delay of the signal in frames.
        byte_offset: the bytes of the signal file before its first sample.
        calibration: gain, baseline and units as written; see `calibrate`.
        zero: the ADC's output for 0 V at its input.
        initial: the first sample.
        checksum: the sum of all samples, modulo 65536.
        name: the name of the lead.
    """

    file: str
    code: int
    samples_per_frame: int = 1
    skew: int = 0
    byte_offset: int = 0
    calibration: str | None = None
    zero: int | None = None
    initial: int | None = None
    checksum: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Calibration:
    """The conversion of digital values to a voltage: (value - baseline) / gain, in `units`.

    Attributes:
        gain: the digital units per unit of voltage; positive.
        baseline: the digital value of 0 V; None if the header gives none.
        units: the units as written; None if the header gives none.
    """

    gain: float
    baseline: int | None
    units: str | None


@dataclass(frozen=True)
class Header:
    """A WFDB header of one segment.

    Attributes:
        name: the record's name.
        rate: the number of frames per second, in Hz.
        n_frames: the number of frames; None if the header does not give the length.
        signals: the signals, one for each signal line.
    """

    name: str
    rate: float
    n_frames: int | None
    signals: tuple[Signal, ...]


def parse_header(content: bytes) -> Header:
    """Return a parsed header. Its text is UTF-8 or Latin-1.

    Raises:
        RecordError: a field is missing or damaged. The message names it.
    """
    if len(content) > MAX_HEADER_BYTES:
        raise RecordError(f"its header is larger than {MAX_HEADER_BYTES:,} bytes")
    if b"\0" in content:
        raise RecordError("its header is not text in UTF-8 or Latin-1")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    text = text.rstrip().rstrip("\x1a")  # DOS's end-of-file character
    lines = [line.strip() for line in re.split(r"\r\n?|\n", text)]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordError("its header is empty")
    name, n_signals, rate, n_frames = _parse_record_line(lines[0])
    if len(lines) - 1 != n_signals:
        raise RecordError(
            f"its header announces {n_signals} signals but describes {len(lines) - 1}: it is incomplete or damaged"
        )
    signals = tuple(_parse_signal_line(line, number) for number, line in enumerate(lines[1:], start=1))
    return Header(name, rate, n_frames, signals)


def calibrate(signal: Signal, lead: str) -> Calibration:
    """Return the gain, baseline and units of a signal. `lead` names it in messages.

    Raises:
        RecordError: these values are damaged, or the signal is not calibrated.
    """
    if signal.calibration is None:
        raise RecordError(f"{lead} is uncalibrated: its header line gives no gain")
    match = _CALIBRATION.fullmatch(signal.calibration)
    if match is None or not _NUMBER.fullmatch(match[1]):
        raise RecordError(
            f"{lead}: the gain in its header is {signal.calibration[:40]!r}, expected GAIN(BASELINE)/UNITS"
        )
    gain = float(match[1])
    if gain <= 0:
        raise RecordError(f"{lead} is uncalibrated: the gain in its header is {match[1]}, expected more than 0")
    baseline = None if match[2] is None else _integer(match[2], f"{lead}: the baseline")
    return Calibration(gain, baseline, match[3])


def _parse_record_line(line: str) -> tuple[str, int, float, int | None]:
    """Return name, number of signals, frames per second and number of frames. A date and a time may follow."""
    fields = line.split()
    name, slash, segments = fields[0].partition("/")
    if slash:
        raise RecordError(f"it is a record of {segments[:20]} segments; name one of its segments instead")
    if len(fields) < 2 or not re.fullmatch(r"[0-9]{1,9}", fields[1]):
        raise RecordError(f"its header starts with {line[:60]!r}, expected 'NAME SIGNALS RATE SAMPLES'")
    if not 1 <= int(fields[1]) <= _MAX_SIGNALS:
        raise RecordError(f"its header announces {fields[1]} signals, expected 1 to {_MAX_SIGNALS}")
    if len(fields) < 3:
        raise RecordError("its header gives no sampling rate")
    rate = fields[2].partition("/")[0]  # a counter frequency may follow
    if not _NUMBER.fullmatch(rate) or float(rate) <= 0:
        raise RecordError(f"the sampling rate in its header is {fields[2][:40]!r}, expected a positive number of Hz")
    n_frames = None
    if len(fields) > 3:
        if not re.fullmatch(r"[0-9]{1,12}", fields[3]):
            raise RecordError(f"the number of samples in its header is {fields[3][:40]!r}, expected a whole number")
        n_frames = int(fields[3]) or None  # by the manual, 0 means unknown
    return name, int(fields[1]), float(rate), n_frames


def _parse_signal_line(line: str, number: int) -> Signal:
    file, *fields = line.split(maxsplit=8)
    what = f"signal {number}"
    layout = _FORMAT.fullmatch(fields[0]) if fields else None
    if layout is None:
        raise RecordError(f"{what}: its header line {line[:60]!r} gives no storage format")
    samples_per_frame, skew, byte_offset = (int(value or default) for value, default in zip(
        layout.groups()[1:], (1, 0, 0), strict=True
    ))  # fmt: skip
    if not samples_per_frame:
        raise RecordError(f"{what}: its header line {line[:60]!r} gives 0 samples a frame")
    values: list[str | None] = [*fields[1:], *[None] * 7]
    calibration, bits, zero, initial, checksum, block, name = values[:7]
    for value, field in ((bits, "resolution"), (block, "block size")):
        if value is not None and not re.fullmatch(r"\+?[0-9]{1,12}", value):
            raise RecordError(f"{what}: the {field} in its header is {value[:40]!r}, expected a whole number from 0")
    return Signal(
        file,
        int(layout[1]),
        samples_per_frame,
        skew,
        byte_offset,
        calibration,
        _optional(zero, f"{what}: the ADC zero"),
        _optional(initial, f"{what}: the initial value"),
        _optional(checksum, f"{what}: the checksum"),
        name,
    )


def _optional(text: str | None, what: str) -> int | None:
    return None if text is None else _integer(text, what)


def _integer(text: str, what: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise RecordError(f"{what} in its header is {text[:40]!r}, expected a whole number")
    return int(text)
