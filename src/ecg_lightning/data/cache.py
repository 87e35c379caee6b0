"""The signal cache: every verified record of one PTB-XL folder and rate, as one int16 array on disk.

Layout: `<cache>/<folder name>-<hash of its path>/<rate>hz/` holds `signals-<key>.npy` (N, 12, T) in units of 1 µV
and `index-<key>.json`. The key changes with any source file's size, time or mode, so a changed source is read anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import numpy.typing as npt

from ecg_lightning.data.wfdb import DURATION_S, LEADS, RecordError, RecordReader, record_path
from ecg_lightning.errors import DataError

log = logging.getLogger(__name__)

_FORMAT = 1
_CHUNK = 512  # records hashed at a time


@dataclass(frozen=True)
class SignalCache:
    """Signals of the good records, and why the others are left out.

    Attributes:
        signals_NCT: int16 (N, 12, T), 1 µV a unit; memory-mapped, copy-on-write.
        row_of: record index in the asked table → row of `signals_NCT`, for the good records.
        missing: record indices whose files are not there.
        bad: record index → reason, for the records that were refused.
        content_hash: SHA-256 over the signals' checksum and the records' names.
    """

    signals_NCT: npt.NDArray[np.int16]
    row_of: dict[int, int]
    missing: list[int]
    bad: dict[int, str]
    content_hash: str


def default_cache_dir() -> Path:
    """`$ECG_LIGHTNING_CACHE`, else `ecg_lightning` in the user's cache folder."""
    if chosen := os.environ.get("ECG_LIGHTNING_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecg_lightning"


def open_cache(root: Path, records: Sequence[str], sampling_rate: int, cache_dir: Path) -> SignalCache:
    """Open the cache of `records` (names relative to `root`, without suffix), reading them first where needed.

    Concurrent processes build it once: the first one builds, the others wait and open the same file. At least one
    record must be there.

    Raises:
        DataError: the cache folder cannot be written, or a cached file was damaged.
    """
    stamps = [_stamp(root, record) for record in records]
    missing = [index for index, stamp in enumerate(stamps) if stamp == "missing"]
    key = _digest([str(_FORMAT), str(sampling_rate), *(f"{r} {s}" for r, s in zip(records, stamps, strict=True))])[:16]
    resolved = root.resolve()
    folder = cache_dir / f"{resolved.name}-{_digest([str(resolved)])[:8]}" / f"{sampling_rate}hz"
    index_path = folder / f"index-{key}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock"):
            if not index_path.exists():
                present = [index for index, stamp in enumerate(stamps) if stamp != "missing"]
                _build(root, records, present, sampling_rate, folder, key)
    except OSError as error:
        raise DataError(
            f"the signal cache in {folder} cannot be written ({error}); free some space, or name another folder "
            "with data.cache_dir=DIR"
        ) from None
    return _open(index_path, missing)


def _stamp(root: Path, record: str) -> str:
    try:
        path = record_path(root, record)
    except RecordError:
        return "refused"  # _build names the reason
    try:
        files = [os.stat(path + suffix) for suffix in (".hea", ".dat")]  # noqa: PTH116 - 44,000 of them
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "refused"
    # The mode, so that a record that was refused for lack of permission is read once it may be.
    return " ".join(f"{file.st_size} {file.st_mtime_ns} {file.st_mode}" for file in files)


def _build(root: Path, records: Sequence[str], present: list[int], rate: int, folder: Path, key: str) -> None:
    """Read and verify every present record into a temporary file, then give it its name; the index comes last."""
    log.info("reading and verifying %d records at %d Hz from %s (once; cached in %s)", len(present), rate, root, folder)
    started = time.perf_counter()
    reader = RecordReader(rate)
    bad: dict[int, str] = {}
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".signals-", suffix=".tmp")
    os.close(descriptor)
    try:
        shape = (len(present), len(LEADS), DURATION_S * rate)
        signals_NCT = np.lib.format.open_memmap(temporary, mode="w+", dtype="<i2", shape=shape)
        _take_space(Path(temporary))
        for row, index in enumerate(present):
            try:
                reader.read_into(record_path(root, records[index]), signals_NCT[row])
            except (RecordError, OSError) as error:
                bad[index] = str(error)  # its row stays, and is never looked at
        checksum = _crc32(signals_NCT)
        signals_NCT.flush()
        del signals_NCT
        Path(temporary).replace(folder / f"signals-{key}.npy")
    finally:
        Path(temporary).unlink(missing_ok=True)
    content = {
        "format": _FORMAT,
        "sampling_rate": rate,
        "records": present,
        "bad": bad,
        "crc32": checksum,
        "content_hash": _digest([str(rate), str(checksum), *(records[index] for index in present)]),
    }
    _write_atomically(folder / f"index-{key}.json", json.dumps(content))
    # Other keys' files, and what killed builds left: nobody else builds while the lock is held.
    for stale in (*folder.glob("signals-*.npy"), *folder.glob("index-*.json"), *folder.glob(".*.tmp")):
        if key not in stale.name or stale.suffix == ".tmp":
            stale.unlink(missing_ok=True)
    log.info("read and verified %d records in %.1f s", len(present), time.perf_counter() - started)


def _take_space(path: Path) -> None:
    """Let a full disk raise here: later, a write to the memory map would end the process by SIGBUS."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _open(index_path: Path, missing: list[int]) -> SignalCache:
    try:
        index = json.loads(index_path.read_text())
        signals = np.load(
            index_path.with_name(index_path.name.replace("index-", "signals-")).with_suffix(".npy"),
            mmap_mode="c",
            allow_pickle=False,
        )
        intact = len(signals) == len(index["records"]) and _crc32(signals) == index["crc32"]
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{index_path} cannot be read ({error}); remove that folder, it is made anew") from None
    if not intact:
        raise DataError(f"the cached signals beside {index_path} were damaged; remove that folder, it is made anew")
    bad = {int(record): reason for record, reason in index["bad"].items()}
    return SignalCache(
        signals_NCT=signals,
        row_of={record: row for row, record in enumerate(index["records"]) if record not in bad},
        missing=missing,
        bad=bad,
        content_hash=index["content_hash"],
    )


def _crc32(signals: npt.NDArray[np.int16]) -> int:
    checksum = 0
    for first in range(0, len(signals), _CHUNK):
        checksum = zlib.crc32(np.ascontiguousarray(signals[first : first + _CHUNK]).data, checksum)
    return checksum


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
