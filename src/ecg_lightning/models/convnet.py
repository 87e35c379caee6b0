"""Plain 3×3 convolution + ReLU networks. Int8 and bfloat16 kernels run them fastest, so they are good students."""

from __future__ import annotations

from typing import Any

from timm.utils.model import reparameterize_model
from torch import nn

from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.schema import ConvNetConfig
from ecg_lightning.models.timm_model import TimmModel, make_timm_network


class ConvNet(TimmModel):
    """ResNet (He et al. 2016; D: He et al. 2019, T: timm's own) or RepVGG (Ding et al. 2021) of any width, from timm.

    Use `reparameterize` to deploy RepVGG.
    """

    @staticmethod
    def make_network(settings: ConvNetConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for images of any size."""
        return make_timm_network(
            settings.variant,
            settings,
            input,
            n_classes,
            zero_init_last=False,  # folding a BatchNorm of gamma 0 into its convolution, as QAT does, divides by 0
            **_channels(settings.variant, settings.width),
        )


def reparameterize(network: nn.Module) -> nn.Module:
    """Return a copy of the network to deploy. RepVGG's branches and BatchNorm become one 3×3 convolution per block.

    In evaluation mode both are equal (Ding et al. 2021, arXiv 2101.03697, section 3.3). Further training of the copy
    has no BatchNorm. A network without such branches is returned as it is.
    """
    if not any(hasattr(module, "reparameterize") for module in network.modules()):
        return network
    merged: nn.Module = reparameterize_model(network)
    for module in merged.modules():
        module.__dict__.pop("id_tensor", None)  # timm's temporary tensor, as large as the weights; it would be pickled
    return merged


def _channels(variant: str, width: float) -> dict[str, Any]:
    if variant.startswith("repvgg"):
        return {"width_factor": width}
    stages = tuple(_multiple_of_8(channels * width) for channels in (64, 128, 256, 512))
    return {"channels": stages, "stem_width": _multiple_of_8(32 * width)}


def _multiple_of_8(channels: float) -> int:
    return max(8, round(channels / 8) * 8)
