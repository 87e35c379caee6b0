"""A callback that keeps pruned weights at zero in later fits."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class KeepZeros(Callback):
    """Keeps weights at zero that are zero when a fit starts.

    It reads the parameters themselves, so it needs no record of a pruning. It works on any graph that
    quantization makes of a network, whatever the names.
    """

    def __init__(self) -> None:
        self._weights: list[Tensor] = []
        self._masks: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the zeros. Parameters are on the training's device only from now on."""
        self.remember(pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Set pruned weights to zero again, before any validation and checkpoint."""
        self.enforce()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the weights."""
        self._weights, self._masks = [], []

    def remember(self, module: torch.nn.Module) -> None:
        """Note where every pruned weight is zero."""
        self._weights, self._masks = [], []
        for weight in module.parameters():
            if weight.dim() < 2 or not weight.requires_grad:
                continue
            kept = weight.detach() != 0
            if not kept.all():
                self._weights.append(weight)
                self._masks.append(kept.to(weight.dtype))  # bool masks would take foreach's slow path

    def enforce(self) -> None:
        """Set the remembered weights to zero, in one fused product for all of them."""
        if self._weights:
            with torch.no_grad():
                torch._foreach_mul_(self._weights, self._masks)
