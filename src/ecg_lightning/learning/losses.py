"""Losses on multi-hot targets, each with its function from logits to probabilities.

In training they may smooth, weight or focus. Otherwise they are the plain log loss, so that `val/loss` compares
recipes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST = 20.0
"""Largest weight of a class, so that a class of a few records does not drown the others."""


class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of each superclass, for multi-label targets.

    Args:
        label_smoothing: ε, by which targets move towards ½ in training (Szegedy et al. 2016, arXiv 1512.00567).
        weighted_classes: C if `balance` sets weights for the positives; 0 for no weights.
    """

    single_label = False

    def __init__(self, label_smoothing: float = 0.0, weighted_classes: int = 0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.positive_weights_C: Tensor | None
        self.register_buffer("positive_weights_C", torch.ones(weighted_classes) if weighted_classes else None)

    def balance(self, targets_NC: Tensor) -> None:
        """Weight the positives of each class by its negatives per positive, from 1 / `MOST` to `MOST`.

        Args:
                targets_NC: targets of the training split. A class without a positive record keeps weight 1.
        """
        if self.positive_weights_C is not None:
            positives_C = targets_NC.sum(dim=0)
            weights_C = (len(targets_NC) / positives_C - 1).clamp(1 / MOST, MOST)
            self.positive_weights_C.copy_(torch.where(positives_C > 0, weights_C, 1.0))

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Return the mean loss over records and classes. The targets may be soft."""
        if not self.training:
            return F.binary_cross_entropy_with_logits(logits_BC.float(), targets_BC)
        return self.training_loss(
            logits_BC.float(), torch.lerp(targets_BC, targets_BC.new_tensor(0.5), self.label_smoothing)
        )

    def training_loss(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Return the mean training loss over records and classes."""
        return F.binary_cross_entropy_with_logits(logits_BC, targets_BC, pos_weight=self.positive_weights_C)

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """Return the sigmoid in float64, where it does not saturate."""
        return logits_BC.double().sigmoid()


class AsymmetricLoss(BinaryCrossEntropy):
    """A loss in which easy negatives weigh less than positives (Ridnik et al. 2021, arXiv 2009.14119, equation 7).

    γ+ = 0, γ− = 4 and the margin 0.05 are the paper's. The probabilities are not frequencies. The thresholds and the
    calibration of the validation fold correct that.
    """

    negative_focus = 4.0
    margin = 0.05

    def training_loss(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Return the mean training loss over records and classes."""
        shifted_BC = (logits_BC.sigmoid() - self.margin).clamp_min(0.0)
        positive_BC = targets_BC * F.logsigmoid(logits_BC)
        if self.positive_weights_C is not None:
            positive_BC = positive_BC * self.positive_weights_C
        negative_BC = (1 - targets_BC) * shifted_BC**self.negative_focus * torch.log1p(-shifted_BC)
        return -(positive_BC + negative_BC).mean()


class ArgmaxCrossEntropy(nn.Module):
    """The single-label loss of the original student project. The target is the argmax of the multi-hot row.

    The other classes of the row are lost.

    Args:
        label_smoothing: ε of PyTorch's cross-entropy in training.
    """

    single_label = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def balance(self, targets_NC: Tensor) -> None:
        """Do nothing, because a single-label target has no positives among negatives."""

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Return the mean loss over records."""
        smoothing = self.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits_BC.float(), targets_BC.argmax(dim=1), label_smoothing=smoothing)

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """Return the softmax in float64."""
        return logits_BC.double().softmax(dim=1)


Loss = BinaryCrossEntropy | ArgmaxCrossEntropy


def make_loss(name: str, n_classes: int, label_smoothing: float = 0.0, class_weights: bool = False) -> Loss:
    """Return the loss of a recipe.

    Args:
        name: `bce`, `asymmetric` or `argmax_cross_entropy`.
        n_classes: C.
        label_smoothing: ε in training.
        class_weights: whether `BinaryCrossEntropy.balance` weights the positives.

    Raises:
        ValueError: class weights were asked for, but single-label targets have no positives to weight.
    """
    if name == "argmax_cross_entropy":
        if class_weights:
            raise ValueError(
                "model.class_weights weights the positives of independent classes. Use model.loss=bce or asymmetric, "
                "or set it to false"
            )
        return ArgmaxCrossEntropy(label_smoothing)
    kind = {"bce": BinaryCrossEntropy, "asymmetric": AsymmetricLoss}[name]
    return kind(label_smoothing, n_classes if class_weights else 0)
