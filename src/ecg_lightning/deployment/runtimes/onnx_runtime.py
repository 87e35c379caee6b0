"""Deployed files in ONNX Runtime, on the CPU or, if its build supports it, on a CUDA device."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.deployment.model_file import read_operations
from ecg_lightning.deployment.runtimes.runtime import (
    Floats,
    Kernel,
    check_input,
    check_output,
    check_quantized,
    counted,
)
from ecg_lightning.errors import HardwareUnavailableError, ModelFileError
from ecg_lightning.system.disk import explaining_full, is_full
from ecg_lightning.system.memory_limit import lacked_memory

_INT8 = (
    *("QLinearConv", "QLinearMatMul", "QGemm", "QAttention", "ConvInteger", "DynamicQuantizeMatMul"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeLSTM"),
)
_FLOAT = (
    *("Conv", "FusedConv", "NhwcFusedConv", "MatMul", "FusedMatMul", "TransposeMatMul", "Gemm", "FusedGemm"),
    *("Attention", "MultiHeadAttention", "LSTM", "GRU", "RNN"),
)
_FATAL_ONLY = 4
_PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "cuda-onnxruntime": "CUDAExecutionProvider",
    "cuda-tensorrt": "TensorrtExecutionProvider",
}
_OPTIONS = {"cuda-onnxruntime": {"use_tf32": "0"}}  # TF32 is off, so that fp32 is really fp32


class ONNXRuntime:
    """An ONNX Runtime session; see `runtimes.Runtime`.

    Args:
        path: .onnx file.
        precision: `fp32`, or `int8` for quantized files.
        threads: number of threads of one call.
        name: `onnxruntime`, `cuda-onnxruntime` or `cuda-tensorrt`.

    Raises:
        HardwareUnavailableError: this ONNX Runtime has no such provider, or cannot load its libraries.
    """

    def __init__(self, path: Path, precision: str, threads: int, name: str = "onnxruntime") -> None:
        self._package = import_extra("onnxruntime")
        self.name = name
        self._provider = _PROVIDERS[name]
        if self._provider not in self._package.get_available_providers():
            raise HardwareUnavailableError(
                f"{name}: the installed ONNX Runtime has no {self._provider}. Install onnxruntime-gpu"
            )
        self._package.set_default_logger_severity(_FATAL_ONLY)
        self._path = path
        self.precision = precision
        self._session = self._open(threads)
        if (opened := self._session.get_providers()[0]) != self._provider:  # silent fallback to the processor
            raise HardwareUnavailableError(
                f"{name}: ONNX Runtime cannot load its {self._provider} and uses {opened} instead. Install the "
                "CUDA libraries that it was built for"
            )
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelFileError(f"{path} has {len(inputs)} inputs, expected one (millivolts); export it again")
        self._input = inputs[0].name
        self.n_samples = check_input(path, self._input, inputs[0].shape)
        output = self._session.get_outputs()[0]
        self._output = output.name
        check_output(path, output.name, output.shape)
        check_quantized(path, precision, self.kernels() if precision == "int8" else [])

    def logits(self, millivolts_BCT: Floats) -> Floats:
        """Return (B, C) float32 logits of (B, 12, T) float32 mV."""
        try:
            found: Floats = self._session.run([self._output], {self._input: millivolts_BCT})[0]
        except Exception as error:  # ONNX Runtime's own classes have no narrower base
            raise self._unusable(error) from None
        return found

    def kernels(self) -> list[Kernel]:
        """Return the operations of the graph as ONNX Runtime optimised it for this processor."""
        with explaining_full(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
            optimised = Path(folder) / "optimised.onnx"
            self._open(1, optimised)
            names = list(read_operations(optimised))
        found = [(name, "int8") for name in names if name in _INT8]
        found += [(name, "fp32") for name in names if name in _FLOAT]
        return counted(found)

    def _open(self, threads: int, optimised: Path | None = None) -> Any:
        options = self._package.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        if optimised:
            options.optimized_model_filepath = str(optimised)
        try:
            return self._package.InferenceSession(
                self._path, options, providers=[(self._provider, _OPTIONS.get(self.name, {}))]
            )
        except Exception as error:  # ONNX Runtime's own classes have no narrower base
            if optimised and is_full(error):
                raise
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> ModelFileError:
        if lacked_memory(error):
            return ModelFileError(
                f"{self._path} needs more memory than any exported model of its size; export it again"
            )
        reason = " ".join(str(error).split())[:200]
        return ModelFileError(
            f"{self._path} cannot be run by ONNX Runtime ({reason}). Export it again if it is damaged, or replace "
            "the operation that ONNX Runtime does not know"
        )
