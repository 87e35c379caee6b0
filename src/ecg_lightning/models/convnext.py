"""ConvNeXt-Tiny: a convolutional network modernised after the vision transformer."""

from __future__ import annotations

from timm.models.convnext import checkpoint_filter_fn
from torch import nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import ConvNeXtConfig
from ecg_lightning.models.weights import create_timm_network

_SMALLEST = 32


class ConvNeXt(ECGClassifier):
    """ConvNeXt (Liu et al. 2022, arXiv 2201.03545) from timm: 7×7 depthwise convolutions, LayerNorm, GELU."""

    published = True
    stem = ("stem.0.weight",)
    head = ("head.fc.",)
    convert_weights = staticmethod(checkpoint_filter_fn)

    @staticmethod
    def make_network(settings: ConvNeXtConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for images of at least 32 pixels a side."""
        n_channels, height, width = input.image
        if min(height, width) < _SMALLEST:
            raise ConfigError(
                f"frontend.size: ConvNeXt halves an image five times, so {height} × {width} is too small. Set at "
                f"least {_SMALLEST} pixels per side"
            )
        return create_timm_network(
            "convnext_tiny.fb_in1k",
            settings,
            in_chans=n_channels,
            num_classes=n_classes,
            dims=tuple(settings.channels),
            depths=tuple(settings.blocks),
            drop_rate=settings.dropout,
            drop_path_rate=settings.drop_path,
        )
