"""EfficientNetV2-S: fused and plain inverted bottlenecks with squeeze-and-excitation."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn
from torchvision.models import EfficientNet, EfficientNet_V2_S_Weights
from torchvision.models.efficientnet import FusedMBConv, FusedMBConvConfig, MBConvConfig

from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import EffNetV2Config
from ecg_lightning.models.weights import State, load_published


class _FusedMBConv(FusedMBConv):  # type: ignore[misc]  # torchvision has no types
    """A block that adds out of place. Torchvision's `+=` overwrites a tensor that the gradient of a ReLU needs.

    Compression may replace SiLU by ReLU.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the (B, C', H', W') features of a (B, C, H, W) input."""
        result: Tensor = self.block(input)
        return self.stochastic_depth(result) + input if self.use_res_connect else result


_fused = partial(FusedMBConvConfig, block=_FusedMBConv)

# (block, expansion, kernel, stride, input channels, output channels, layers): Tan & Le 2021, arXiv 2104.00298, table 4.
_STAGES = (
    (_fused, 1, 3, 1, 24, 24, 2),
    (_fused, 4, 3, 2, 24, 48, 4),
    (_fused, 4, 3, 2, 48, 64, 4),
    (MBConvConfig, 4, 3, 2, 64, 128, 6),
    (MBConvConfig, 6, 3, 1, 128, 160, 9),
    (MBConvConfig, 6, 3, 2, 160, 256, 15),
)

_STEM = ("features.0.0.weight",)
_HEAD = ("classifier.",)


class EffNetV2(ECGClassifier):
    """EfficientNetV2-S (Tan & Le 2021) from torchvision: Kaiming-normal convolutions, uniform linear layer, SiLU."""

    published = True
    stem = _STEM
    head = _HEAD

    @staticmethod
    def make_network(settings: EffNetV2Config, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for images of any size."""
        stages = [
            block(
                expansion,
                kernel,
                stride,
                _channels(before, settings.width),
                _channels(after, settings.width),
                math.ceil(layers * settings.depth),
            )
            for (block, expansion, kernel, stride, before, after, layers) in _STAGES
        ]
        network: nn.Module = EfficientNet(
            stages,
            dropout=settings.dropout,
            stochastic_depth_prob=settings.drop_path,
            num_classes=n_classes,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
            last_channel=_channels(1280, settings.width),
        )
        channels, *_ = input.image
        if channels != 3:
            _replace_stem(network, channels)
        if settings.pretrained and not settings.weights:
            load_published(network, _imagenet_weights, name="EfficientNetV2-S", stem=_STEM, head=_HEAD)
        return network


def _channels(channels: int, width: float) -> int:
    return int(MBConvConfig.adjust_channels(channels, width))


def _imagenet_weights() -> State:
    state: State = EfficientNet_V2_S_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)
    return state


def _replace_stem(network: EfficientNet, channels: int) -> None:
    stem = network.features[0]
    convolution = nn.Conv2d(channels, stem[0].out_channels, kernel_size=3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    stem[0] = convolution
