"""Classifiers in PyTorch itself, the baseline of every other runtime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler writes to the terminal

import torch
from torch.autograd.profiler import profile

from ecg_lightning.deployment.missing import fill_missing, mark_missing
from ecg_lightning.deployment.runtimes.runtime import Floats, Kernel, check_length, check_quantized, counted

_PRODUCTS = (
    *("aten::mkldnn_convolution", "aten::_slow_conv2d_forward", "aten::_conv_depthwise2d"),
    *("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::mkldnn_linear"),
    *("aten::mkldnn_rnn_layer", "aten::lstm_cell", "aten::_thnn_fused_lstm_cell"),
    *("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_scaled_dot_product_attention_math"),
)
_PRECISIONS = {"c10::BFloat16": "bf16", "c10::Half": "fp16"}


class TorchRuntime:
    """A module in evaluation mode, without gradients; see `runtimes.Runtime`.

    Args:
        module: a classifier or a `DeployedNetwork`, from (B, 12, T) mV to (B, C) logits or a tuple that starts with
            them.
        n_samples: samples a lead of its input.
        precision: `fp32`; `bf16` runs under autocast; `int8` is for networks that torch.ao (FX) quantized.
        threads: number of threads of one call.
        source: the file, for messages.
    """

    name = "torch"

    def __init__(
        self, module: torch.nn.Module, n_samples: int, precision: str, threads: int, source: Path = Path("the model")
    ) -> None:
        self.n_samples = n_samples
        self.precision = precision
        self._module = module
        self._threads = threads
        check_quantized(source, precision, self.kernels() if precision == "int8" else [])

    @classmethod
    def load(cls, path: Path, precision: str, threads: int) -> TorchRuntime:
        """Return the opened checkpoint of this project.

        Raises:
            CheckpointError: see `checkpoints.loading.load_classifier`.
        """
        from ecg_lightning.checkpoints.loading import load_classifier

        classifier = load_classifier(path)
        return cls(classifier, check_length(path, classifier.description["n_samples"]), precision, threads, path)

    def logits(self, millivolts_BCT: Floats) -> Floats:
        """Return (B, C) float32 logits of (B, 12, T) float32 mV; NaN for each record with missing samples."""
        if torch.get_num_threads() != self._threads:  # a setting of the whole process
            torch.set_num_threads(self._threads)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            filled, complete = fill_missing(torch.from_numpy(millivolts_BCT))
            output = self._module(filled)
            logits = mark_missing((output[0] if isinstance(output, tuple) else output).float(), complete)
        found: Floats = logits.numpy()
        return found

    def kernels(self) -> list[Kernel]:
        """Return the products that PyTorch's profiler sees in one pass of one record."""
        record = np.zeros((1, 12, self.n_samples), dtype=np.float32)
        self.logits(record)
        # Kineto, the profiler's other back end, writes to the terminal from C++.
        with profile(use_kineto=False, record_shapes=True) as profiler:
            self.logits(record)
        found = []
        for event in profiler.function_events or ():
            if event.name.startswith(("quantized::conv", "quantized::linear", "onednn::q")):
                found.append((event.name, "int8"))
            elif event.name in _PRODUCTS:
                types = [kind for kind in event.input_dtypes if kind]
                found.append((event.name, next((_PRECISIONS[kind] for kind in types if kind in _PRECISIONS), "fp32")))
        return counted(found)
