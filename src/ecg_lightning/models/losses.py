"""Losses on multi-hot targets, each with the probabilities that belong to it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BinaryCrossEntropy(nn.Module):
    """Each superclass on its own: the loss for multi-label targets."""

    single_label = False

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Mean over records and classes; the targets may be soft."""
        return F.binary_cross_entropy_with_logits(logits_BC.float(), targets_BC)

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """Sigmoid in float64, where it does not saturate."""
        return logits_BC.double().sigmoid()


class ArgmaxCrossEntropy(nn.Module):
    """The seed's single-label loss: the target is the argmax of the multi-hot row, so other classes are lost."""

    single_label = True

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Mean over records."""
        return F.cross_entropy(logits_BC.float(), targets_BC.argmax(dim=1))

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """Softmax in float64."""
        return logits_BC.double().softmax(dim=1)


LOSSES: dict[str, type[BinaryCrossEntropy] | type[ArgmaxCrossEntropy]] = {
    "bce": BinaryCrossEntropy,
    "argmax_cross_entropy": ArgmaxCrossEntropy,
}
