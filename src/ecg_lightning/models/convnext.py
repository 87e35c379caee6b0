"""ConvNeXt-Tiny: a convolutional network modernised after the vision transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from timm.models.convnext import checkpoint_filter_fn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.frontend import ImageFrontend
from ecg_lightning.models.classifier import ECGClassifier, Recipe
from ecg_lightning.models.weights import create_timm_network, load_file

_SMALLEST = 32


class ConvNeXt(ECGClassifier):
    """ConvNeXt (Liu et al. 2022, arXiv 2201.03545) from timm: 7×7 depthwise convolutions, LayerNorm, GELU.

    Args:
        frontend: an image front end.
        channels: width of each of the four stages.
        blocks: blocks of each stage.
        dropout: before the classifier.
        drop_path: stochastic depth of the last block, rising linearly from 0.
        pretrained: ImageNet weights, fetched by timm.
        weights: a local file of such weights.
        **recipe: see `ECGClassifier`.
    """

    def __init__(
        self,
        frontend: ImageFrontend,
        *,
        channels: Sequence[int] = (96, 192, 384, 768),
        blocks: Sequence[int] = (3, 3, 9, 3),
        dropout: float = 0.0,
        drop_path: float = 0.1,
        pretrained: bool = False,
        weights: str | None = None,
        **recipe: Unpack[Recipe],
    ) -> None:
        n_channels, height, width = frontend.image_shape
        if min(height, width) < _SMALLEST:
            raise ConfigError(
                f"frontend.size: ConvNeXt halves an image five times, so {height} × {width} is too small. Set at "
                f"least {_SMALLEST} pixels per side"
            )
        network = create_timm_network(
            "convnext_tiny.fb_in1k",
            pretrained=pretrained and not weights,
            in_chans=n_channels,
            num_classes=len(recipe["classes"]),
            dims=tuple(channels),
            depths=tuple(blocks),
            drop_rate=dropout,
            drop_path_rate=drop_path,
        )
        if weights:
            load_file(network, weights, stem="stem.0.weight", head="head.fc.", convert=checkpoint_filter_fn)
        super().__init__(frontend, network, **recipe)
