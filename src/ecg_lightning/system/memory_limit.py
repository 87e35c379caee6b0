"""A limit for the memory that a model file needs while it is opened and run.

A graph of a few hundred bytes can ask for any amount. One operation can repeat a number 2^40 times, with a shape that
is computed at run time. This module therefore sets the system's own limit, which both runtimes report as an error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

_BASE = 400 * 2**20
_PER_RECORD = 64 * 2**20
"""Bytes of the intermediate results. The project's largest networks need 5 MB."""
_PER_THREAD = 16 * 2**20
_PER_FILE_BYTE = 8
"""Copies of the weights: as read, as stored, and as each kernel needs them."""
_SAID = ("bad_alloc", "bad allocation", "allocate", "bfc_arena")  # messages of runtimes that got no memory
_STATUS = Path("/proc/self/status")


@contextlib.contextmanager
def limited_memory(paths: list[Path], n_records: int, n_threads: int | None = None) -> Iterator[None]:
    """Limit the memory that this process may add within the block to what a good model needs.

    Only Linux has this limit; elsewhere the block runs without one.

    Args:
        paths: the model's files.
        n_records: the number of records in one call.
        n_threads: the runtime's threads; None stands for one per core.
    """
    if resource is None or not _STATUS.is_file():  # only Linux counts memory this way
        yield
        return

    taken = int(_STATUS.read_text().split("VmData:")[1].split()[0]) * 1024
    size = sum(path.stat().st_size for path in paths if path.is_file())
    n_threads = n_threads or os.cpu_count() or 1
    most = taken + _BASE + _PER_RECORD * n_records + _PER_THREAD * n_threads + _PER_FILE_BYTE * size
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [most, *(one for one in (before, hard) if one != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def lacked_memory(error: Exception) -> bool:
    """Return whether a runtime's error reports a lack of memory."""
    return any(said in str(error) for said in _SAID)
