"""One function that opens a deployed file in any runtime."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.deployment.model_file import check_structure
from ecg_lightning.deployment.runtimes.runtime import CUDA_SUFFIXES, PRECISIONS, SUFFIXES, Runtime, files_of
from ecg_lightning.errors import ConfigError, HardwareUnavailableError, ModelFileError
from ecg_lightning.hardware.processor import processor_has_bf16
from ecg_lightning.system.memory_limit import limited_memory


def open_runtime(
    path: Path, runtime: str, precision: str = "fp32", threads: int = 1, batch: int | None = None
) -> Runtime:
    """Return an exported file, or a checkpoint in torch, opened in a runtime.

    Args:
        path: .onnx for `onnxruntime` and `openvino`, .xml for `openvino`, .ckpt for `torch`.
        runtime: one of `SUFFIXES` or `CUDA_SUFFIXES`.
        precision: `fp32`, `bf16` or `int8`. `int8` needs a quantized file; OpenVINO then computes the other operations
            in bfloat16 if the processor has it. In torch, `bf16` is autocast.
        threads: number of threads of one call.
        batch: number of records to compile for, which makes OpenVINO faster. Other runtimes accept any number anyway.

    Raises:
        ConfigError: there is no such runtime or precision, or the runtime does not have this precision.
        HardwareUnavailableError: the processor has no bfloat16.
        ModelFileError: the file cannot be opened by this runtime.
        MissingPackageError: the runtime is not installed.
    """
    _check_precision(runtime, precision)
    _check_path(path, runtime)
    check_structure(path)
    if runtime == "openvino":
        from ecg_lightning.deployment.runtimes.openvino_runtime import OpenVINORuntime

        with limited_memory(files_of(path), batch or 1, threads):
            return OpenVINORuntime(path, precision, threads, batch)
    if runtime == "onnxruntime":
        from ecg_lightning.deployment.runtimes.onnx_runtime import ONNXRuntime

        with limited_memory(files_of(path), 1, threads):
            return ONNXRuntime(path, precision, threads)
    if runtime in ("cuda-onnxruntime", "cuda-tensorrt"):
        from ecg_lightning.deployment.runtimes.onnx_runtime import ONNXRuntime

        return ONNXRuntime(path, precision, threads, runtime)
    if runtime in CUDA_SUFFIXES:
        from ecg_lightning.deployment.runtimes.cuda_runtime import CudaRuntime

        return CudaRuntime.load(path, runtime, precision)
    from ecg_lightning.deployment.runtimes.torch_runtime import TorchRuntime

    return TorchRuntime.load(path, precision, threads)


def _check_precision(runtime: str, precision: str) -> None:
    """Refuse an unknown runtime or precision, or a precision that the runtime or the processor does not have."""
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


def _check_path(path: Path, runtime: str) -> None:
    """Refuse a path without a file that this runtime opens."""
    opened = (SUFFIXES | CUDA_SUFFIXES)[runtime]
    if not path.is_file():
        raise ModelFileError(f"{path} is not there; name an exported .onnx or .xml file")
    if path.suffix == ".pt2":
        raise ModelFileError(
            f"{path} was not opened, because a .pt2 file can run code when it is loaded. Export the model as "
            ".onnx or .xml, or name its .ckpt"
        )
    if path.suffix not in opened:
        openers = [name for name, suffixes in SUFFIXES.items() if path.suffix in suffixes]
        way_out = f"use {' or '.join(openers)}" if openers else "name an .onnx, .xml or .ckpt file"
        raise ModelFileError(f"{path}: {runtime} opens only {' and '.join(opened)} files; {way_out}")
