"""ViT: the original student project's vision transformer on the signal as an image."""

from __future__ import annotations

from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import ViTConfig


class ViT(ECGClassifier):
    """Vision transformer (Dosovitskiy et al. 2021): learned positions, pre-norm, mean pooling, linear head.

    A training step may leave out patches at random (`patch_drop`, Liu et al. 2023, arXiv 2208.07220).
    """

    stem = ("patch_embed.proj.weight",)
    convert_weights = staticmethod(checkpoint_filter_fn)

    @staticmethod
    def make_network(settings: ViTConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network. The image's sides must be multiples of the patch's."""
        channels, height, width = input.image
        network: nn.Module = VisionTransformer(
            img_size=(height, width),
            patch_size=settings.patch_size,
            in_chans=channels,
            num_classes=n_classes,
            global_pool="avg",
            class_token=False,
            embed_dim=settings.dim,
            depth=settings.depth,
            num_heads=settings.heads,
            mlp_ratio=settings.mlp_dim / settings.dim,
            pos_drop_rate=settings.dropout,
            proj_drop_rate=settings.dropout,
            patch_drop_rate=settings.patch_drop,
            attn_drop_rate=settings.attention_dropout,
            drop_path_rate=settings.drop_path,
        )
        return network
