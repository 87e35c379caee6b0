"""resnet1d_wang: the strongest small network of the PTB-XL benchmark."""

from __future__ import annotations

from torch import Tensor, nn

from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.resnet1d import Block
from ecg_lightning.models.schema import ResNet1dWangConfig
from ecg_lightning.models.signal_classifier import (
    ConcatPoolHead,
    SignalClassifier,
    convolution,
    initialize,
)


class ResNet1dWang(SignalClassifier):
    """Residual blocks of equal width (Wang et al. 2017, arXiv 1611.06455), trained as in Strodthoff et al. 2021."""

    @staticmethod
    def make_network(settings: ResNet1dWangConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for any number of samples."""
        n_leads, _ = input.signal
        return ResNet1dWangNetwork(settings, n_leads, n_classes)


class ResNet1dWangNetwork(nn.Module):
    """A network from (B, leads, T) signals to (B, C) logits, for any T."""

    def __init__(self, settings: ResNet1dWangConfig, n_leads: int, n_classes: int) -> None:
        super().__init__()
        channels = settings.channels
        self.stem = nn.Sequential(convolution(n_leads, channels, 7), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        strides = [2 if stage and not block else 1 for stage, n in enumerate(settings.blocks) for block in range(n)]
        last = max(1, len(strides) - 1)
        self.blocks = nn.Sequential(
            *(
                Block(channels, channels, settings.kernel_sizes, stride, settings.drop_path * number / last)
                for number, stride in enumerate(strides)
            )
        )
        self.head = ConcatPoolHead(channels, n_classes, settings.dropout)
        initialize(self)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) signals."""
        logits: Tensor = self.head(self.blocks(self.stem(signals_BCT.unsqueeze(2))))
        return logits
