"""InceptionTime: parallel convolutions of three lengths."""

from __future__ import annotations

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.schema import Inception1dConfig
from ecg_lightning.models.signal_classifier import (
    ConcatPoolHead,
    SignalClassifier,
    convolution,
    initialize,
)

_BLOCKS_A_SHORTCUT = 3


class Inception1d(SignalClassifier):
    """InceptionTime (Fawaz et al. 2020, arXiv 1909.04939), trained as in Strodthoff et al. 2021."""

    @staticmethod
    def make_network(settings: Inception1dConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for any number of samples."""
        n_leads, _ = input.signal
        return Inception1dNetwork(settings, n_leads, n_classes)


class Inception1dNetwork(nn.Module):
    """A network from (B, leads, T) signals to (B, C) logits, for any T."""

    def __init__(self, settings: Inception1dConfig, n_leads: int, n_classes: int) -> None:
        super().__init__()
        if settings.depth % _BLOCKS_A_SHORTCUT:
            raise ConfigError(
                f"model.depth={settings.depth}: give a multiple of {_BLOCKS_A_SHORTCUT}, the blocks of a shortcut"
            )
        n_groups, filters, bottleneck = settings.depth // _BLOCKS_A_SHORTCUT, settings.filters, settings.bottleneck
        kernel_sizes, drop_path = tuple(settings.kernel_sizes), settings.drop_path
        width = (len(kernel_sizes) + 1) * filters
        last = max(1, n_groups - 1)
        self.groups = nn.Sequential(
            *(
                InceptionGroup(width if group else n_leads, filters, bottleneck, kernel_sizes, drop_path * group / last)
                for group in range(n_groups)
            )
        )
        self.head = ConcatPoolHead(width, n_classes, settings.dropout)
        initialize(self)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) signals."""
        logits: Tensor = self.head(self.groups(signals_BCT.unsqueeze(2)))
        return logits


class InceptionGroup(nn.Module):
    """Three inception blocks and the shortcut around them."""

    def __init__(
        self, inputs: int, filters: int, bottleneck: int, kernel_sizes: tuple[int, ...], drop_path: float
    ) -> None:
        super().__init__()
        width = (len(kernel_sizes) + 1) * filters
        self.blocks = nn.Sequential(
            *(
                InceptionBlock(width if number else inputs, filters, bottleneck, kernel_sizes)
                for number in range(_BLOCKS_A_SHORTCUT)
            )
        )
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.shortcut = nn.Sequential(convolution(inputs, width, 1), nn.BatchNorm2d(width))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BC1T: Tensor) -> Tensor:
        """Return (B, width, 1, T) features of a (B, inputs, 1, T) input."""
        activated: Tensor = self.relu(self.shortcut(x_BC1T) + self.drop_path(self.blocks(x_BC1T)))
        return activated


class InceptionBlock(nn.Module):
    """Convolutions of several lengths behind a bottleneck, beside a maximum pooling."""

    def __init__(self, inputs: int, filters: int, bottleneck: int, kernel_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.bottleneck = convolution(inputs, bottleneck, 1)
        self.convolutions = nn.ModuleList(convolution(bottleneck, filters, size) for size in kernel_sizes)
        self.pooled = nn.Sequential(nn.MaxPool2d((1, 3), 1, (0, 1)), convolution(inputs, filters, 1))
        self.norm = nn.BatchNorm2d((len(kernel_sizes) + 1) * filters)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BC1T: Tensor) -> Tensor:
        """Return (B, branches × filters, 1, T) features of a (B, inputs, 1, T) input."""
        narrow = self.bottleneck(x_BC1T)
        branches = [*(convolve(narrow) for convolve in self.convolutions), self.pooled(x_BC1T)]
        activated: Tensor = self.relu(self.norm(torch.cat(branches, dim=1)))
        return activated
