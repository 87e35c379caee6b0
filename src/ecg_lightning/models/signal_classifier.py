"""Parts that the one-dimensional networks share: windows of the record, initial weights, and the benchmark's head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.windows import Windows, window_samples


class SignalClassifier(ECGClassifier):
    """A network from (B, leads, T) signals to (B, C) logits. `windows.Windows` wraps it if a window length is set."""

    def _make(self, settings: Any, input: InputSpec, n_classes: int) -> nn.Module:
        if not settings.window_s:
            return super()._make(settings, input, n_classes)
        if settings.loss == "argmax_cross_entropy":
            raise ConfigError(
                "model.window_s only works with independent classes. Set model.loss=bce, or model.window_s=null"
            )
        window_s, duration_s = settings.window_s, input.duration_s
        if window_s > duration_s:
            raise ConfigError(
                f"model.window_s={window_s:g} is longer than the records of {duration_s:g} s. Set a shorter window, or "
                "model.window_s=null for the whole record"
            )
        n_leads, n_samples = input.signal
        window = InputSpec((n_leads, window_samples(window_s, n_samples, duration_s)), window_s)
        network = super()._make(settings, window, n_classes)
        return Windows(network, window_s, settings.stride_s or window_s / 2, settings.aggregate, duration_s)


class ConcatPoolHead(nn.Module):
    """Mean and maximum over time, then two layers: the head of the PTB-XL benchmark's convolutional networks.

    Args:
        channels: number of the features' channels.
        n_classes: C.
        dropout: dropout before the last layer. The first layer has half of it.
        hidden: width of the first layer.
    """

    def __init__(self, channels: int, n_classes: int, dropout: float, hidden: int = 128) -> None:
        super().__init__()
        self.layers = classifier_layers(2 * channels, n_classes, hidden, dropout)

    def forward(self, features_BC1T: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, channels, 1, T) features."""
        logits: Tensor = self.layers(torch.cat([features_BC1T.amax(dim=(2, 3)), features_BC1T.mean(dim=(2, 3))], dim=1))
        return logits


def classifier_layers(features: int, n_classes: int, hidden: int, dropout: float) -> nn.Sequential:
    """Return two linear layers, each behind batch normalisation and dropout."""
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
    """Return a convolution along time.

    It is two-dimensional, because quantizers and int8 kernels support Conv2d better than Conv1d.

    Raises:
        ConfigError: the size is even. Outputs would lie between samples and not fit the shortcut's.
    """
    if kernel_size % 2 == 0:
        raise ConfigError(
            f"the kernel size {kernel_size} is even. Give odd sizes in model.kernel_size or model.kernel_sizes"
        )
    return nn.Conv2d(inputs, outputs, (1, kernel_size), (1, stride), (0, (kernel_size - 1) // 2), bias=False)


def initialize(network: nn.Module) -> None:
    """Initialize each convolution and linear layer by its inputs (He et al. 2015, arXiv 1502.01852), with biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
