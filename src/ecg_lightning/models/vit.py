"""ViT: the original student project's vision transformer on the signal as an image."""

from __future__ import annotations

from typing import Unpack

from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.frontend import ImageFrontend
from ecg_lightning.models.classifier import ECGClassifier, Recipe
from ecg_lightning.models.weights import load_file


class ViT(ECGClassifier):
    """Vision transformer (Dosovitskiy et al. 2021): learned positions, pre-norm, mean pooling, linear head.

    Args:
        frontend: an image front end; its size must be divisible by the patch.
        patch_size: pixels of a square patch.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads.
        mlp_dim: width of the hidden layer of a block's MLP.
        dropout: on tokens and in the MLPs.
        attention_dropout: on attention weights; above 0 it costs the fast attention kernel.
        drop_path: stochastic depth of the last block, rising linearly from 0.
        patch_drop: fraction of the patches that a training step leaves out, at random (Liu et al. 2023, arXiv
            2208.07220).
        pretrained: refused: nobody published weights of this shape.
        weights: a local file of weights of this shape.
        **recipe: see `ECGClassifier`.
    """

    def __init__(
        self,
        frontend: ImageFrontend,
        *,
        patch_size: int = 8,
        dim: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp_dim: int = 1024,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        patch_drop: float = 0.0,
        pretrained: bool = False,
        weights: str | None = None,
        **recipe: Unpack[Recipe],
    ) -> None:
        if pretrained and not weights:
            raise ConfigError(
                "model.pretrained=true: there are no published weights for this ViT. Use model=deit, set "
                "model.pretrained=false, or set model.weights=FILE to load your own weights"
            )
        channels, height, width = frontend.image_shape
        network = VisionTransformer(
            img_size=(height, width),
            patch_size=patch_size,
            in_chans=channels,
            num_classes=len(recipe["classes"]),
            global_pool="avg",
            class_token=False,
            embed_dim=dim,
            depth=depth,
            num_heads=heads,
            mlp_ratio=mlp_dim / dim,
            pos_drop_rate=dropout,
            proj_drop_rate=dropout,
            patch_drop_rate=patch_drop,
            attn_drop_rate=attention_dropout,
            drop_path_rate=drop_path,
        )
        if weights:
            load_file(network, weights, stem="patch_embed.proj.weight", head="head.", convert=checkpoint_filter_fn)
        super().__init__(frontend, network, **recipe)
