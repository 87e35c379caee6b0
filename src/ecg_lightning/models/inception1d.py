"""inception1d: InceptionTime, convolutions of three lengths side by side."""

from __future__ import annotations

from typing import Unpack

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.frontend import SignalFrontend
from ecg_lightning.models.signal_classifier import (
    ConcatPoolHead,
    SignalClassifier,
    SignalRecipe,
    convolution,
    initialize,
)

_BLOCKS_A_SHORTCUT = 3


class Inception1d(SignalClassifier):
    """InceptionTime (Fawaz et al. 2020, arXiv 1909.04939), as Strodthoff et al. 2021 trained it.

    Args:
        frontend: the signal front end.
        filters: of each of a block's four branches.
        bottleneck: channels that the long convolutions see.
        depth: blocks, a multiple of 3: a shortcut spans three.
        kernel_sizes: samples that the three long convolutions span, odd.
        dropout: before the last layer of the head; half as much before its first.
        drop_path: stochastic depth of the last three blocks, rising linearly from 0.
        **recipe: see `SignalClassifier`.
    """

    def __init__(
        self,
        frontend: SignalFrontend,
        *,
        filters: int = 32,
        bottleneck: int = 32,
        depth: int = 6,
        kernel_sizes: tuple[int, ...] = (39, 19, 9),
        dropout: float = 0.5,
        drop_path: float = 0.0,
        **recipe: Unpack[SignalRecipe],
    ) -> None:
        if depth % _BLOCKS_A_SHORTCUT:
            raise ConfigError(f"model.depth={depth}: give a multiple of {_BLOCKS_A_SHORTCUT}, the blocks of a shortcut")
        network = Inception1dNetwork(
            frontend.n_leads,
            len(recipe["classes"]),
            filters,
            bottleneck,
            depth // _BLOCKS_A_SHORTCUT,
            tuple(kernel_sizes),
            dropout,
            drop_path,
        )
        super().__init__(frontend, network, **recipe)


class Inception1dNetwork(nn.Module):
    """(B, leads, T) → (B, C) logits, for any T; arguments as for `Inception1d`."""

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        filters: int,
        bottleneck: int,
        n_groups: int,
        kernel_sizes: tuple[int, ...],
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        width = (len(kernel_sizes) + 1) * filters
        last = max(1, n_groups - 1)
        self.groups = nn.Sequential(
            *(
                InceptionGroup(width if group else n_leads, filters, bottleneck, kernel_sizes, drop_path * group / last)
                for group in range(n_groups)
            )
        )
        self.head = ConcatPoolHead(width, n_classes, dropout=dropout)
        initialize(self)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, leads, T) → (B, C)."""
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
        """(B, inputs, 1, T) → (B, width, 1, T)."""
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
        """(B, inputs, 1, T) → (B, branches × filters, 1, T)."""
        narrow = self.bottleneck(x_BC1T)
        branches = [*(convolve(narrow) for convolve in self.convolutions), self.pooled(x_BC1T)]
        activated: Tensor = self.relu(self.norm(torch.cat(branches, dim=1)))
        return activated
