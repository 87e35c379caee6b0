"""Files that are written whole or not at all, and errors that name the mount and the bytes when a disk is full."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecg_lightning.errors import DiskFullError, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SAID = ("No space left on device", "Disk quota exceeded")  # messages of libraries that raise no OSError


def is_full(error: BaseException | None) -> bool:
    """Return whether `error`, or an error that caused it, reports a full disk or quota."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in _FULL):
            return True
        if any(said in str(error) for said in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


def leave_full_disks_to_the_main_thread() -> None:
    """Print no traceback when a writer's thread meets a full disk. The main thread meets and reports it as well."""

    def hook(args: threading.ExceptHookArgs) -> None:
        if not is_full(args.exc_value):
            threading.__excepthook__(args)

    threading.excepthook = hook


def explain_full(path: Path, needed: int | None = None) -> str:
    """Return the error sentence for a file that does not fit on the disk.

    Args:
        path: the file, or the folder that it belongs to.
        needed: the file's size in bytes, if it is known.
    """
    folder = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    mount = next(one for one in (folder.resolve(), *folder.resolve().parents) if os.path.ismount(one))
    free = shutil.disk_usage(folder).free
    room = f"{free:,} bytes are free on {mount}"
    reason = room if needed is None else f"it needs {needed:,} bytes, and {room}"
    return (
        f"{path} cannot be written: {reason}. Free some space or name another folder, then run the same command again"
    )


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file whole or not at all. If writing fails, the old file stays and no other file is left behind.

    Raises:
        DiskFullError: the content does not fit.
        OSError: the file cannot be written for another reason.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with explaining_full(path, len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def explaining_full(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn any error that a full disk caused into a DiskFullError with the sentence of `explain_full`.

    Raises:
        DiskFullError: the disk is full.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFullError(explain_full(path, needed)) from error
