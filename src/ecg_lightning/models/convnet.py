"""Plain 3×3 convolution + ReLU networks: what int8 and bfloat16 kernels run fastest, and so good students."""

from __future__ import annotations

from typing import Any, Unpack

from timm.utils.model import reparameterize_model
from torch import nn

from ecg_lightning.frontend.frontend import ImageFrontend
from ecg_lightning.models.classifier import ECGClassifier, Recipe
from ecg_lightning.models.weights import create_timm_network, load_file


class ConvNet(ECGClassifier):
    """ResNet (He et al. 2016; D: He et al. 2019, T: timm's own) or RepVGG (Ding et al. 2021), from timm.

    Args:
        frontend: an image front end, of any size.
        variant: `resnet10t`, `resnet18d`, `resnet18` or `repvgg_a0`; deploy the last one through `reparameterize`.
        width: factor on the channels (rounded to 8); 1 is the published network.
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
        variant: str = "resnet18d",
        width: float = 1.0,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        pretrained: bool = False,
        weights: str | None = None,
        **recipe: Unpack[Recipe],
    ) -> None:
        n_channels, *_ = frontend.image_shape
        network: Any = create_timm_network(
            variant,
            pretrained=pretrained and not weights,
            in_chans=n_channels,
            num_classes=len(recipe["classes"]),
            drop_rate=dropout,
            drop_path_rate=drop_path,
            zero_init_last=False,  # folding a BatchNorm of gamma 0 into its convolution, as QAT does, divides by 0
            **_channels(variant, width),
        )
        if weights:
            published = network.pretrained_cfg
            convolutions = published["first_conv"]  # RepVGG's stem has two
            convolutions = (convolutions,) if isinstance(convolutions, str) else convolutions
            load_file(
                network,
                weights,
                stem=tuple(f"{name}.weight" for name in convolutions),
                head=f"{published['classifier']}.",
            )
        super().__init__(frontend, network, **recipe)


def reparameterize(network: nn.Module) -> nn.Module:
    """The network to deploy: a copy with RepVGG's branches merged into one 3×3 convolution a block, BatchNorm included.

    Equal in evaluation mode (Ding et al. 2021, arXiv 2101.03697, section 3.3); trained further it has no BatchNorm any
    more. A network without such branches is returned as it is.
    """
    if not any(hasattr(module, "reparameterize") for module in network.modules()):
        return network
    merged: nn.Module = reparameterize_model(network)
    for module in merged.modules():
        module.__dict__.pop("id_tensor", None)  # timm's scratch: as large as the weights, and pickled with them
    return merged


def _channels(variant: str, width: float) -> dict[str, Any]:
    if variant.startswith("repvgg"):
        return {"width_factor": width}
    stages = tuple(_multiple_of_8(channels * width) for channels in (64, 128, 256, 512))
    return {"channels": stages, "stem_width": _multiple_of_8(32 * width)}


def _multiple_of_8(channels: float) -> int:
    return max(8, round(channels / 8) * 8)
