"""What the one-dimensional networks share: windows of the record, local weights, and the benchmark's head."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend import SignalFrontend
from ecg_lightning.models.classifier import ECGClassifier, Recipe
from ecg_lightning.models.weights import load_file
from ecg_lightning.models.windows import Windows


class SignalRecipe(Recipe, total=False):
    """Arguments that every `SignalClassifier` shares."""

    window_s: float | None
    stride_s: float | None
    aggregate: str
    pretrained: bool
    weights: str | None


class SignalClassifier(ECGClassifier):
    """A network on the signal itself.

    Args:
        frontend: the signal front end.
        network: (B, leads, T) → (B, C) logits, its classifier called `head`.
        window_s: seconds that the network sees at a time, see `windows.Windows`; the whole record by default.
        stride_s: seconds from one window to the next; half a window by default.
        aggregate: `mean` or `max` of the windows' probabilities.
        pretrained: refused: nobody published weights of these shapes.
        weights: a local file of weights of this shape.
        **recipe: see `ECGClassifier`.
    """

    def __init__(
        self,
        frontend: SignalFrontend,
        network: nn.Module,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        aggregate: str = "mean",
        pretrained: bool = False,
        weights: str | None = None,
        **recipe: Unpack[Recipe],
    ) -> None:
        if pretrained and not weights:
            raise ConfigError(
                "model.pretrained=true: there are no published weights for this network. Set "
                "model.pretrained=false, or model.weights=FILE to load your own weights"
            )
        if weights:
            load_file(network, weights, stem=(), head="head.")
        if window_s:
            duration_s = frontend.augmentation.duration_s
            if window_s > duration_s:
                raise ConfigError(
                    f"model.window_s={window_s:g} is longer than the records of {duration_s:g} s. Set a shorter "
                    "window, or model.window_s=null for the whole record"
                )
            network = Windows(network, window_s, stride_s or window_s / 2, aggregate, duration_s)
        super().__init__(frontend, network, **recipe)
        if window_s and self.loss.single_label:
            raise ConfigError(
                "model.window_s only works with independent classes. Set model.loss=bce, or model.window_s=null"
            )


class ConcatPoolHead(nn.Module):
    """Mean and maximum over time, then two layers: the head of the PTB-XL benchmark's convolutional networks.

    Args:
        channels: of the features.
        n_classes: C.
        hidden: width of the first layer.
        dropout: before the last layer; half as much before the first.
    """

    def __init__(self, channels: int, n_classes: int, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = classifier_layers(2 * channels, n_classes, hidden, dropout)

    def forward(self, features_BC1T: Tensor) -> Tensor:
        """(B, channels, 1, T) → (B, C)."""
        logits: Tensor = self.layers(torch.cat([features_BC1T.amax(dim=(2, 3)), features_BC1T.mean(dim=(2, 3))], dim=1))
        return logits


def classifier_layers(features: int, n_classes: int, hidden: int, dropout: float) -> nn.Sequential:
    """Batch normalisation, dropout and a linear layer, twice."""
    return nn.Sequential(
        nn.BatchNorm1d(features),
        nn.Dropout(dropout / 2),
        nn.Linear(features, hidden),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(hidden),
        nn.Dropout(dropout),
        nn.Linear(hidden, n_classes),
    )


def convolution(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution along time; two-dimensional, since quantizers and int8 kernels know Conv2d better than Conv1d.

    Raises:
        ConfigError: the size is even, so that outputs lie between samples and do not fit to a shortcut's.
    """
    if kernel_size % 2 == 0:
        raise ConfigError(
            f"the kernel size {kernel_size} is even. Give odd sizes in model.kernel_size or model.kernel_sizes"
        )
    return nn.Conv2d(inputs, outputs, (1, kernel_size), (1, stride), (0, (kernel_size - 1) // 2), bias=False)


def initialize(network: nn.Module) -> None:
    """He et al. 2015 (arXiv 1502.01852) for every product, by its inputs; biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
