"""ResNet1d: a small residual network on the signal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.schema import ResNet1dConfig
from ecg_lightning.models.signal_classifier import SignalClassifier, convolution


class ResNet1d(SignalClassifier):
    """One-dimensional ResNet of convolution, BatchNorm, ReLU and additions alone, so that it is easy to quantize.

    It has basic blocks as in He et al. 2016 (arXiv 1512.03385) along time, like resnet1d_wang in the PTB-XL benchmark
    (Strodthoff et al. 2021, arXiv 2004.13701). The shape and the code are this project's own.
    """

    @staticmethod
    def make_network(settings: ResNet1dConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for any number of samples."""
        n_leads, _ = input.signal
        return ResNet1dNetwork(settings, n_leads, n_classes)


class ResNet1dNetwork(nn.Module):
    """A network from (B, leads, T) signals to (B, C) logits, for any T."""

    def __init__(self, settings: ResNet1dConfig, n_leads: int, n_classes: int) -> None:
        super().__init__()
        channels, blocks, kernel_size = settings.channels, settings.blocks, settings.kernel_size
        if len(channels) != len(blocks) or not channels:
            raise ConfigError(
                f"model.channels={list(channels)}, model.blocks={list(blocks)}: the lists differ in length. Give "
                "one number per stage in each"
            )
        self.stem = nn.Sequential(
            convolution(n_leads, channels[0], kernel_size, stride=2), nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)
        )
        drops = iter(torch.linspace(0, settings.drop_path, sum(blocks)).tolist())
        self.stages = nn.Sequential()
        for before, after, n_blocks in zip((channels[0], *channels), channels, blocks, strict=False):
            stride = 2 if self.stages else 1
            widths = itertools.pairwise([before] + [after] * n_blocks)
            self.stages.append(
                nn.Sequential(
                    *(
                        Block(inputs, outputs, (kernel_size, kernel_size), 1 if number else stride, next(drops))
                        for number, (inputs, outputs) in enumerate(widths)
                    )
                )
            )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(channels[-1], n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # BatchNorm keeps its gamma of 1. QAT folds it into its convolution, and with gamma 0 that divides by 0.

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) signals."""
        features_BC1T = self.stages(self.stem(signals_BCT.unsqueeze(2)))
        logits: Tensor = self.head(self.dropout(self.pool(features_BC1T).flatten(1)))
        return logits


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel_sizes: Sequence[int], stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, kernel_sizes[0], stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = convolution(outputs, outputs, kernel_sizes[1])
        self.bn2 = nn.BatchNorm2d(outputs)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.shortcut = (
            nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            if stride > 1 or inputs != outputs
            else nn.Identity()
        )
        self.relu2 = nn.ReLU(inplace=True)  # eager and FX quantization need one module per use

    def forward(self, x_BC1T: Tensor) -> Tensor:
        """Return (B, outputs, 1, T / stride) features of a (B, inputs, 1, T) input."""
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x_BC1T)))))
        activated: Tensor = self.relu2(self.shortcut(x_BC1T) + self.drop_path(branch))
        return activated
