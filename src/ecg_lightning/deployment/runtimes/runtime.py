"""What every runtime of a deployed file is, and what they check and count alike."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from ecg_lightning.deployment.bounds import MAX_CLASSES, MAX_SAMPLES
from ecg_lightning.errors import ModelFileError, NotInt8Error

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
