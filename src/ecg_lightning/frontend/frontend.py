"""The front end: from the loader's integers, or millivolts, to what a network takes; part of every model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ecg_lightning.data.wfdb import LEADS, MILLIVOLTS_PER_UNIT
from ecg_lightning.frontend.augmentation import Augmentation
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.frontend.schema import FrontendConfig

log = logging.getLogger(__name__)


class Frontend(nn.Module):
    """int16 units or float mV → augmented → normalised → represented, in batches on the device.

    Since it is a part of the model, training and deployment cannot disagree, and an exported file takes millivolts.

    Args:
        settings: normalisation and augmentation.
        representation: module (B, leads, T) → network input.
        network_input: shape of one record as `representation` gives it, and the record's duration.
    """

    def __init__(self, settings: FrontendConfig, representation: nn.Module, network_input: InputSpec) -> None:
        super().__init__()
        self.representation = representation
        self.augmentation = Augmentation(settings.augmentation, network_input.duration_s)
        self.network_input = network_input
        self.normalization = settings.normalization
        rows = len(LEADS) if settings.normalization == "lead" else 1
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.full((rows, 1), float(settings.mean)))
        self.register_buffer("std", torch.full((rows, 1), float(settings.std)))

    def fit_normalization(self, mean_and_std: Callable[[bool], tuple[Tensor, Tensor]]) -> None:
        """Take mean and standard deviation, in mV, from the training split.

        Args:
            mean_and_std: `SignalDataset.mean_and_std` of the training split.
        """
        if self.normalization != "fixed":
            mean, std = mean_and_std(self.normalization == "lead")
            self.mean.copy_(mean)
            self.std.copy_(std)

    def to_millivolts(self, signals_BCT: Tensor) -> Tensor:
        """Integers count units of 1 µV; floats are millivolts already."""
        return signals_BCT if signals_BCT.is_floating_point() else signals_BCT.float().mul_(MILLIVOLTS_PER_UNIT)

    def augment(self, signals_BCT: Tensor) -> Tensor:
        """Signals as loaded → mV, augmented while training; what a student and its teacher both see."""
        augmented: Tensor = self.augmentation(self.to_millivolts(signals_BCT))
        return augmented

    def represent(self, millivolts_BCT: Tensor) -> Tensor:
        """MV → normalised → represented; in float32 whatever the precision of the network."""
        with torch.autocast(millivolts_BCT.device.type, enabled=False):
            return self.represent_as_is(millivolts_BCT)

    def represent_as_is(self, millivolts_BCT: Tensor) -> Tensor:
        """What `represent` computes, in the caller's precision context: exported graphs must not hold an autocast."""
        represented: Tensor = self.representation((millivolts_BCT.float() - self.mean).div_(self.std))
        return represented

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, leads, T) int16 units of 1 µV, or float mV → network input."""
        return self.represent(self.augment(signals_BCT))


def fitted_size(size: Any, patch_size: int) -> tuple[int, int]:
    """Return (height, width) of `frontend.size`, each moved to the nearest multiple of a patch's side, which is logged.

    Args:
        size: pixels: one number, or [height, width].
        patch_size: side of the network's patches; 1: it has none.
    """
    asked, fitted = image_size(size), image_size(size, patch_size)
    if fitted != asked:
        log.warning(
            "frontend.size: %d × %d is not divisible by the patch size of %d; the signal is resized to %d × %d instead",
            *asked,
            patch_size,
            *fitted,
        )
    return fitted


def image_size(size: Any, multiple: int = 1) -> tuple[int, int]:
    """Return (height, width) in pixels, each moved to the nearest multiple (half goes up)."""
    height, width = (size, size) if isinstance(size, int) else size
    return _nearest(height, multiple), _nearest(width, multiple)


def _nearest(pixels: int, multiple: int) -> int:
    return max(multiple, (2 * pixels + multiple) // (2 * multiple) * multiple)
