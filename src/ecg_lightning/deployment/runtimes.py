"""One way to open a deployed file, run it and see which kernels run, whatever the runtime."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from ecg_lightning.deployment.bounds import MAX_CLASSES, MAX_SAMPLES
from ecg_lightning.deployment.memory_limit import limited_memory
from ecg_lightning.deployment.model_file import check_structure
from ecg_lightning.errors import ConfigError, HardwareUnavailableError, ModelFileError, NotInt8Error
from ecg_lightning.processor import processor_has_bf16

PRECISIONS = ("fp32", "bf16", "int8", "fp8", "2:4")
SUFFIXES = {"torch": (".ckpt",), "onnxruntime": (".onnx",), "openvino": (".xml", ".onnx")}
"""The files that each runtime of a processor opens."""
CUDA_SUFFIXES = {
    **dict.fromkeys(("cuda-eager", "cuda-compile", "cuda-graphs"), (".ckpt",)),
    **dict.fromkeys(("cuda-onnxruntime", "cuda-tensorrt"), (".onnx",)),
}
"""The files that each runtime of a CUDA device opens."""

Floats = npt.NDArray[np.float32]


class Kernel(TypedDict):
    """`count` operations of one kind that ran in one precision.

    `fp32`, `bf16`, `int8` or `fp8`; `unknown` for a device's kernel whose name does not say it.
    """

    op: str
    precision: str
    count: int


class Runtime(Protocol):
    """An opened model.

    Attributes:
        name: `torch`, `onnxruntime` or `openvino`.
        precision: that it was opened with.
        n_samples: samples a lead that it takes.
    """

    name: str
    precision: str
    n_samples: int

    def logits(self, millivolts_BCT: Floats) -> Floats:
        """(B, 12, T) float32 in mV → (B, C) float32."""

    def kernels(self) -> list[Kernel]:
        """The convolutions and matrix products that really run, by kind and precision."""


def open_runtime(
    path: Path, runtime: str, precision: str = "fp32", threads: int = 1, batch: int | None = None
) -> Runtime:
    """Open an exported file, or a checkpoint in torch.

    Args:
        path: .onnx for `onnxruntime` and `openvino`, .xml for `openvino`, .ckpt for `torch`.
        runtime: one of `SUFFIXES` or `CUDA_SUFFIXES`.
        precision: `fp32`, `bf16` or `int8`. With `int8`, which needs a quantized file, OpenVINO computes what is not
            quantized in bfloat16 where the processor has it. In torch, `bf16` is autocast.
        threads: of one call.
        batch: compile for this many records only; OpenVINO is faster so. Others take any number anyway.

    Raises:
        ConfigError: there is no such runtime or precision, or not in this runtime.
        HardwareUnavailableError: the processor has no bfloat16.
        ModelFileError: the file cannot be opened by this runtime.
        MissingPackageError: the runtime is not installed.
    """
    known = SUFFIXES | CUDA_SUFFIXES
    if runtime not in known:
        raise ConfigError(f"runtime {runtime}: allowed are {', '.join(known)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision}: allowed are {', '.join(PRECISIONS)}")
    if precision in ("fp8", "2:4") and runtime not in CUDA_SUFFIXES:
        raise ConfigError(
            f"precision {precision}: only the CUDA runtimes support it. Use one of them, or another precision"
        )
    if precision == "bf16" and runtime == "onnxruntime":
        raise ConfigError(
            "precision bf16: ONNX Runtime has no bf16 kernels on the CPU. Use precision fp32, or the runtime openvino"
        )
    if precision == "bf16" and runtime in SUFFIXES and not processor_has_bf16():
        raise HardwareUnavailableError("precision bf16: this processor has no bfloat16 arithmetic. Use fp32")
    if not path.is_file():
        raise ModelFileError(f"{path} is not there; name an exported .onnx or .xml file")
    if path.suffix == ".pt2":
        raise ModelFileError(
            f"{path} was not opened, because a .pt2 file can run code when it is loaded. Export the model as "
            ".onnx or .xml, or name its .ckpt"
        )
    if path.suffix not in known[runtime]:
        openers = [name for name, suffixes in SUFFIXES.items() if path.suffix in suffixes]
        way_out = f"use {' or '.join(openers)}" if openers else "name an .onnx, .xml or .ckpt file"
        raise ModelFileError(f"{path}: {runtime} opens only {' and '.join(known[runtime])} files; {way_out}")
    check_structure(path)
    opened: Runtime
    if runtime == "openvino":
        from ecg_lightning.deployment.openvino_runtime import OpenVINORuntime

        with limited_memory(files_of(path), batch or 1, threads):
            opened = OpenVINORuntime(path, precision, threads, batch)
    elif runtime == "onnxruntime":
        from ecg_lightning.deployment.onnx_runtime import ONNXRuntime

        with limited_memory(files_of(path), 1, threads):
            opened = ONNXRuntime(path, precision, threads)
    elif runtime in ("cuda-onnxruntime", "cuda-tensorrt"):
        from ecg_lightning.deployment.onnx_runtime import ONNXRuntime

        opened = ONNXRuntime(path, precision, threads, runtime)
    elif runtime in CUDA_SUFFIXES:
        from ecg_lightning.deployment.cuda_runtime import CudaRuntime

        opened = CudaRuntime.load(path, runtime, precision)
    else:
        from ecg_lightning.deployment.torch_runtime import TorchRuntime

        opened = TorchRuntime.load(path, precision, threads)
    return opened


def check_input(path: Path, name: str, shape: list[Any]) -> int:
    """Samples a lead, from the shape that a file's input has.

    Raises:
        ModelFileError: it does not take twelve leads of millivolts.
    """
    is_fixed = [isinstance(size, int) for size in shape]
    if name != "millivolts" or is_fixed != [False, True, True] or shape[1] != 12:
        raise ModelFileError(
            f"{path} has the input {name} of shape {tuple(shape)}, expected millivolts of shape (batch, 12, "
            "samples): it was not exported by ecg_lightning"
        )
    return check_length(path, shape[2])


def check_length(path: Path, n_samples: int) -> int:
    """Return the samples a lead that a model takes, before anything is allocated for them.

    Raises:
        ModelFileError: there are more than any electrocardiogram has.
    """
    if not 1 <= n_samples <= MAX_SAMPLES:
        raise ModelFileError(f"{path} expects {n_samples:,} samples per lead, but at most {MAX_SAMPLES:,} are allowed")
    return n_samples


def check_output(path: Path, name: str, shape: list[Any]) -> None:
    """Refuse a file whose first output is not (batch, classes) logits.

    Args:
        path: of the file.
        name: of the output.
        shape: of the output; no number where a size is not known.

    Raises:
        ModelFileError: it is something else.
    """
    if name != "logits" or len(shape) != 2 or (isinstance(shape[1], int) and shape[1] > MAX_CLASSES):
        raise ModelFileError(
            f"{path} has the first output {name} of shape {tuple(shape)}, expected logits of shape (batch, "
            "classes): it was not exported by ecg_lightning"
        )


def counted(kernels: list[tuple[str, str]]) -> list[Kernel]:
    """(op, precision) pairs → how often each occurs, by name."""
    return [
        Kernel(op=op, precision=precision, count=kernels.count((op, precision)))
        for op, precision in sorted(set(kernels))
    ]


def by_precision(kernels: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many of the products that run do so in each precision."""
    counts: dict[str, int] = {}
    for kernel in kernels:
        counts[kernel["precision"]] = counts.get(kernel["precision"], 0) + kernel["count"]
    return counts


def files_of(path: Path) -> list[Path]:
    """A model's files: OpenVINO's .xml brings its .bin along."""
    return [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]


def sizes_of(path: Path) -> dict[str, int]:
    """`bytes` of a model's files, and `compressed_bytes` after zlib at its default level."""
    files = files_of(path)
    return {"bytes": sum(file.stat().st_size for file in files), "compressed_bytes": sum(map(_compressed, files))}


def _compressed(path: Path) -> int:
    compressor, size = zlib.compressobj(), 0
    with path.open("rb") as file:
        while part := file.read(2**20):
            size += len(compressor.compress(part))
    return size + len(compressor.flush())


def check_quantized(path: Path, precision: str, kernels: list[Kernel]) -> None:
    """Refuse to call a float model int8.

    Raises:
        NotInt8Error: `precision` is int8, and no kernel is.
    """
    if precision == "int8" and not any(kernel["precision"] == "int8" for kernel in kernels):
        raise NotInt8Error(
            f"{path} holds no operation that this runtime computes in int8 on this machine; use fp32 or bf16"
        )


def barely_int8(runtime: Runtime) -> str | None:
    """Why a file that was opened as int8 is not to be called so: less than a quarter of its products is.

    Not in PyTorch, which computes what was asked for: of a dynamic quantization the linear layers alone.
    """
    if runtime.name not in ("onnxruntime", "openvino"):
        return None
    counts = by_precision(runtime.kernels())
    in_int8, n_products = counts.get("int8", 0), sum(counts.values())
    if in_int8 >= n_products / 4:
        return None
    return f"{runtime.name} computes only {in_int8} of {n_products} products of this file in int8"
