"""A hardware profile turned into threads, precision and a Trainer's device, and checked against this machine."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import StrategyRegistry
from torch import nn

from ecg_lightning.errors import ConfigError, HardwareUnavailableError, did_you_mean
from ecg_lightning.hardware.processor import default_threads, describe_processor, processor_has_bf16
from ecg_lightning.hardware.schema import HardwareConfig


def prepare(hardware: HardwareConfig) -> dict[str, Any]:
    """Set the threads, turn TF32 off, and return the Trainer's arguments.

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
    torch.set_num_threads(hardware.threads or default_threads())
    turn_tf32_off()
    return {
        "accelerator": hardware.accelerator,
        "devices": hardware.devices,
        "strategy": hardware.strategy,
        "precision": resolve_precision(hardware.precision, hardware.accelerator),
    }


def turn_tf32_off() -> None:
    """Turn TF32 off, so that fp32 training, scores and times are true fp32. On a GPU, convolutions default to TF32."""
    torch.backends.cudnn.allow_tf32 = False


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return Lightning's precision. `auto` becomes bfloat16 only if the processor computes it in hardware."""
    if precision == "auto":
        return "bf16-mixed" if has_bf16(accelerator) else "32-true"
    return precision


def has_bf16(accelerator: str) -> bool:
    """Return whether hardware multiplies matrices in bfloat16: AMX or AVX512-BF16 (x86), BF16 (Arm), Ampere (CUDA)."""
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return processor_has_bf16()


def to_channels_last(network: nn.Module) -> None:
    """Store the weights in the order in which convolutions run fastest, if the network can be trained that way.

    A network is left as it is if it holds a strided 1×1 convolution with fewer inputs than a vector register holds. For
    that convolution's gradient, oneDNN writes outside its memory, which ends the process (oneDNN issue 6035; AVX2 and
    AVX-512).
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if convolutions:
        narrow = any(
            one.kernel_size == (1, 1) and max(one.stride) > 1 and 1 < one.in_channels < 16 for one in convolutions
        )
    else:  # an exported graph's weights do not show their strides
        narrow = any(
            weight.ndim == 4 and weight[0, 0].numel() == 1 < len(weight[0]) < 16 for weight in network.parameters()
        )
    if not narrow:
        network.to(memory_format=torch.channels_last)


def describe_host() -> dict[str, Any]:
    """Return the description of the machine for results. It holds no host name and no path."""
    return {**describe_processor(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}
