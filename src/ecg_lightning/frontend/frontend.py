"""The front end. It turns the loader's integers, or millivolts, into a network's input, and is part of every model."""

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
    """A module from int16 units or float mV to the network input: augmented, normalised and represented in batches.

    It is part of the model, so training and deployment cannot disagree, and an exported file accepts millivolts.

    Args:
        settings: normalisation and augmentation.
        representation: the module from (B, leads, T) to the network input.
        network_input: the shape of one record after `representation`, and the record's duration.
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
        """Set mean and standard deviation, in mV, from the training split.

        Args:
            mean_and_std: `SignalDataset.mean_and_std` of the training split.
        """
        if self.normalization != "fixed":
            mean, std = mean_and_std(self.normalization == "lead")
            self.mean.copy_(mean)
            self.std.copy_(std)

    def to_millivolts(self, signals_BCT: Tensor) -> Tensor:
        """Return the signals in mV. Integers count units of 1 µV; floats are millivolts already."""
        return signals_BCT if signals_BCT.is_floating_point() else signals_BCT.float().mul_(MILLIVOLTS_PER_UNIT)

    def augment(self, signals_BCT: Tensor) -> Tensor:
        """Return loaded signals in mV, augmented while training. A student and its teacher both receive them."""
        augmented: Tensor = self.augmentation(self.to_millivolts(signals_BCT))
        return augmented

    def represent(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the normalised representation of signals in mV. It is computed in float32 at any network precision."""
        with torch.autocast(millivolts_BCT.device.type, enabled=False):
            return self.represent_as_is(millivolts_BCT)

    def represent_as_is(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the output of `represent` in the caller's precision. Exported graphs must not hold an autocast."""
        represented: Tensor = self.representation((millivolts_BCT.float() - self.mean).div_(self.std))
        return represented

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the network input of (B, leads, T) signals, as int16 units of 1 µV or float mV."""
        return self.represent(self.augment(signals_BCT))


def fitted_size(size: Any, patch_size: int) -> tuple[int, int]:
    """Return (height, width) of `frontend.size`, each rounded to a multiple of a patch's side, and log a change.

    Args:
        size: the size in pixels: one number, or [height, width].
        patch_size: the side of the network's patches; 1 if it has none.
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
    """Return (height, width) in pixels, each rounded to the nearest multiple (half goes up)."""
    height, width = (size, size) if isinstance(size, int) else size
    return _nearest(height, multiple), _nearest(width, multiple)


def _nearest(pixels: int, multiple: int) -> int:
    return max(multiple, (2 * pixels + multiple) // (2 * multiple) * multiple)
