"""Opening of files from elsewhere. Only regular files are opened, so that no pipe or device is ever read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ecg_lightning.data.wfdb import RecordError
from ecg_lightning.system.regular_files import OPEN_FLAGS

_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def open_regular(path: Path) -> tuple[BinaryIO, int]:
    """Open a regular file and return it with its size in bytes.

    The kind of the open descriptor is checked, so that the file cannot be exchanged in between.

    Raises:
        RecordError: the path is a folder, a pipe, a socket or a device.
        OSError: the file does not exist or may not be read.
    """
    descriptor = os.open(path, OPEN_FLAGS)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "a device")
        raise RecordError(f"{path.name} is {kind}, not a file")
    return os.fdopen(descriptor, "rb"), found.st_size
