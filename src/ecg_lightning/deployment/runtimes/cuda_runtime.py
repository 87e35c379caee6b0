"""A checkpoint on a CUDA device: PyTorch eager, compiled or as a CUDA graph, and torchao's low-precision products."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.deployment.missing import fill_missing, mark_missing
from ecg_lightning.deployment.runtimes.runtime import Floats, Kernel, counted
from ecg_lightning.errors import HardwareUnavailableError
from ecg_lightning.hardware.device import turn_tf32_off
from ecg_lightning.models.classifier import ECGClassifier

_MODES = {"cuda-eager": None, "cuda-compile": "max-autotune-no-cudagraphs", "cuda-graphs": "reduce-overhead"}
_FP8_CAPABILITY = (8, 9)  # Ada and Hopper
_LEAST_FEATURES = 64  # narrower products gain nothing, and their shapes do not fit the kernels
_KERNELS = ("nvjet", "gemm", "conv", "cutlass", "cudnn", "xmma", "sm80", "sm90", "attention", "flash", "triton_tem")
_PRECISIONS = {
    "int8": ("s8", "i8", "imma", "int8"),
    "fp8": ("e4m3", "fp8", "float8", "nvjet_qq"),
    "bf16": ("bf16", "bfloat16", "nvjet_t"),  # cuBLAS names its kernels by the letters of their types
    "fp32": ("sgemm", "simt", "f32f32", "fp32", "nvjet_s"),
}


class CudaRuntime:
    """A network in `precision` on a CUDA device, with its images in float32; see `runtimes.Runtime`.

    Times include both copies between the host and the device.

    Args:
        classifier: a float classifier.
        name: `cuda-eager`, `cuda-compile` or `cuda-graphs`.
        precision: `fp32` or `bf16`; `int8` or `fp8` for products of the linear layers; `2:4` for half of their weights
            zero.
        device: a CUDA device; tests run the same code on a CPU.
    """

    def __init__(self, classifier: ECGClassifier, name: str, precision: str, device: str = "cuda") -> None:
        self.name = name
        self.precision = precision
        self.n_samples: int = classifier.description["n_samples"]
        self._device = device
        self._dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        turn_tf32_off()
        own = copy.deepcopy(classifier).eval().to(device)
        self._frontend = own.frontend
        network = own.network.to(self._dtype).to(memory_format=torch.channels_last)
        _lower(network, precision)
        self._network = network if _MODES[name] is None else torch.compile(network, mode=_MODES[name])

    @classmethod
    def load(cls, path: Path, name: str, precision: str) -> CudaRuntime:
        """Return the opened checkpoint of this project.

        Raises:
            HardwareUnavailableError: there is no CUDA device, it has no such products, or the network has no such
                layers.
            CheckpointError: see `checkpoints.loading.load_classifier`.
        """
        from ecg_lightning.checkpoints.loading import load_classifier

        if not torch.cuda.is_available():
            raise HardwareUnavailableError(f"{name}: this machine has no CUDA device that PyTorch can use")
        if precision == "fp8" and torch.cuda.get_device_capability() < _FP8_CAPABILITY:
            raise HardwareUnavailableError(
                f"{name} fp8: {torch.cuda.get_device_name()} cannot compute in fp8. Use another precision"
            )
        return cls(load_classifier(path), name, precision)

    def logits(self, millivolts_BCT: Floats) -> Floats:
        """Return (B, C) float32 logits of (B, 12, T) float32 mV; NaN for each record with missing samples."""
        with torch.inference_mode():
            filled, complete = fill_missing(torch.from_numpy(millivolts_BCT).to(self._device))
            image = self._frontend.represent_as_is(filled)
            logits: torch.Tensor = self._network(image.to(self._dtype))
            return np.asarray(mark_missing(logits.float(), complete).cpu().numpy())

    def kernels(self) -> list[Kernel]:
        """Return the device's own names of the kernels that ran, with their precisions."""
        record = np.zeros((1, 12, self.n_samples), dtype=np.float32)
        self.logits(record)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as profiler:
            self.logits(record)
        on_device = [event.name for event in profiler.events() if "CUDA" in str(event.device_type)]
        return counted([_kind(name) for name in on_device if any(word in name.lower() for word in _KERNELS)])


def _lower(network: nn.Module, precision: str) -> None:
    """Replace the weights of wide linear layers by torchao's int8, fp8 or 2:4 weights, in place."""
    if precision in ("fp32", "bf16"):
        return

    def wide(module: nn.Module, _: str) -> bool:
        return (
            isinstance(module, nn.Linear)
            and module.in_features % _LEAST_FEATURES == 0
            and module.out_features % _LEAST_FEATURES == 0
        )

    if not any(wide(module, "") for module in network.modules()):
        raise HardwareUnavailableError(
            f"{precision} needs wide linear layers, and this network has none. Use precision fp32 or bf16"
        )
    if precision == "2:4":
        sparsity: Any = import_extra("torchao.sparsity")
        _prune_2_of_4(network, wide)
        sparsity.sparsify_(network, sparsity.semi_sparse_weight(), filter_fn=wide)
        return
    quantization: Any = import_extra("torchao.quantization")
    recipe = (
        quantization.Int8DynamicActivationInt8WeightConfig()
        if precision == "int8"
        else quantization.Float8DynamicActivationFloat8WeightConfig(granularity=quantization.PerRow())
    )
    quantization.quantize_(network, recipe, filter_fn=wide)


def _prune_2_of_4(network: nn.Module, wide: Any) -> None:
    """Set the two smallest of every four neighbouring weights to zero, the pattern that Ampere's products skip."""
    for name, module in network.named_modules():
        if wide(module, name):
            with torch.no_grad():
                quads = module.weight.view(-1, 4)
                smallest = quads.abs().argsort(dim=1)[:, :2]
                quads.scatter_(1, smallest, 0.0)


def _kind(name: str) -> tuple[str, str]:
    lower = name.lower()
    for precision, marks in _PRECISIONS.items():
        if any(mark in lower for mark in marks):
            return name[:60], precision
    return name[:60], "unknown"
