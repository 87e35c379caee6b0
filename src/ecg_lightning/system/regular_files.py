"""Regular files of a limited size. A folder from elsewhere may hold a pipe, a device link or an endless file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags for `os.open`. Without `O_NONBLOCK`, opening a pipe waits for a writer; regular files ignore the flag.

Windows has no such pipes. Without `O_BINARY` it would change line ends.
"""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(file: int | str, name: str = "it") -> None:
    """Refuse anything but a regular file.

    Args:
        file: the file's descriptor or path.
        name: the file's name in the error message.

    Raises:
        OSError: the file is a directory, a pipe or a device, or does not exist.
    """
    kind = stat.S_IFMT(os.stat(file).st_mode)  # noqa: PTH116 - a descriptor, too
    if kind != stat.S_IFREG:
        raise OSError(f"{name} is {_KINDS.get(kind, 'a special file')}, not a regular file")


def read_regular(path: str | Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: the file cannot be read, is not a regular file, or is larger than `limit`.
    """
    with os.fdopen(os.open(path, OPEN_FLAGS), "rb") as file:
        check_regular(file.fileno())
        size = os.fstat(file.fileno()).st_size
        content = file.read(limit + 1) if size <= limit else b""
    if max(size, len(content)) > limit:
        raise OSError(f"it holds {max(size, len(content)):,} bytes, more than the {limit:,} that are read")
    return content
