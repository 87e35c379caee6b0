"""A reader of WFDB records of any origin. It checks every field that matters, and notes every assumption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecg_lightning.data.recordings.input_file import open_regular
from ecg_lightning.data.recordings.lead_names import complete, find_leads, say
from ecg_lightning.data.recordings.mat_file import HEADER_BYTES, check_mat
from ecg_lightning.data.recordings.voltage import as_written, millivolts
from ecg_lightning.data.recordings.wfdb_header import (
    MAX_HEADER_BYTES,
    Calibration,
    Header,
    Signal,
    calibrate,
    parse_header,
)
from ecg_lightning.data.recordings.wfdb_signals import FORMATS, Format, Integers
from ecg_lightning.data.recordings.window import Floats, Reading, Window
from ecg_lightning.data.wfdb import LEADS, RecordError

SUFFIXES = (".hea", ".dat", ".mat")
_NEARLY_ALL = 0.75  # share of the leads; if more leads differ, each was scaled by itself
_WHOLE_SAMPLES = 4_000_000  # samples of a signal file; of a longer file only the first seconds are read


@dataclass(frozen=True)
class _SignalFile:
    """The signals that share one file, and the part of the file that is read.

    Attributes:
        path: the path of the file.
        storage: the file's format.
        byte_offset: the bytes before the first sample.
        signals: the signals by their index in the header.
    """

    path: Path
    storage: Format
    byte_offset: int
    signals: Mapping[int, Signal]

    @property
    def frame(self) -> int:
        """The number of samples of all signals in one frame."""
        return sum(signal.samples_per_frame for signal in self.signals.values())


def read_wfdb(path: Path, window: Window, notes: list[str]) -> Reading:
    """Return the part of a WFDB record that a model uses.

    Args:
        path: the path of the record, its header, or its .dat or .mat file.
        window: the part that the model uses.
        notes: a list to which notes on conversions and assumptions are added.

    Raises:
        RecordError: a part of the record is missing, damaged, or not supported.
        OSError: a file cannot be read.
    """
    header_path = _header_path(path)
    file, _ = open_regular(header_path)
    with file:
        header = parse_header(file.read(MAX_HEADER_BYTES + 1))
    if header.name not in (header_path.stem, f"{header_path.stem}.mat"):
        notes.append(f"its header names another record, {header.name[:40]}")
    places = find_leads([signal.name or "" for signal in header.signals], notes)
    leads = {place: lead for lead, place in places.items()}
    per_frame = _samples_per_frame(header, leads)
    rate = header.rate * per_frame
    files = _signal_files(header, header_path.parent, leads)
    if path.suffix.lower() in (".dat", ".mat") and path.is_file() and path.name not in [one.path.name for one in files]:
        raise RecordError(f"its header {header_path.name} does not name this file, but {files[0].path.name}")
    wanted = -(-window.samples_at(rate) // per_frame)
    found: dict[str, Floats] = {}
    lengths = set()
    for one in files:
        digital, n_frames = _read_signal_file(one, header.n_frames, wanted, leads, notes)
        lengths.add(n_frames)
        for place, values in digital.items():
            found[leads[place]] = values.astype(np.float64)
            if one.storage.missing is not None:
                found[leads[place]][values == one.storage.missing] = np.nan
    if len(lengths) > 1:
        raise RecordError("its signal files differ in length, and its header does not give the number of samples")
    _to_millivolts(found, {lead: header.signals[place] for place, lead in leads.items()}, notes)
    signals = complete(found)
    return Reading(np.stack([signals[lead] for lead in LEADS]), rate, lengths.pop() * per_frame)


def _header_path(path: Path) -> Path:
    if path.suffix.lower() == ".hea":
        return path
    record = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    in_capitals, header_path = (record.parent / f"{record.name}{suffix}" for suffix in (".HEA", ".hea"))
    if not header_path.exists():
        if in_capitals.exists():
            return in_capitals
        if path.is_dir():
            raise RecordError("it is a folder; name the records in it, such as FOLDER/*.hea")
        if path.exists():
            raise RecordError(
                "it is neither a table (.csv, .tsv, .txt) nor a .npy file, and its WFDB header "
                f"{header_path.name} is not there"
            )
        pattern = ". Leave out the quotes: the shell fills in * and ?" if {*"*?"} & {*path.name} else ""
        raise RecordError(f"there is no such file, and no {header_path.name}{pattern}")
    return header_path


def _samples_per_frame(header: Header, leads: Mapping[int, str]) -> int:
    """Return how often the leads are sampled in a frame. Leads that differ in it are refused."""
    for place, lead in leads.items():
        if skew := header.signals[place].skew:
            raise RecordError(
                f"{say([lead])} is skewed by {skew} samples, which is not supported; align the leads first"
            )
    found = {header.signals[place].samples_per_frame for place in leads}
    if len(found) > 1:
        raise RecordError(
            f"its leads have {' and '.join(map(str, sorted(found)))} samples per frame, so their sampling rates "
            "differ, which is not supported; resample them to one rate"
        )
    return found.pop()


def _signal_files(header: Header, folder: Path, leads: Mapping[int, str]) -> list[_SignalFile]:
    """Return the files that hold leads."""
    groups: dict[str, dict[int, Signal]] = {}
    for place, signal in enumerate(header.signals):
        groups.setdefault(signal.file, {})[place] = signal
    files = []
    for name, signals in groups.items():
        if not leads.keys() & signals.keys():
            continue
        first = next(iter(signals.values()))
        if len({(signal.code, signal.byte_offset) for signal in signals.values()}) > 1:
            raise RecordError(f"its header gives several storage formats or byte offsets for {name[:60]}")
        if first.code not in FORMATS:
            raise RecordError(
                f"the storage format of {name[:60]} is {first.code}, but only {', '.join(map(str, FORMATS))} can "
                "be read; convert it to format 16"
            )
        files.append(_SignalFile(_inside(folder, name), FORMATS[first.code], first.byte_offset, signals))
    return files


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a signal file. Names and links that lead out of the record's folder are refused."""
    if "\\" in name or ":" in name:
        raise RecordError(f"its header names the signal file {name[:80]!r}, expected a name without \\ and :")
    path = folder / name
    try:
        inside = ".." not in path.parts[len(folder.parts) :] and path.resolve().is_relative_to(folder.resolve())
    except RuntimeError:  # a circle of links
        inside = False
    if not inside:
        raise RecordError(
            f"its signal file {name[:80]!r} is outside the record's folder (by its name or a link); copy the file "
            "beside the header"
        )
    return path


def _read_signal_file(
    file: _SignalFile, announced: int | None, wanted: int, leads: Mapping[int, str], notes: list[str]
) -> tuple[dict[int, Integers], int]:
    """Return the first samples of each lead, (T,), and the number of frames in the file.

    The file's size is compared with its header before any memory is allocated. A file of moderate size is read whole,
    because checksums cover all samples.
    """
    stream, size = open_regular(file.path)
    with stream:
        name = file.path.name
        if file.path.suffix.lower() == ".mat":
            code = next(iter(file.signals.values())).code
            check_mat(stream.read(HEADER_BYTES), name, code, file.frame, file.byte_offset)
        n_frames = announced or file.storage.samples_in(max(size - file.byte_offset, 0)) // file.frame
        needed = file.byte_offset + file.storage.bytes_for(n_frames * file.frame)
        if size < needed:
            raise RecordError(f"{name} holds {size:,} bytes, but its header announces {needed:,}: it is incomplete")
        if announced and (excess := size - needed) >= file.storage.bytes_for(file.frame):
            notes.append(f"{name} holds {excess:,} bytes more than its header announces; they are not used")
        whole = n_frames * file.frame <= _WHOLE_SAMPLES
        n_read = n_frames if whole else min(n_frames, wanted)
        if n_read * file.frame > _WHOLE_SAMPLES:
            raise RecordError(f"{name} holds {file.frame} samples per frame, too many to read {wanted} frames at once")
        stream.seek(file.byte_offset)
        content = stream.read(file.storage.bytes_for(n_read * file.frame))
    frames = file.storage.read(content, n_read * file.frame).reshape(n_read, file.frame)
    digital = {}
    start = 0
    # Some programs write 0 for an unknown initial value and checksum.
    verifiable = any(signal.initial or signal.checksum for signal in file.signals.values())
    for place, signal in file.signals.items():
        stop = start + signal.samples_per_frame
        if place in leads:
            values = frames[:, start:stop].reshape(-1)
            if file.storage.differences:
                values = _accumulate(values, signal)
            if verifiable and values.size:
                _verify(values, signal, leads[place], whole)
            digital[place] = values[: wanted * signal.samples_per_frame]
        start = stop
    if not whole:
        notes.append(f"{name} is long: only its first seconds were read, so its checksums were not verified")
    elif not verifiable or any(file.signals[place].checksum is None for place in digital):
        notes.append(f"the header has no checksum for {name}, so its content was not verified")
    return digital, n_frames


def _accumulate(differences: Integers, signal: Signal) -> Integers:
    """Return the sums of the differences of format 8, which begin at the initial value."""
    start = signal.zero if signal.initial is None else signal.initial
    return (np.cumsum(differences, dtype=np.int64) + (start or 0)).astype(np.int32)


def _verify(values: Integers, signal: Signal, lead: str, whole: bool) -> None:
    first_is_exact = signal.code != 8  # in format 8 it is the value before the first difference
    if signal.initial is not None and first_is_exact and values[0] != signal.initial:
        raise RecordError(f"{say([lead])} starts with {values[0]}, its header says {signal.initial}")
    total = int(values.sum(dtype=np.int64))
    if whole and signal.checksum is not None and (total - signal.checksum) % 65536:
        raise RecordError(f"{say([lead])} does not match its WFDB checksum: the file was changed")


def _to_millivolts(found: dict[str, Floats], signals: Mapping[str, Signal], notes: list[str]) -> None:
    """Convert digital values in place, according to each signal line."""
    calibrations = {lead: calibrate(signals[lead], say([lead])) for lead in found}
    scales = {}
    for lead, calibration in calibrations.items():
        baseline = _baseline(calibration, signals[lead])
        factor = millivolts(calibration.units or "mV")
        if factor is None:
            raise RecordError(
                f"{say([lead])}: its units are {as_written(str(calibration.units))[:20]!r}, which are not of voltage"
            )
        scales[lead] = (factor / calibration.gain, baseline)
        found[lead] -= baseline
        found[lead] *= factor / calibration.gain
    _say_odd_scales(scales, notes)
    if any(calibration.units is None for calibration in calibrations.values()):
        notes.append("its header gives no units, so mV are assumed, as in WFDB")
    if any(one.baseline is None and signals[lead].zero is None for lead, one in calibrations.items()):
        notes.append("its header gives no baseline and no ADC zero, so 0 is assumed, as in WFDB")
    units = {as_written(one.units) for one in calibrations.values() if one.units and millivolts(one.units) != 1}
    if units:
        notes.append(f"converted from {', '.join(sorted(units))} to mV")


def _say_odd_scales(scales: Mapping[str, tuple[float, int]], notes: list[str]) -> None:
    """Add a note on leads that differ in gain or baseline from nearly all others, as after a slip in the header."""
    usual, n_usual = Counter(scales.values()).most_common(1)[0]
    odd = [lead for lead, scale in scales.items() if scale != usual]
    if odd and n_usual >= _NEARLY_ALL * len(scales):
        notes.append(f"{say(odd, 'has')} another gain or baseline in the header than the other leads: check it")


def _baseline(calibration: Calibration, signal: Signal) -> int:
    """Return the digital value of 0 V. If the header gives none, the manual defines it as the ADC zero."""
    if calibration.baseline is not None:
        return calibration.baseline
    return signal.zero or 0
