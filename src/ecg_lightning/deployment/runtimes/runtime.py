"""The interface of every runtime of a deployed file, and checks and counts that runtimes share."""

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
"""The suffixes of the files that each runtime of a processor opens."""


CUDA_SUFFIXES = {
    **dict.fromkeys(("cuda-eager", "cuda-compile", "cuda-graphs"), (".ckpt",)),
    **dict.fromkeys(("cuda-onnxruntime", "cuda-tensorrt"), (".onnx",)),
}
"""The suffixes of the files that each runtime of a CUDA device opens."""


Floats = npt.NDArray[np.float32]


class Kernel(TypedDict):
    """`count` operations of one kind that ran in one precision.

    The precision is `fp32`, `bf16`, `int8` or `fp8`; `unknown` for a device's kernel whose name does not contain it.
    """

    op: str
    precision: str
    count: int


class Runtime(Protocol):
    """An opened model.

    Attributes:
        name: name of the runtime: `torch`, `onnxruntime` or `openvino`.
        precision: precision that it was opened with.
        n_samples: samples a lead of its input.
    """

    name: str
    precision: str
    n_samples: int

    def logits(self, millivolts_BCT: Floats) -> Floats:
        """Return (B, C) float32 logits of (B, 12, T) float32 mV."""

    def kernels(self) -> list[Kernel]:
        """Return the convolutions and matrix products that really run, by kind and precision."""


def check_input(path: Path, name: str, shape: list[Any]) -> int:
    """Return the samples a lead, from the shape of a file's input.

    Raises:
        ModelFileError: the input is not twelve leads of millivolts.
    """
    is_fixed = [isinstance(size, int) for size in shape]
    if name != "millivolts" or is_fixed != [False, True, True] or shape[1] != 12:
        raise ModelFileError(
            f"{path} has the input {name} of shape {tuple(shape)}, expected millivolts of shape (batch, 12, "
            "samples): it was not exported by ecg_lightning"
        )
    return check_length(path, shape[2])


def check_length(path: Path, n_samples: int) -> int:
    """Return the samples a lead of a model's input, checked before anything is allocated for them.

    Raises:
        ModelFileError: there are more than any electrocardiogram has.
    """
    if not 1 <= n_samples <= MAX_SAMPLES:
        raise ModelFileError(f"{path} expects {n_samples:,} samples per lead, but at most {MAX_SAMPLES:,} are allowed")
    return n_samples


def check_output(path: Path, name: str, shape: list[Any]) -> None:
    """Refuse a file whose first output is not (batch, classes) logits.

    Args:
        path: path of the file.
        name: name of the output.
        shape: shape of the output; a size that is not known is not an int.

    Raises:
        ModelFileError: the output is something else.
    """
    if name != "logits" or len(shape) != 2 or (isinstance(shape[1], int) and shape[1] > MAX_CLASSES):
        raise ModelFileError(
            f"{path} has the first output {name} of shape {tuple(shape)}, expected logits of shape (batch, "
            "classes): it was not exported by ecg_lightning"
        )


def counted(kernels: list[tuple[str, str]]) -> list[Kernel]:
    """Return how often each (op, precision) pair occurs, sorted by name."""
    return [
        Kernel(op=op, precision=precision, count=kernels.count((op, precision)))
        for op, precision in sorted(set(kernels))
    ]


def by_precision(kernels: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of products that run in each precision."""
    counts: dict[str, int] = {}
    for kernel in kernels:
        counts[kernel["precision"]] = counts.get(kernel["precision"], 0) + kernel["count"]
    return counts


def files_of(path: Path) -> list[Path]:
    """Return a model's files. An OpenVINO .xml includes its .bin."""
    return [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]


def sizes_of(path: Path) -> dict[str, int]:
    """Return `bytes` of a model's files, and `compressed_bytes` after zlib at its default level."""
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
        NotInt8Error: `precision` is int8, but no kernel is.
    """
    if precision == "int8" and not any(kernel["precision"] == "int8" for kernel in kernels):
        raise NotInt8Error(
            f"{path} holds no operation that this runtime computes in int8 on this machine; use fp32 or bf16"
        )


def barely_int8(runtime: Runtime, n_in_network: int | None = None) -> str | None:
    """Return why a file that was opened as int8 is not int8: less than a quarter of its products are. None if it is.

    PyTorch is not checked, because it computes as asked: in dynamic quantization only the linear layers are int8.

    Args:
        runtime: the runtime that opened the file.
        n_in_network: number of products of the network alone, if it is known. The front end's are never in int8.
    """
    if runtime.name not in ("onnxruntime", "openvino"):
        return None
    counts = by_precision(runtime.kernels())
    in_int8, n_products = counts.get("int8", 0), sum(counts.values())
    if in_int8 >= min(n_products, n_in_network or n_products) / 4:
        return None
    return (
        f"{runtime.name} computes only {in_int8} of {n_products} products of this file in int8, and at least a quarter "
        "is needed"
    )
