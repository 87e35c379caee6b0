"""A guard around deployed networks: a record with missing samples has no answer, in any runtime and precision."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST = 3e38
"""In mV. The largest float32 would be infinite in bfloat16, in which some runtimes compare."""


def fill_missing(millivolts_BCT: Tensor) -> tuple[Tensor, Tensor]:
    """Replace records with missing samples by zeros, and tell which records are complete.

    The network never sees NaN, which each runtime treats differently: int8 kernels turn it into a number, maxima drop
    it, and a dynamically quantized layer takes its range, for all records, from the whole batch. Sums keep NaN, and
    NaN is not less than anything, everywhere. A mean and not a sum, which would overflow in float16.

    Args:
        millivolts_BCT: (B, leads, T) float32; missing samples are NaN or infinite.

    Returns:
        (B, leads, T) finite signals, and (B, 1) bool, true for each complete record.
    """
    complete_B11 = millivolts_BCT.mean(dim=(1, 2), keepdim=True).abs() < _LARGEST
    return torch.where(complete_B11, millivolts_BCT, 0.0), complete_B11.squeeze(2)


def mark_missing(outputs_BC: Tensor, complete_B1: Tensor) -> Tensor:
    """Return the (B, C) outputs with NaN for each record that is not complete; the others keep every bit."""
    return torch.where(complete_B1, outputs_BC, float("nan"))
