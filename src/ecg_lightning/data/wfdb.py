"""Verified reading of PTB-XL's WFDB records (format 16, twelve leads, 1 µV a unit).

The `wfdb` package silently accepts wrong checksums, swapped leads, a gain of 0 and much more, and it parses only 300
records a second. PTB-XL's records all have one shape, so one regular expression checks a whole header.
Format: WFDB header(5) and signal(5) manuals.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.leads import LEADS as LEADS
from ecg_lightning.system.regular_files import OPEN_FLAGS, check_regular

DURATION_S = 10
MILLIVOLTS_PER_UNIT = 1e-3
MISSING_SAMPLE = -32768  # WFDB's mark for "no value" in format 16

_MAX_HEADER_BYTES = 65536
_NUMBER = rb"(-?\d{1,6})"
_NAME_GROUPS = (1, *range(2, 38, 3))  # groups of the header's pattern: the record's name, and each lead's file
_NUMBER_GROUPS = tuple(group for first in range(3, 38, 3) for group in (first, first + 1))
_SIGNAL_LINE = re.compile(
    r"(?P<file>\S+) (?P<format>\S+) (?P<gain>[^\s(/]+)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<units>\S+))?"
    r" (?P<bits>\S+) (?P<zero>-?\d+) (?P<initial>-?\d+) (?P<checksum>-?\d+) (?P<block>\d+) (?P<lead>\S.*)"
)


class RecordError(Exception):
    """A fault that makes a record unusable. The message names it."""


class RecordReader:
    """A reader of records of one sampling rate, which reuses its memory.

    Args:
        sampling_rate: the rate in Hz; a record holds `10 * sampling_rate` samples per lead.
        verify: whether the header and every lead's first sample and 16-bit checksum are checked; else only the size.
    """

    def __init__(self, sampling_rate: int, verify: bool = True) -> None:
        self.n_samples = DURATION_S * sampling_rate
        self.sampling_rate = sampling_rate
        self.verify = verify
        self._frames = np.empty((self.n_samples, len(LEADS)), dtype="<i2")
        self._target = memoryview(self._frames.data).cast("B")
        self._excess = bytearray(1)
        self._header = _header_pattern(sampling_rate, self.n_samples)

    def read_into(self, record: str, out_CT: npt.NDArray[np.int16]) -> None:
        """Read `record` (path without suffix) into `out_CT`, int16 of shape (12, T), in units of 1 µV.

        Raises:
            FileNotFoundError: the header or the signal file is missing.
            OSError: a file cannot be read, or is a directory, a pipe or a device.
            RecordError: the record does not match its header or PTB-XL's shape.
        """
        header = self._read_header(record) if self.verify else None
        self._read_frames(record)
        np.copyto(out_CT, self._frames.T)
        if header:
            self._check_signals(out_CT, *header)

    def _read_header(self, record: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the first sample and the checksum of each lead from a header that matches PTB-XL's pattern."""
        header = _read_header_file(record)
        match = self._header.match(header)
        name = record.rpartition("/")[2]
        if match is None or {*match.group(*_NAME_GROUPS)} != {name.encode()}:
            check_regular(record + ".hea", "its .hea")  # only after a failure, because 21,799 calls would cost time
            raise RecordError(_explain_header(header, name, self.sampling_rate))
        numbers = np.array([*map(int, match.group(*_NUMBER_GROUPS))])
        return numbers[0::2], numbers[1::2]

    def _read_frames(self, record: str) -> None:
        descriptor = os.open(record + ".dat", OPEN_FLAGS)
        try:
            size = _read_into(descriptor, self._target, self._excess)
        finally:
            os.close(descriptor)
        if size != len(self._target):
            check_regular(record + ".dat", "its .dat")
            found = os.stat(record + ".dat").st_size  # noqa: PTH116 - as above
            raise RecordError(
                f"its .dat holds {found} bytes, expected {len(self._target)} (12 leads × {self.n_samples})"
            )

    def _check_signals(
        self, signals_CT: npt.NDArray[np.int16], initial: npt.NDArray[np.int64], checksum: npt.NDArray[np.int64]
    ) -> None:
        if (wrong := np.flatnonzero(signals_CT[:, 0] != initial)).size:
            lead = int(wrong[0])
            raise RecordError(f"lead {LEADS[lead]} starts with {signals_CT[lead, 0]}, its header says {initial[lead]}")
        sums = np.add.reduce(signals_CT, axis=1, dtype=np.int16)  # wraps at 16 bits, as WFDB's checksum does
        if (wrong := np.flatnonzero((sums.astype(np.int64) - checksum) % 65536)).size:
            raise RecordError(f"lead {LEADS[int(wrong[0])]} does not match its WFDB checksum: the file was changed")
        if signals_CT.min() == MISSING_SAMPLE and (gaps := (signals_CT == MISSING_SAMPLE).any(axis=1)).any():
            raise RecordError(f"lead {LEADS[int(np.flatnonzero(gaps)[0])]} holds missing samples ({MISSING_SAMPLE})")


def _read_into(descriptor: int, target: memoryview, excess: bytearray) -> int:
    """Fill `target`, then `excess`, and return the number of bytes read."""
    if hasattr(os, "readv"):  # not on Windows
        return os.readv(descriptor, [target, excess])
    content = os.read(descriptor, len(target) + len(excess))
    target[: len(content)] = content[: len(target)]
    return len(content)


def _header_pattern(sampling_rate: int, n_samples: int) -> re.Pattern[bytes]:
    """Return a pattern for the whole header. Groups: name, then each lead's file stem, first sample and checksum."""
    signals = b"".join(
        rb"([-\w]+)\.dat 16 1000(?:\.0*)?(?:\(0\))?/mV 16 0 %s %s 0 (?i:%s)[ \t]*\r?\n"
        % (_NUMBER, _NUMBER, lead.encode())
        for lead in LEADS
    )
    first = rb"([-\w]+) 12 %d(?:\.0*)? %d(?:[ \t][^\n]*|\r)?\n" % (sampling_rate, n_samples)
    # The last line may have no line end; comment lines may follow.
    return re.compile(first + signals.removesuffix(rb"\r?\n") + rb"(?:\r?\n(?:[ \t]*\r?\n|#[^\n]*(?:\n|$))*)?$")


def _explain_header(header: bytes, name: str, sampling_rate: int) -> str:
    """Return the first difference between a header and PTB-XL's form."""
    try:
        text = header.decode("ascii")
    except UnicodeDecodeError:
        return "its header is not a text file"
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return "its header is empty"
    record = lines[0].split()
    if len(record) < 4:
        return f"its header starts with {lines[0][:60]!r}, expected 'NAME 12 {sampling_rate} SAMPLES'"
    if record[0] != name:
        return f"its header belongs to record {record[0][:60]!r}"
    if record[1] != str(len(LEADS)):
        return f"it has {record[1][:20]} leads, expected {len(LEADS)}"
    if not _is_rate(record[2], sampling_rate):
        return f"its sampling rate is {record[2][:20]} Hz, expected {sampling_rate}"
    if record[3] != str(DURATION_S * sampling_rate):
        return f"it has {record[3][:20]} samples a lead, expected {DURATION_S * sampling_rate}"
    if len(lines) - 1 != len(LEADS):
        return f"its header describes {len(lines) - 1} signals, expected {len(LEADS)}"
    return next(
        filter(None, map(_explain_signal_line, lines[1:], LEADS, [name] * len(LEADS))), "its header is malformed"
    )


def _is_rate(text: str, sampling_rate: int) -> bool:
    try:
        return float(text) == sampling_rate
    except ValueError:
        return False


def _explain_signal_line(line: str, lead: str, name: str) -> str | None:
    match = _SIGNAL_LINE.fullmatch(line)
    if match is None:
        return f"its header line {line[:60]!r} (lead {lead}) is not a WFDB signal line"
    found = match.groupdict()
    expected = {"file": f"{name}.dat", "format": "16", "units": "mV", "bits": "16", "zero": "0", "block": "0"}
    if found["lead"].strip().upper() != lead:
        return f"its lead {found['lead'][:20]!r} is listed where lead {lead} is expected"
    for field, value in expected.items():
        if found[field] != value:
            return f"lead {lead}: {field} is {str(found[field])[:40]!r}, expected {value!r}"
    try:
        gain = float(found["gain"])
    except ValueError:
        gain = 0.0
    if gain != 1.0 / MILLIVOLTS_PER_UNIT:
        return f"lead {lead}: gain is {found['gain'][:20]!r} units/mV, expected 1000"
    if found["baseline"] not in (None, "0"):
        return f"lead {lead}: baseline is {found['baseline']}, expected 0"
    return None


def _read_header_file(record: str) -> bytes:
    descriptor = os.open(record + ".hea", OPEN_FLAGS)
    try:
        header = os.read(descriptor, _MAX_HEADER_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(header) > _MAX_HEADER_BYTES:
        check_regular(record + ".hea", "its .hea")
        raise RecordError(f"its header holds more than {_MAX_HEADER_BYTES:,} bytes")
    return header


def record_path(root: Path, relative: str) -> str:
    """Return the path of a record below `root`. A name that leads out of it is refused: tables may come from elsewhere.

    Raises:
        RecordError: the name is absolute, climbs out of the root, or holds a zero byte.
    """
    if relative.startswith(("/", "\\")) or re.search("[:\0]", relative) or ".." in re.split(r"[/\\]", relative):
        raise RecordError(f"its file name {relative[:80]!r} leads out of the data folder")
    return f"{root}/{relative}"
