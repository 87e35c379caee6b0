"""The processor of this machine and its abilities. Nothing here imports PyTorch, so deployed files need none."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

_n_sharing = 1  # the number of processes that share the cores


def processor_features() -> set[str]:
    """Return the processor's flags by their Linux names; the set is empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":")[1].split()}


def processor_has_bf16() -> bool:
    """Return whether the processor multiplies in bfloat16 in hardware: AMX or AVX512-BF16 on x86, BF16 on Arm."""
    return bool(processor_features() & {"amx_bf16", "avx512_bf16", "bf16"})


def processor_has_int8() -> bool:
    """Return whether the processor sums int8 products in hardware: VNNI or AMX on x86, I8MM on Arm.

    Without this, kernels may round differently.
    """
    return bool(processor_features() & {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"})


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(n_processes: int) -> None:
    """Limit this process to its share of the cores by default, because similar processes run at the same time."""
    global _n_sharing
    _n_sharing = n_processes


def default_threads() -> int:
    """Return the default number of threads of a process."""
    return max(1, available_cores() // _n_sharing)


def describe_processor() -> dict[str, Any]:
    """Return the description of the machine without its GPU, for results. It holds no host name and no path."""
    name, memory = platform.processor() or platform.machine(), None
    with contextlib.suppress(OSError, StopIteration):  # not on Linux, or an Arm processor, which has no such line
        cpuinfo = Path("/proc/cpuinfo").read_text()
        name = next(line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    with contextlib.suppress(OSError, ValueError):
        memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024**2
    features = sorted(processor_features() & {"amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx2"})
    return {
        "cpu": name,
        "cores": available_cores(),
        "memory_gib": memory,
        "features": features,
        "system": platform.system(),
    }
