"""The signal cache. One int16 array on disk holds every verified record of one folder at one rate.

Layout: `<cache>/<folder name>-<hash of its path>/<rate>hz/` holds `signals-<key>.npy` (N, 12, T) in units of 1 µV
and `index-<key>.json`. The key changes with any source file's size, time or mode, so a changed source is read again.
The index holds a checksum of the signals and a digest of itself. Both files are compared byte by byte with their
expected content, and a damaged cache is rebuilt.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.wfdb import DURATION_S, LEADS, RecordError, RecordReader, record_path
from ecg_lightning.errors import DataError
from ecg_lightning.system.disk import explain_full, is_full
from ecg_lightning.system.long_steps import INTERVAL_S
from ecg_lightning.system.regular_files import read_regular

log = logging.getLogger(__name__)

_FORMAT = 2
_WITHOUT_DIGEST = 1  # the format of versions up to 0.1
_MAX_INDEX_BYTES = 2**30
_CHUNK = 512  # records per hash update
_MAX_REASON = 200  # in characters; a file name may be long
_MAX_NOTES = 50
MISSING = "missing"
"""The stamp of a record whose files do not exist."""

REFUSED = "refused"
"""The stamp of a record whose files may not be read. Reading it reports the reason."""

_DTYPE = "<i2"
_CHOSEN_BY = "data.cache_dir=DIR, in Python with PTBXLDataModule(..., cache_dir=DIR)"


@dataclass(frozen=True)
class SignalCache:
    """The signals of the good records, and the reasons why the others are left out.

    Attributes:
        signals_NCT: int16 (N, 12, T) in units of 1 µV; memory-mapped, copy-on-write.
        row_of: record index in the requested table → row of `signals_NCT`, for the good records.
        missing: indices of the records whose files do not exist.
        bad: record index → reason, for the records that cannot be used.
        content_hash: SHA-256 over the signals' checksum and the records' names.
        notes: conversion made while reading → number of records that needed it.
    """

    signals_NCT: npt.NDArray[np.int16]
    row_of: dict[int, int]
    missing: list[int]
    bad: dict[int, str]
    content_hash: str
    notes: dict[str, int] = field(default_factory=dict)


class CachedReader(Protocol):
    """A reader that puts the records of one data set into the cache.

    Attributes:
        n_samples: the number of samples per lead.
        settings: the settings other than the rate that change the signals; a part of the cache's key.
        folder: the name of the cache's folder within that of the data set.
    """

    n_samples: int
    settings: str
    folder: str

    def stamp(self, root: Path, record: str) -> str:
        """Return a text that changes with a record's files; `MISSING` if they do not exist, `REFUSED` if unreadable."""

    def read_into(self, root: Path, record: str, out_CT: npt.NDArray[np.int16]) -> Sequence[str]:
        """Read a record in units of 1 µV, and return notes on its conversions.

        Raises:
            RecordError, OSError: the record cannot be used.
        """


class PTBXLReader:
    """A reader of PTB-XL's records; see `wfdb.RecordReader`.

    Args:
        sampling_rate: the sampling rate in Hz.
    """

    settings = ""

    def __init__(self, sampling_rate: int) -> None:
        self.n_samples = DURATION_S * sampling_rate
        self.folder = f"{sampling_rate}hz"
        self._reader = RecordReader(sampling_rate)

    def stamp(self, root: Path, record: str) -> str:
        """Return the stamp of a record; see `CachedReader.stamp`."""
        try:
            path = record_path(root, record)
        except RecordError:
            return REFUSED  # `read_into` reports the reason
        return stamp_of([path + suffix for suffix in (".hea", ".dat")])

    def read_into(self, root: Path, record: str, out_CT: npt.NDArray[np.int16]) -> Sequence[str]:
        """Read a record; see `CachedReader.read_into`."""
        self._reader.read_into(record_path(root, record), out_CT)
        return ()


def stamp_of(paths: Sequence[str]) -> str:
    """Return the sizes, times and modes of files; `MISSING` if one does not exist, `REFUSED` if access is denied."""
    try:
        files = [os.stat(path) for path in paths]  # noqa: PTH116 - called for 44,000 files
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except OSError:
        return REFUSED
    # The mode is included so that a record without read permission is read again once it is permitted.
    return " ".join(f"{file.st_size} {file.st_mtime_ns} {file.st_mode}" for file in files)


def default_cache_dir() -> Path:
    """Return `$ECG_LIGHTNING_CACHE`, or else `ecg_lightning` in the user's cache folder."""
    if chosen := os.environ.get("ECG_LIGHTNING_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecg_lightning"


def cache_folder(chosen: str | Path | None) -> Path:
    """Return the folder of the signal cache: the chosen one, else the user's."""
    return Path(chosen).expanduser() if chosen else default_cache_dir()


class _DamagedError(Exception):
    """Damage in the cache's files. The message names it."""


def open_cache(
    root: Path, records: Sequence[str], sampling_rate: int, cache_dir: Path, reader: CachedReader | None = None
) -> SignalCache:
    """Open the cache of `records` (names relative to `root`). The records are read first if needed.

    If several processes need the same cache, the first one builds it, and the others wait and open it. A cache is
    rebuilt if it is damaged or has no digest. At least one record must exist. Without `reader`, the records are
    PTB-XL's.

    Raises:
        DataError: the cache folder cannot be written.
    """
    reader = reader or PTBXLReader(sampling_rate)
    stamps = [reader.stamp(root, record) for record in records]
    resolved = root.resolve()
    folder = cache_dir / f"{resolved.name}-{_digest([str(resolved)])[:8]}" / reader.folder
    wanted = _Wanted(folder, list(records), stamps, sampling_rate, reader)
    try:
        return _open(wanted)
    except (_DamagedError, FileNotFoundError):
        pass  # another process may be building it
    try:
        folder.mkdir(parents=True, exist_ok=True)
        import filelock  # only a new cache needs it; a table of scores does not

        with filelock.FileLock(folder / ".lock"):
            try:
                return _open(wanted)
            except _DamagedError as damaged:
                log.warning("rebuilding the signal cache in %s: %s", folder, damaged)
            except FileNotFoundError:
                if (folder / f"index-{wanted.key_in(_WITHOUT_DIGEST)}.json").exists():
                    log.info(
                        "rebuilding the signal cache in %s, because an earlier version wrote it without a digest",
                        folder,
                    )
            _build(root, wanted)
            return _open(wanted)
    except OSError as error:
        if is_full(error):
            raise DataError(f"{explain_full(folder, 2 * math.prod(wanted.shape))} ({_CHOSEN_BY})") from None
        raise DataError(
            f"the signal cache in {folder} cannot be written ({error}). Free some space, or name another folder "
            f"with {_CHOSEN_BY}"
        ) from None
    except _DamagedError as damaged:
        raise DataError(
            f"the signal cache in {folder} was damaged right after it was written: {damaged}. Check the disk, or "
            f"name another folder with {_CHOSEN_BY}"
        ) from None


@dataclass(frozen=True)
class _Wanted:
    """The location of a cache and the expected content of its files.

    Attributes:
        folder: the folder of the cache's files.
        records: the records' names, relative to the root.
        stamps: the stamp of each record's files; see `CachedReader.stamp`.
        rate: the sampling rate in Hz.
        reader: the reader of the records.
    """

    folder: Path
    records: list[str]
    stamps: list[str]
    rate: int
    reader: CachedReader

    def key_in(self, version: int) -> str:
        """Return the part of the file names that changes with the sources, for one version of the cache's format."""
        sources = (f"{record} {stamp}" for record, stamp in zip(self.records, self.stamps, strict=True))
        settings = [self.reader.settings] if self.reader.settings else []
        return _digest([str(version), str(self.rate), *settings, *sources])[:16]

    @cached_property
    def key(self) -> str:
        """The part of the file names that changes with the sources."""
        return self.key_in(_FORMAT)

    @cached_property
    def present(self) -> list[int]:
        """The indices of the records whose files exist, in the order of the signals' rows."""
        return [index for index, stamp in enumerate(self.stamps) if stamp != MISSING]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (N, 12, T) of the signals."""
        return len(self.present), len(LEADS), self.reader.n_samples

    @property
    def signals(self) -> Path:
        """The path of the signals' file."""
        return self.folder / f"signals-{self.key}.npy"

    @property
    def index(self) -> Path:
        """The path of the index file."""
        return self.folder / f"index-{self.key}.json"

    def content(self, bad: dict[str, str], crc32: int, notes: dict[str, int]) -> dict[str, Any]:
        """Return the expected content of the index."""
        return ({"notes": notes} if notes else {}) | {
            "format": _FORMAT,
            "sampling_rate": self.rate,
            "key": self.key,
            "records": self.present,
            "bad": bad,
            "crc32": crc32,
            "content_hash": _digest([str(self.rate), str(crc32), *(self.records[index] for index in self.present)]),
        }


def _build(root: Path, wanted: _Wanted) -> None:
    """Read and verify every existing record into temporary files, then rename them. The index is renamed last."""
    present, rate, folder = wanted.present, wanted.rate, wanted.folder
    log.info("reading and verifying %d records at %d Hz from %s (once; cached in %s)", len(present), rate, root, folder)
    started = time.perf_counter()
    bad: dict[str, str] = {}
    notes: Counter[str] = Counter()
    temporary = [_temporary(folder, prefix) for prefix in (".signals-", ".index-")]
    try:
        signals_NCT = np.lib.format.open_memmap(temporary[0], mode="w+", dtype=_DTYPE, shape=wanted.shape)
        _take_space(temporary[0])
        reported = started
        for row, index in enumerate(present):
            if time.perf_counter() - reported > INTERVAL_S:
                reported = time.perf_counter()
                log.info("%d of %d records have been read", row, len(present))
            try:
                notes.update({*wanted.reader.read_into(root, wanted.records[index], signals_NCT[row])})
            except (RecordError, OSError) as error:  # the record's row stays, but is never used
                bad[str(index)] = str(getattr(error, "strerror", None) or error)[:_MAX_REASON]
        temporary[1].write_text(_sealed(wanted.content(bad, _crc32(signals_NCT), dict(notes.most_common(_MAX_NOTES)))))
        signals_NCT.flush()
        del signals_NCT
        for source, target in zip(temporary, (wanted.signals, wanted.index), strict=True):
            source.replace(target)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    # Files of other keys and of killed builds are removed. No other process builds while the lock is held.
    for stale in (*folder.glob("signals-*.npy"), *folder.glob("index-*.json"), *folder.glob(".*.tmp")):
        if stale not in (wanted.signals, wanted.index):
            with contextlib.suppress(PermissionError):  # on Windows, if another process has the file open
                stale.unlink(missing_ok=True)
    log.info("read and verified %d records in %.1f s", len(present), time.perf_counter() - started)


def _temporary(folder: Path, prefix: str) -> Path:
    descriptor, path = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=".tmp")
    os.close(descriptor)
    return Path(path)


def _take_space(path: Path) -> None:
    """Reserve the file's space, so that a full disk raises an error here.

    Later, a write to the memory map would end the process by SIGBUS.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _open(wanted: _Wanted) -> SignalCache:
    """Open both files if their content is exactly as expected.

    Raises:
        _DamagedError: a file's content differs.
        FileNotFoundError: there is no index.
    """
    try:
        text = read_regular(wanted.index, _MAX_INDEX_BYTES).decode()
        index = json.loads(text)
        bad, crc32 = index["bad"], index["crc32"]
        notes = index.get("notes", {})
        sealed = _sealed(wanted.content(bad, crc32, notes))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _DamagedError(f"{wanted.index.name} cannot be read ({error})") from None
    except (ValueError, TypeError, LookupError, RecursionError):
        raise _DamagedError(f"{wanted.index.name} is not an index") from None
    if text != sealed:
        raise _DamagedError(f"{wanted.index.name} does not match its digest")
    try:
        signals = _map_signals(wanted.signals, wanted.shape)
    except (OSError, ValueError) as error:
        raise _DamagedError(f"{wanted.signals.name} cannot be read ({error})") from None
    if _crc32(signals) != crc32:
        raise _DamagedError(f"{wanted.signals.name} does not match its checksum")
    reasons = {int(record): reason for record, reason in bad.items()}
    return SignalCache(
        signals_NCT=signals,
        row_of={record: row for row, record in enumerate(wanted.present) if record not in reasons},
        missing=[index for index, stamp in enumerate(wanted.stamps) if stamp == MISSING],
        bad=reasons,
        content_hash=index["content_hash"],
        notes=notes,
    )


def _map_signals(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """Return the memory-mapped signals. The file's header is compared with the expected bytes and never parsed."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(np.dtype(_DTYPE)), "fortran_order": False, "shape": shape}
    )
    expected, n_values = header.getvalue(), math.prod(shape)
    size = path.stat().st_size
    if size != len(expected) + 2 * n_values:
        raise ValueError(f"it holds {size:,} bytes, expected {len(expected) + 2 * n_values:,}")
    with path.open("rb") as file:
        if file.read(len(expected)) != expected:
            raise ValueError("its header was changed")
    return np.memmap(path, dtype=_DTYPE, mode="c", offset=len(expected), shape=shape)


def _crc32(signals: npt.NDArray[np.int16]) -> int:
    checksum = 0
    for first in range(0, len(signals), _CHUNK):
        checksum = zlib.crc32(np.ascontiguousarray(signals[first : first + _CHUNK]).data, checksum)
    return checksum


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _sealed(content: Mapping[str, Any]) -> str:
    """Return the index's text: its content and a digest over it."""
    return json.dumps({**content, "sha256": _digest([json.dumps(content)])})
