"""The recordings that command-line arguments name: files, folders, and patterns that the shell has not expanded."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from ecg_lightning.data.recordings import csv_record, wfdb_record
from ecg_lightning.errors import DataError

_WITHOUT_RATE = (*csv_record.SUFFIXES, ".npy")


def find_recordings(words: Sequence[str], rate: float | None) -> list[Path]:
    """Return the recordings that the arguments name, each once.

    Args:
        words: files, folders (searched with all folders in them), and patterns such as `DIR/*.hea`.
        rate: the sampling rate of tables and .npy files. Without it, a folder's .npy files are left out, and so are its
            tables if it holds WFDB records.

    Raises:
        DataError: a folder or a pattern holds no recording.
    """
    found: dict[Path, Path] = {}  # WFDB records by their name without the suffix
    for word in words:
        for path in _named_by(word, rate):
            is_wfdb = path.suffix.lower() in wfdb_record.SUFFIXES
            found.setdefault(path.with_suffix("") if is_wfdb else path, path)
    return [*found.values()]


def _named_by(word: str, rate: float | None) -> Iterable[Path]:
    path = Path(word).expanduser()
    if path.is_dir() and not any(Path(f"{path}{suffix}").is_file() for suffix in (".hea", ".HEA")):
        return _in_folder(path, rate)
    if not set("*?[") & {*word} or path.exists():
        return [path]
    named = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 - `Path.glob` accepts no absolute pattern
    matched = sorted(named, key=lambda one: (one.suffix != ".hea", one))
    if not matched:
        raise DataError(f"{word}: no file matches this pattern")
    return matched


def _in_folder(folder: Path, rate: float | None) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if not path.name.startswith("."))
    headers = [path for path in files if path.suffix.lower() == ".hea"]
    others = [path for path in files if path.suffix.lower() in _WITHOUT_RATE]
    if rate is not None:
        headers += others
    if headers:
        return headers
    if tables := [path for path in others if path.suffix.lower() != ".npy"]:
        return tables
    if others:
        raise DataError(
            f"{folder} holds {len(others):,} .npy files, which do not state their sampling rate; give it with "
            "--rate HZ, in Python with fs=HZ"
        )
    raise DataError(f"{folder} holds no recording: no WFDB header (.hea), table (.csv, .tsv, .txt) or .npy file")
