"""vit1d: a vision transformer whose patches hold a piece of time of all leads, or of one."""

from __future__ import annotations

from typing import Unpack

import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.frontend import SignalFrontend
from ecg_lightning.models.signal_classifier import SignalClassifier, SignalRecipe
from ecg_lightning.models.windows import window_samples


class ViT1d(SignalClassifier):
    """Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) on the signal, with learned positions.

    Args:
        frontend: the signal front end.
        patch_samples: samples of a patch.
        patch_leads: leads of a patch: 12 (all of them) or a divisor.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads.
        mlp_ratio: width of the hidden layer of a block's MLP, in widths of a token.
        dropout: on tokens and in the MLPs.
        drop_path: stochastic depth of the last block, rising linearly from 0.
        **recipe: see `SignalClassifier`.
    """

    def __init__(
        self,
        frontend: SignalFrontend,
        *,
        patch_samples: int = 20,
        patch_leads: int = 12,
        dim: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        **recipe: Unpack[SignalRecipe],
    ) -> None:
        window_s = recipe.get("window_s") or DURATION_S
        n_samples = window_samples(window_s, frontend.n_samples)
        if frontend.n_leads % patch_leads:
            raise ValueError(f"{frontend.n_leads} leads do not fill patches of {patch_leads}")
        transformer = VisionTransformer(
            img_size=(frontend.n_leads, -(-n_samples // patch_samples) * patch_samples),
            patch_size=(patch_leads, patch_samples),
            in_chans=1,
            num_classes=len(recipe["classes"]),
            global_pool="avg",
            class_token=False,
            embed_dim=dim,
            depth=depth,
            num_heads=heads,
            mlp_ratio=mlp_ratio,
            pos_drop_rate=dropout,
            proj_drop_rate=dropout,
            drop_path_rate=drop_path,
        )
        super().__init__(frontend, ViT1dNetwork(transformer), **recipe)


class ViT1dNetwork(nn.Module):
    """(B, leads, T) → (B, C) logits; the transformer takes one-channel images, as long or a little longer."""

    def __init__(self, transformer: VisionTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, leads, T) → (B, C)."""
        length = self.transformer.patch_embed.img_size[1]
        logits: Tensor = self.transformer(F.pad(signals_BCT, (0, length - signals_BCT.shape[2])).unsqueeze(1))
        return logits
