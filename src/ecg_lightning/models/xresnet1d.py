"""XResNet1d: the deep residual networks of the PTB-XL benchmark."""

from __future__ import annotations

from timm.layers.drop import DropPath
from torch import Tensor, nn

from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.schema import XResNet1dConfig
from ecg_lightning.models.signal_classifier import (
    ConcatPoolHead,
    SignalClassifier,
    convolution,
    initialize,
)

BLOCKS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}
_BOTTLENECKS = ("50", "101")  # their blocks widen fourfold
_WIDTH = 64


class XResNet1d(SignalClassifier):
    """ResNet with the tweaks of He et al. 2019 (arXiv 1812.01187) along time, as in Strodthoff et al. 2021.

    The stem has three convolutions, the middle convolution has the stride, and shortcuts average before they project.
    Unlike in the image networks, every stage is equally wide.
    """

    @staticmethod
    def make_network(settings: XResNet1dConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for any number of samples."""
        n_leads, _ = input.signal
        return XResNet1dNetwork(settings, n_leads, n_classes)


class XResNet1dNetwork(nn.Module):
    """A network from (B, leads, T) signals to (B, C) logits, for any T."""

    def __init__(self, settings: XResNet1dConfig, n_leads: int, n_classes: int) -> None:
        super().__init__()
        variant, kernel_size = settings.variant, settings.kernel_size
        inner = max(1, round(_WIDTH * settings.width))
        outer = inner * (4 if variant in _BOTTLENECKS else 1)
        stem = (n_leads, max(1, inner // 2), max(1, inner // 2), inner)
        self.stem = nn.Sequential(
            *(_layer(stem[i], stem[i + 1], kernel_size, stride=1 if i else 2) for i in range(3)),
            nn.MaxPool2d((1, 3), (1, 2), (0, 1)),
        )
        strides = [2 if stage and not block else 1 for stage, n in enumerate(BLOCKS[variant]) for block in range(n)]
        self.blocks = nn.Sequential()
        for number, stride in enumerate(strides):
            drop = settings.drop_path * number / (len(strides) - 1)
            before = outer if number else inner
            self.blocks.append(XBlock(before, inner, outer, kernel_size, stride, drop, variant in _BOTTLENECKS))
        self.head = ConcatPoolHead(outer, n_classes, settings.dropout)
        initialize(self)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) signals."""
        logits: Tensor = self.head(self.blocks(self.stem(signals_BCT.unsqueeze(2))))
        return logits


class XBlock(nn.Module):
    """Two convolutions, or three around a bottleneck, and a shortcut."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, kernel_size: int, stride: int, drop_path: float, bottleneck: bool
    ) -> None:
        super().__init__()
        first = [_layer(inputs, inner, 1)] if bottleneck else []
        last = (inner, outputs, 1 if bottleneck else kernel_size)
        self.branch = nn.Sequential(
            *first,
            _layer(inner if bottleneck else inputs, inner, kernel_size, stride),
            convolution(*last),
            nn.BatchNorm2d(outputs),
        )
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d((1, 2), ceil_mode=True))
        if inputs != outputs:
            self.shortcut.extend([convolution(inputs, outputs, 1), nn.BatchNorm2d(outputs)])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BC1T: Tensor) -> Tensor:
        """Return (B, outputs, 1, T / stride) features of a (B, inputs, 1, T) input."""
        activated: Tensor = self.relu(self.shortcut(x_BC1T) + self.drop_path(self.branch(x_BC1T)))
        return activated


def _layer(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        convolution(inputs, outputs, kernel_size, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
