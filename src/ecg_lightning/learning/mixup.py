"""Mixup: a record is blended with another record of its batch, and so are the labels."""

from __future__ import annotations

import torch
from torch import Tensor


def mix(alpha: float, *tensors_B: Tensor) -> tuple[Tensor, ...]:
    """Return λ · record + (1 − λ) · another record of the batch; each record draws its λ from Beta(α, α).

    Zhang et al. 2018 (arXiv 1710.09412). The record's own part is always the larger one.

    Args:
        alpha: α; 0.2 blends few records much, 1 blends all of them.
        *tensors_B: (B, …) signals and targets, which are blended alike.
    """
    n_records, device = len(tensors_B[0]), tensors_B[0].device
    drawn_B = torch.distributions.Beta(alpha, alpha).sample((n_records,)).to(device)
    own_B = torch.maximum(drawn_B, 1 - drawn_B)
    other_B = torch.randperm(n_records, device=device)
    return tuple(
        torch.lerp(tensor[other_B], tensor, own_B.view(-1, *[1] * (tensor.ndim - 1)).to(tensor)) for tensor in tensors_B
    )
