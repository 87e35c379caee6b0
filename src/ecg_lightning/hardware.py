"""From a hardware profile to threads, precision and a Trainer's device, checked against this machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import StrategyRegistry
from omegaconf import DictConfig

from ecg_lightning.config import did_you_mean
from ecg_lightning.errors import ConfigError, HardwareUnavailableError


def prepare(hardware: DictConfig) -> dict[str, Any]:
    """Set the threads and give the Trainer's arguments.

    Raises:
        HardwareUnavailableError: this machine has no such accelerator.
        ConfigError: Lightning has no such strategy.
    """
    strategies = ["auto", *StrategyRegistry.available_strategies()]
    if hardware.strategy not in strategies:
        raise ConfigError(
            f"hardware.strategy={hardware.strategy}: allowed are {', '.join(strategies)}."
            f"{did_you_mean(hardware.strategy, strategies)}"
        )
    if hardware.accelerator == "cuda" and not torch.cuda.is_available():
        raise HardwareUnavailableError(
            "hardware=cuda: this machine has no CUDA device that PyTorch can use; use hardware=cpu"
        )
    torch.set_num_threads(hardware.threads or available_cores())
    return {
        "accelerator": hardware.accelerator,
        "devices": hardware.devices,
        "strategy": hardware.strategy,
        "precision": resolve_precision(hardware.precision, hardware.accelerator),
    }


def resolve_precision(precision: str, accelerator: str) -> str:
    """`auto` takes bfloat16 only where the processor computes with it in hardware."""
    if precision == "auto":
        return "bf16-mixed" if has_bf16(accelerator) else "32-true"
    return precision


def has_bf16(accelerator: str) -> bool:
    """Whether matrix products run in bfloat16 in hardware: AMX or AVX512-BF16 on x86, BF16 on Arm, Ampere on CUDA."""
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(processor_features() & {"amx_bf16", "avx512_bf16", "bf16"})


def processor_features() -> set[str]:
    """The processor's flags, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":")[1].split()}


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_host() -> dict[str, Any]:
    """The machine as results name it: no host name, no path."""
    name = platform.processor() or platform.machine()
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
        name = next(line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
        memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024**2
    except (OSError, StopIteration, ValueError):
        memory = None
    features = sorted(processor_features() & {"amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx2"})
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": name,
        "cores": available_cores(),
        "memory_gib": memory,
        "features": features,
        "gpu": gpu,
        "system": platform.system(),
    }
