"""vit1d: a vision transformer whose patches hold a piece of time of all leads, or of one."""

from __future__ import annotations

from itertools import pairwise
from typing import Unpack

import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend import SignalFrontend
from ecg_lightning.models.signal_classifier import SignalClassifier, SignalRecipe, convolution
from ecg_lightning.models.windows import window_samples


class ViT1d(SignalClassifier):
    """Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) on the signal, with learned positions.

    Args:
        frontend: the signal front end.
        patch_samples: samples of a patch.
        patch_leads: leads of a patch: 12 (all of them) or a divisor.
        stem: convolutions of stride 2 over all leads before the patches, which then hold their features instead of
            samples (Xiao et al. 2021, arXiv 2106.14881).
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads.
        mlp_ratio: width of the hidden layer of a block's MLP, in widths of a token.
        dropout: on tokens and in the MLPs.
        drop_path: stochastic depth of the last block, rising linearly from 0.
        patch_drop: fraction of the patches that a training step leaves out, at random (Liu et al. 2023, arXiv
            2208.07220).
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
        stem: int = 0,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        patch_drop: float = 0.0,
        **recipe: Unpack[SignalRecipe],
    ) -> None:
        duration_s = frontend.augmentation.duration_s
        n_samples = window_samples(recipe.get("window_s") or duration_s, frontend.n_samples, duration_s)
        if frontend.n_leads % patch_leads:
            raise ValueError(f"model.patch_leads={patch_leads} does not divide the {frontend.n_leads} leads")
        if stem and (patch_leads != frontend.n_leads or patch_samples % 2**stem or dim < 2**stem):
            raise ConfigError(
                f"model.stem={stem} mixes all leads and halves the time {stem} times. It needs "
                f"model.patch_leads={frontend.n_leads} (now {patch_leads}), a multiple of {2**stem} for "
                f"model.patch_samples (now {patch_samples}), and model.dim of at least {2**stem} (now {dim})"
            )
        length = -(-n_samples // patch_samples) * patch_samples
        widths = [dim >> (stem - layer) for layer in range(stem)]
        transformer = VisionTransformer(
            img_size=(1, length >> stem) if stem else (frontend.n_leads, length),
            patch_size=(1, patch_samples >> stem) if stem else (patch_leads, patch_samples),
            in_chans=widths[-1] if stem else 1,
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
            patch_drop_rate=patch_drop,
        )
        network = ViT1dNetwork(
            length, _make_stem(frontend.n_leads, widths) if stem else nn.Unflatten(1, (1, -1)), transformer
        )
        super().__init__(frontend, network, **recipe)


class ViT1dNetwork(nn.Module):
    """(B, leads, T) → (B, C) logits.

    Args:
        length: samples that the patches cover, T or a little more.
        stem: what leads become before the transformer.
        transformer: takes images, of one channel and the leads' height or of the stem's channels and height 1.
    """

    def __init__(self, length: int, stem: nn.Module, transformer: VisionTransformer) -> None:
        super().__init__()
        self.length = length
        self.stem = stem
        self.transformer = transformer

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, leads, T) → (B, C)."""
        padded_BCT = F.pad(signals_BCT, (0, self.length - signals_BCT.shape[2]))
        logits: Tensor = self.transformer(self.stem(padded_BCT))
        return logits


def _make_stem(n_leads: int, widths: list[int]) -> nn.Sequential:
    """(B, leads, T) → (B, last width, 1, T / 2^layers)."""
    layers: list[nn.Module] = [nn.Unflatten(2, (1, -1))]
    for inputs, outputs in pairwise([n_leads, *widths]):
        layers += [convolution(inputs, outputs, 5, stride=2), nn.BatchNorm2d(outputs), nn.GELU()]
    return nn.Sequential(*layers)
