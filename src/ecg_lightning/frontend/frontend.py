"""The front end: from the loader's integers, or millivolts, to what a network takes; part of every model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ecg_lightning.data.wfdb import MILLIVOLTS_PER_UNIT
from ecg_lightning.frontend.augmentation import Augmentation
from ecg_lightning.frontend.matrix import MatrixImage
from ecg_lightning.frontend.strips import StripsImage

NORMALIZATIONS = ("lead", "global", "fixed")


def image_size(size: Any, multiple: int = 1) -> tuple[int, int]:
    """(height, width) in pixels from `frontend.size`, each moved to the nearest multiple (half goes up)."""
    height, width = (size, size) if isinstance(size, int) else size
    return _nearest(height, multiple), _nearest(width, multiple)


def _nearest(pixels: int, multiple: int) -> int:
    return max(multiple, (2 * pixels + multiple) // (2 * multiple) * multiple)


class Frontend(nn.Module):
    """int16 units or float mV → augmented → normalised → represented, in batches on the device.

    Since it is a part of the model, training and deployment cannot disagree, and an exported file takes millivolts.

    Args:
        representation: module (B, leads, T) → network input.
        augmentation: module that changes mV while training.
        normalization: `lead` or `global` (statistics of the training folds, see `fit_normalization`), or `fixed`.
        mean: subtracted, in mV; only with `fixed`.
        std: divided by, in mV; only with `fixed`.
        n_leads: leads of the input.
    """

    def __init__(
        self,
        representation: nn.Module,
        augmentation: Augmentation | None = None,
        normalization: str = "lead",
        mean: float = 0.0,
        std: float = 1.0,
        n_leads: int = 12,
    ) -> None:
        super().__init__()
        self.representation = representation
        self.augmentation = augmentation or Augmentation()
        self.normalization = normalization
        rows = n_leads if normalization == "lead" else 1
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.full((rows, 1), mean))
        self.register_buffer("std", torch.full((rows, 1), std))

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


class ImageFrontend(Frontend):
    """A front end that gives images.

    Attributes:
        image_shape: (channels, height, width) of the images.
    """

    image_shape: tuple[int, int, int]


class MatrixFrontend(ImageFrontend):
    """The signal matrix as an image, at any size.

    Args:
        n_samples: samples a lead.
        size: (height, width) of the image.
        rows: `leads` or `time`, see `MatrixImage`.
        channels: 1 or 3.
        normalization: see `Frontend`.
        mean: see `Frontend`.
        std: see `Frontend`.
        augmentation: see `Frontend`.
        n_leads: leads of the input.
    """

    def __init__(
        self,
        n_samples: int,
        size: tuple[int, int],
        rows: str = "leads",
        channels: int = 1,
        normalization: str = "lead",
        mean: float = 0.0,
        std: float = 1.0,
        augmentation: Augmentation | None = None,
        n_leads: int = 12,
    ) -> None:
        representation = MatrixImage(n_leads, n_samples, size, rows, channels)
        super().__init__(representation, augmentation, normalization, mean, std, n_leads)
        self.image_shape = (channels, *size)


class StripsFrontend(ImageFrontend):
    """Every lead in a band of rows of its own, see `StripsImage`; arguments as for `MatrixFrontend`."""

    def __init__(
        self,
        n_samples: int,
        size: tuple[int, int],
        channels: int = 1,
        normalization: str = "lead",
        mean: float = 0.0,
        std: float = 1.0,
        augmentation: Augmentation | None = None,
        n_leads: int = 12,
    ) -> None:
        representation = StripsImage(n_leads, n_samples, size, channels)
        super().__init__(representation, augmentation, normalization, mean, std, n_leads)
        self.image_shape = (channels, *size)


class SignalFrontend(Frontend):
    """The normalised signal itself, (B, leads, T), for one-dimensional networks; arguments as for `Frontend`.

    Attributes:
        n_leads: leads of the signal.
        n_samples: samples a lead.
    """

    def __init__(
        self,
        n_samples: int,
        normalization: str = "lead",
        mean: float = 0.0,
        std: float = 1.0,
        augmentation: Augmentation | None = None,
        n_leads: int = 12,
    ) -> None:
        super().__init__(nn.Identity(), augmentation, normalization, mean, std, n_leads)
        self.n_leads = n_leads
        self.n_samples = n_samples
