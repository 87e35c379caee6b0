"""A guard around deployed networks: a record with missing samples gives NaN, in any runtime and precision."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST = 3e38
"""Limit in mV. The largest float32 would be infinite in bfloat16, in which some runtimes compare."""


def fill_missing(millivolts_BCT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signals with zeros in place of records with missing samples, and which records are complete.

    The network never sees NaN, because each runtime treats NaN differently. Int8 kernels turn it into a number, maxima
    drop it, and a dynamically quantized layer takes one range for all records from the whole batch. In every runtime
    sums keep NaN, and NaN is not less than anything. A mean is used, because a sum would overflow in float16.

    Args:
        millivolts_BCT: (B, leads, T) float32; missing samples are NaN or infinite.

    Returns:
        (B, leads, T) finite signals, and (B, 1) bool, true for each complete record.
    """
    complete_B11 = millivolts_BCT.mean(dim=(1, 2), keepdim=True).abs() < _LARGEST
    return torch.where(complete_B11, millivolts_BCT, 0.0), complete_B11.squeeze(2)


def mark_missing(outputs_BC: Tensor, complete_B1: Tensor) -> Tensor:
    """Return the (B, C) outputs with NaN for each incomplete record. The other outputs keep every bit."""
    return torch.where(complete_B1, outputs_BC, float("nan"))
