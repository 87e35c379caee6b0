"""resnet1d_wang: the strongest small network of the PTB-XL benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from ecg_lightning.frontend.frontend import SignalFrontend
from ecg_lightning.models.resnet1d import Block
from ecg_lightning.models.signal_classifier import (
    ConcatPoolHead,
    SignalClassifier,
    SignalRecipe,
    convolution,
    initialize,
)


class ResNet1dWang(SignalClassifier):
    """Three residual blocks of equal width (Wang et al. 2017, arXiv 1611.06455), as Strodthoff et al. 2021 trained it.

    Args:
        frontend: the signal front end.
        channels: of every layer.
        blocks: blocks of each stage; every stage but the first halves the length.
        kernel_sizes: samples that a block's two convolutions span.
        dropout: before the last layer of the head; half as much before its first.
        drop_path: stochastic depth of the last block, rising linearly from 0.
        **recipe: see `SignalClassifier`.
    """

    def __init__(
        self,
        frontend: SignalFrontend,
        *,
        channels: int = 128,
        blocks: Sequence[int] = (1, 1, 1),
        kernel_sizes: Sequence[int] = (5, 3),
        dropout: float = 0.5,
        drop_path: float = 0.0,
        **recipe: Unpack[SignalRecipe],
    ) -> None:
        n_classes = len(recipe["classes"])
        network = ResNet1dWangNetwork(frontend.n_leads, n_classes, channels, blocks, kernel_sizes, dropout, drop_path)
        super().__init__(frontend, network, **recipe)


class ResNet1dWangNetwork(nn.Module):
    """(B, leads, T) → (B, C) logits, for any T; arguments as for `ResNet1dWang`."""

    def __init__(
        self,
        n_leads: int,
        n_classes: int,
        channels: int,
        blocks: Sequence[int],
        kernel_sizes: Sequence[int],
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(n_leads, channels, 7), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        strides = [2 if stage and not block else 1 for stage, n in enumerate(blocks) for block in range(n)]
        last = max(1, len(strides) - 1)
        self.blocks = nn.Sequential(
            *(
                Block(channels, channels, kernel_sizes, stride, drop_path * number / last)
                for number, stride in enumerate(strides)
            )
        )
        self.head = ConcatPoolHead(channels, n_classes, dropout=dropout)
        initialize(self)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, leads, T) → (B, C)."""
        logits: Tensor = self.head(self.blocks(self.stem(signals_BCT.unsqueeze(2))))
        return logits
