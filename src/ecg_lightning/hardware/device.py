"""From a hardware profile to threads, precision and a Trainer's device, checked against this machine."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import StrategyRegistry
from torch import nn

from ecg_lightning.errors import ConfigError, HardwareUnavailableError, did_you_mean
from ecg_lightning.hardware.processor import default_threads, describe_processor, processor_has_bf16
from ecg_lightning.hardware.schema import HardwareConfig


def prepare(hardware: HardwareConfig) -> dict[str, Any]:
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
    torch.set_num_threads(hardware.threads or default_threads())
    turn_tf32_off()
    return {
        "accelerator": hardware.accelerator,
        "devices": hardware.devices,
        "strategy": hardware.strategy,
        "precision": resolve_precision(hardware.precision, hardware.accelerator),
    }


def turn_tf32_off() -> None:
    """fp32 is to be what it says, trained, scored or timed; convolutions on a device default to TF32."""
    torch.backends.cudnn.allow_tf32 = False


def resolve_precision(precision: str, accelerator: str) -> str:
    """`auto` takes bfloat16 only where the processor computes with it in hardware."""
    if precision == "auto":
        return "bf16-mixed" if has_bf16(accelerator) else "32-true"
    return precision


def has_bf16(accelerator: str) -> bool:
    """Whether matrix products run in bfloat16 in hardware: AMX or AVX512-BF16 on x86, BF16 on Arm, Ampere on CUDA."""
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return processor_has_bf16()


def to_channels_last(network: nn.Module) -> None:
    """Put the weights into the order that convolutions run fastest in, where they can be trained so.

    For the gradient of a 1×1 convolution with strides and fewer inputs than a vector holds oneDNN writes outside of its
    memory (its issue 6035; AVX2 and AVX-512), which ends the process: a network with one is left as it is.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if convolutions:
        narrow = any(
            one.kernel_size == (1, 1) and max(one.stride) > 1 and 1 < one.in_channels < 16 for one in convolutions
        )
    else:  # an exported graph, whose weights do not tell their strides
        narrow = any(
            weight.ndim == 4 and weight[0, 0].numel() == 1 < len(weight[0]) < 16 for weight in network.parameters()
        )
    if not narrow:
        network.to(memory_format=torch.channels_last)


def describe_host() -> dict[str, Any]:
    """The machine as results name it: no host name, no path."""
    return {**describe_processor(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}
