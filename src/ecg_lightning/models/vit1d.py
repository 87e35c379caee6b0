"""ViT1d: a vision transformer whose patches hold a piece of time of one lead or of several."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.schema import ViT1dConfig
from ecg_lightning.models.signal_classifier import SignalClassifier, convolution


class ViT1d(SignalClassifier):
    """Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) on the signal, with learned positions.

    With `stem`, patches hold features of convolutions instead of samples (Xiao et al. 2021, arXiv 2106.14881).
    """

    @staticmethod
    def make_network(settings: ViT1dConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for signals of one length."""
        n_leads, n_samples = input.signal
        stem, dim = settings.stem, settings.dim
        patch_leads, patch_samples = settings.patch_leads, settings.patch_samples
        if n_leads % patch_leads:
            raise ValueError(f"model.patch_leads={patch_leads} does not divide the {n_leads} leads")
        if stem and (patch_leads != n_leads or patch_samples % 2**stem or dim < 2**stem):
            raise ConfigError(
                f"model.stem={stem} mixes all leads and halves the time {stem} times. It needs "
                f"model.patch_leads={n_leads} (now {patch_leads}), a multiple of {2**stem} for "
                f"model.patch_samples (now {patch_samples}), and model.dim of at least {2**stem} (now {dim})"
            )
        length = -(-n_samples // patch_samples) * patch_samples
        widths = [dim >> (stem - layer) for layer in range(stem)]
        transformer = VisionTransformer(
            img_size=(1, length >> stem) if stem else (n_leads, length),
            patch_size=(1, patch_samples >> stem) if stem else (patch_leads, patch_samples),
            in_chans=widths[-1] if stem else 1,
            num_classes=n_classes,
            global_pool="avg",
            class_token=False,
            embed_dim=dim,
            depth=settings.depth,
            num_heads=settings.heads,
            mlp_ratio=settings.mlp_ratio,
            pos_drop_rate=settings.dropout,
            proj_drop_rate=settings.dropout,
            drop_path_rate=settings.drop_path,
            patch_drop_rate=settings.patch_drop,
        )
        return ViT1dNetwork(length, _make_stem(n_leads, widths) if stem else nn.Unflatten(1, (1, -1)), transformer)


class ViT1dNetwork(nn.Module):
    """A network from (B, leads, T) signals to (B, C) logits.

    Args:
        length: number of samples that the patches cover, T or a little more.
        stem: module between the leads and the transformer.
        transformer: network on images. They have one channel and a row per lead, or the stem's channels and height 1.
    """

    def __init__(self, length: int, stem: nn.Module, transformer: VisionTransformer) -> None:
        super().__init__()
        self.length = length
        self.stem = stem
        self.transformer = transformer

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) signals."""
        padded_BCT = F.pad(signals_BCT, (0, self.length - signals_BCT.shape[2]))
        logits: Tensor = self.transformer(self.stem(padded_BCT))
        return logits


def _make_stem(n_leads: int, widths: list[int]) -> nn.Sequential:
    """Return a stem from (B, leads, T) signals to (B, last width, 1, T / 2^layers) features."""
    layers: list[nn.Module] = [nn.Unflatten(2, (1, -1))]
    for inputs, outputs in pairwise([n_leads, *widths]):
        layers += [convolution(inputs, outputs, 5, stride=2), nn.BatchNorm2d(outputs), nn.GELU()]
    return nn.Sequential(*layers)
