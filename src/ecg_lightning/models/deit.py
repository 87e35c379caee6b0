"""DeiT: a data-efficient vision transformer with a distillation token and head."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, cast

import torch
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from ecg_lightning.data.datamodule import ECGBatch
from ecg_lightning.evaluation.metrics import superclass_metrics
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import DeiTConfig
from ecg_lightning.models.weights import create_timm_network

HEADS = ("class_head", "distillation_head")


class DeiT(ECGClassifier):
    """Distilled DeiT (Touvron et al. 2021, arXiv 2012.12877) for multi-label targets.

    The class head learns the labels. The distillation head learns from the teacher, see `Distillation`. Without a
    teacher both heads learn the labels. The prediction is the mean of both heads' logits.
    """

    published = True
    stem = ("patch_embed.proj.weight",)
    head = ("head",)  # both heads
    convert_weights = staticmethod(checkpoint_filter_fn)

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._heads: defaultdict[str, list[Tensor]] = defaultdict(list)

    @staticmethod
    def make_network(settings: DeiTConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network. The image's sides must be multiples of the patch's."""
        channels, height, width = input.image
        shape = {"embed_dim": settings.dim, "depth": settings.depth, "num_heads": settings.heads}
        network: Any = create_timm_network(
            f"deit_{settings.variant}_distilled_patch16_224",
            settings,
            img_size=(height, width),
            patch_size=settings.patch_size,
            in_chans=channels,
            num_classes=n_classes,
            drop_rate=settings.dropout,
            pos_drop_rate=settings.dropout,
            proj_drop_rate=settings.dropout,
            patch_drop_rate=settings.patch_drop,
            attn_drop_rate=settings.attention_dropout,
            drop_path_rate=settings.drop_path,
            **{name: value for name, value in shape.items() if value is not None},
        )
        if settings.patch_drop:
            network.patch_drop.num_prefix_tokens = network.num_prefix_tokens  # timm counts the class token alone
        return cast(nn.Module, network)

    def compile_network(self) -> None:
        """Compile the blocks alone, because training reads both heads without the network's own `forward`."""
        network: Any = self.network
        network.forward_features = torch.compile(network.forward_features)

    def loss_and_logits(self, batch: ECGBatch) -> tuple[Tensor, Tensor]:
        """Return the distillation loss, and the mean of both heads' logits."""
        millivolts, targets, taught = self.augmented(batch)
        class_logits, distilled_logits = self._both_heads(self.frontend.represent(millivolts))
        hard = self.loss(class_logits, targets)
        if self.distillation and taught is not None:
            loss = self.distillation.total_loss(hard, distilled_logits, taught, self.link)
        else:
            loss = (hard + self.loss(distilled_logits, targets)) / 2
        return loss, (class_logits + distilled_logits) / 2

    def _evaluated(self, phase: str, signals_BCT: Tensor) -> Tensor:
        heads = torch.stack(self._both_heads(self.frontend(signals_BCT)))
        self._heads[phase].append(heads)
        return heads.mean(dim=0)

    def scores(self, phase: str, kept: dict[str, Tensor]) -> dict[str, float]:
        """Return the metrics of an epoch, with the AUROC of each head."""
        metrics = super().scores(phase, kept)
        if heads := self._heads.pop(phase, None):
            for name, logits in zip(HEADS, torch.cat(heads, dim=1).cpu(), strict=True):
                probabilities, thresholds = self.loss.probabilities(logits), self.thresholds.cpu()
                scores = superclass_metrics(probabilities, kept["targets"], self.classes, thresholds)
                metrics[f"auroc_macro_{name}"] = scores["auroc_macro"]
        return metrics

    def _both_heads(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        tokens_BND = network.head_drop(network.forward_features(images_BCHW)[:, :2])
        return network.head(tokens_BND[:, 0]), network.head_dist(tokens_BND[:, 1])
