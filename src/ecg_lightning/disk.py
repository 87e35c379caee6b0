"""A full disk, in words: what could not be written, on which mount, and how many bytes are missing."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from ecg_lightning.errors import DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SAID = ("No space left on device", "Disk quota exceeded")  # by libraries that raise no OSError of their own


def is_full(error: BaseException | None) -> bool:
    """Return whether `error`, or what caused it, is a disk or a quota that is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if (isinstance(error, OSError) and error.errno in _FULL) or any(said in str(error) for said in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


def explain_full(path: Path, needed: int | None = None) -> str:
    """Return the sentence for a file that did not fit.

    Args:
        path: the file, or the folder that it belongs to.
        needed: bytes that the file takes, where that is known.
    """
    folder = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    mount = next(one for one in (folder.resolve(), *folder.resolve().parents) if os.path.ismount(one))
    free = shutil.disk_usage(folder).free
    room = f"{free:,} bytes are free on {mount}"
    reason = room if needed is None else f"it needs {needed:,} bytes, and {room}"
    return (
        f"{path} cannot be written: {reason}. Free some space or name another folder, then run the same command again"
    )


def write_whole(path: Path, content: str) -> None:
    """Write a text file whole or not at all; the file that was there stays where that fails.

    Raises:
        DiskFullError: it does not fit.
        OSError: it cannot be written for another reason.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if is_full(error):
            raise DiskFullError(explain_full(path, len(content.encode()))) from error
        raise
