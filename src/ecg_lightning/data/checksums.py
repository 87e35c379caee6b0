"""The checksum list `SHA256SUMS.txt`, and the comparison of a folder's files with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ecg_lightning.data.wfdb import RecordError, record_path
from ecg_lightning.system.regular_files import read_regular

SUMS_NAME = "SHA256SUMS.txt"

MAX_FILE_BYTES = 64 * 2**20
"""The largest size of a file that is read. PTB-XL's largest, its table, has 6.6 MB."""

_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S.*?)[ \t]*")  # PTB-XL has one space, sha256sum two, or one and a star


@dataclass
class ChecksumList:
    """The lines of a checksum list.

    Attributes:
        digests: path below the folder → SHA-256, in lower case.
        malformed: lines that do not parse, or that give a path another digest than an earlier line does.
        outside: paths that lead out of the folder; they are not read.
    """

    digests: dict[str, str] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@dataclass
class Compared:
    """The result of comparing a folder with its checksum list.

    Attributes:
        matching: the number of files that match the list.
        changed: files that differ from the list.
        unreadable: files that cannot be read, with the reason.
        absent: files that do not exist.
    """

    matching: int = 0
    changed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def read_checksums(root: Path) -> ChecksumList | None:
    """Return a folder's checksum list, or None if the folder has none.

    Raises:
        OSError: the list cannot be read.
    """
    try:
        text = read_regular(root / SUMS_NAME, MAX_FILE_BYTES).decode("utf-8-sig", errors="backslashreplace")
    except FileNotFoundError:
        return None
    found = ChecksumList()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            found.malformed.append(f"line {number}: {line[:60]!r}")
            continue
        digest, path = match[1].lower(), match[2].replace("\\", "/").removeprefix("./")
        try:
            record_path(root, path)
        except RecordError:
            found.outside.append(path)
            continue
        if found.digests.setdefault(path, digest) != digest:
            found.malformed.append(f"line {number}: another digest of {path}")
    return found


def compare(root: Path, digests: dict[str, str], track: Callable[[Iterable[str]], Iterable[str]] = iter) -> Compared:
    """Compare files with their digests. `track` may show the progress over their paths."""
    found = Compared()
    for path in track(digests):
        try:
            content = read_regular(root / path, MAX_FILE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            found.absent.append(path)
        except OSError as error:
            found.unreadable.append(f"{path}: {error.strerror or error}")
        else:
            if hashlib.sha256(content).hexdigest() == digests[path]:
                found.matching += 1
            else:
                found.changed.append(path)
    return found
