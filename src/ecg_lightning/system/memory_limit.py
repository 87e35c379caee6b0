"""A bound for the memory that a model file takes while it is opened and run.

A graph of a few hundred bytes can ask for any amount: one operation repeats a number 2^40 times, by a shape that is
computed while it runs. So the system's own limit is set, which both runtimes report as an error.
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
"""Bytes of the intermediate results; our largest networks take 5 MB."""
_PER_THREAD = 16 * 2**20
_PER_FILE_BYTE = 8
"""Copies of the weights: as they are read, as they are stored, and as each kernel wants them."""
_SAID = ("bad_alloc", "bad allocation", "allocate", "bfc_arena")  # by runtimes that got no memory
_STATUS = Path("/proc/self/status")


@contextlib.contextmanager
def limited_memory(paths: list[Path], n_records: int, n_threads: int | None = None) -> Iterator[None]:
    """Let this process take only as much more memory as a good model needs; where the system cannot, without limit.

    Args:
        paths: the model's files.
        n_records: in one call.
        n_threads: of the runtime; None: one for each core.
    """
    if resource is None or not _STATUS.is_file():  # Linux alone counts so
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
    """Return whether a runtime's error says that it got no memory."""
    return any(said in str(error) for said in _SAID)
