"""Deployed files in OpenVINO, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecg_lightning.deployment.extras import openvino_core
from ecg_lightning.deployment.runtimes.runtime import (
    Floats,
    Kernel,
    check_input,
    check_output,
    check_quantized,
    counted,
)
from ecg_lightning.errors import ModelFileError
from ecg_lightning.hardware.processor import processor_has_bf16
from ecg_lightning.system.memory_limit import lacked_memory

_PRODUCTS = (
    *("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul", "MHA"),
    *("RNNSeq", "RNNCell", "LSTMSequence", "LSTMCell", "GRUSequence", "GRUCell"),
)
_ATTENTION = ("softmax", "scaled_dot_product")  # parts of the names of operations that a `Subgraph` fuses
_SOFTMAX = {"Softmax", "SoftMax", "ScaledDotProductAttention"}
_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}


class OpenVINORuntime:
    """A compiled OpenVINO model; see `runtimes.Runtime`.

    The precision is always set, because OpenVINO's default is bfloat16 wherever the processor has it.

    Args:
        path: .xml with its .bin beside it, or .onnx.
        precision: `fp32`, `bf16`, or `int8` for quantized files.
        threads: number of threads of one call.
        batch: number of records to compile for.
    """

    name = "openvino"

    def __init__(self, path: Path, precision: str, threads: int, batch: int | None = None) -> None:
        core = openvino_core()
        self.precision = precision
        if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
            raise ModelFileError(
                f"{path.with_suffix('.bin')} is not there. It holds the weights of {path.name}; copy both files"
            )
        try:
            model = core.read_model(path)
        except (RuntimeError, ValueError) as error:
            raise _unreadable(path, error) from None
        if len(model.inputs) != 1 or not model.outputs:
            raise ModelFileError(f"{path} has {len(model.inputs)} inputs, expected one (millivolts); export it again")
        shape = _shape(model.inputs[0])
        self.n_samples = check_input(path, _name(model.inputs[0]), shape)
        check_output(path, _name(model.outputs[0]), _shape(model.outputs[0]))
        self._path = path
        hint = "bf16" if precision == "bf16" or (precision == "int8" and processor_has_bf16()) else "f32"
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned threads would compete if the process may only use some cores.
            "ENABLE_CPU_PINNING": False,
        }
        kinds = {op.get_type_name() for op in model.get_ops()}
        if threads == 1 and "FakeQuantize" in kinds and not kinds & _SOFTMAX:
            # From two quantized linear layers in a row OpenVINO 2026.4 makes one kernel, for few rows on one thread.
            # The kernel reads memory that nobody wrote. Attention would be twice as slow without such kernels.
            settings["SNIPPETS_MODE"] = "DISABLE"
        try:
            if batch is not None:
                model.reshape({model.inputs[0]: [batch, *shape[1:]]})
            self._compiled = core.compile_model(model, "CPU", settings)
        except (RuntimeError, ValueError) as error:
            raise _unreadable(path, error) from None
        self._request = self._compiled.create_infer_request()
        check_quantized(path, precision, self.kernels() if precision == "int8" else [])

    def logits(self, millivolts_BCT: Floats) -> Floats:
        """Return (B, C) float32 logits of (B, 12, T) float32 mV."""
        try:
            found: Floats = self._request.infer({0: millivolts_BCT}, share_inputs=True)[0]
        except RuntimeError as error:
            raise _unreadable(self._path, error) from None
        return found

    def kernels(self) -> list[Kernel]:
        """Return the kernels that OpenVINO compiled. Fused products of attention are called `Attention`."""
        found = []
        for operation in self._compiled.get_runtime_model().get_ops():
            info = operation.get_rt_info()
            kind, primitive, stored, names = (
                str(info[key].astype(str))
                for key in ("layerType", "primitiveType", "runtimePrecision", "originalLayersNames")
            )
            # The kernel's name ends with its arithmetic's precision. `runtimePrecision` is that of its stored weights.
            precision = _PRECISIONS.get(primitive.rpartition("_")[2].lower()) or _PRECISIONS.get(stored, stored)
            if (kind == "Subgraph" and any(part in names.lower() for part in _ATTENTION)) or "Attention" in kind:
                kind = "Attention"
            elif kind not in _PRODUCTS:
                continue
            found.append((kind, precision))
        return counted(found)


def _shape(port: Any) -> list[int | None]:
    """Return the sizes of an input or an output, None for a dynamic size; an empty list if the rank is dynamic."""
    shape = port.get_partial_shape()
    return [] if shape.rank.is_dynamic else [None if size.is_dynamic else size.get_length() for size in shape]


def _name(port: Any) -> str:
    return str(next(iter(port.names), "something without a name"))


def _unreadable(path: Path, error: Exception) -> ModelFileError:
    if lacked_memory(error):
        return ModelFileError(f"{path} needs more memory than any exported model of its size; export it again")
    reason = " ".join(str(error).split())[-200:]
    return ModelFileError(
        f"{path} cannot be run by OpenVINO ({reason}). Export it again if it is damaged, or replace the "
        "operation that OpenVINO does not know"
    )
