"""The interface of a disturbance: what it gets of a batch, and the page in millimetres."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_NODES = 65
"""Nodes a side of fields that are made small and resized: one every 4.4 mm of a letter's width."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


class Drawn(NamedTuple):
    """One layer's amount and random numbers, for each record.

    Attributes:
        amount: (B, 1, 1), in the unit of `levels.LEVELS`.
        numbers: uniform numbers from 0 to 1, of shape (B, 1, 1) each.
    """

    amount: Tensor
    numbers: tuple[Tensor, ...]

    @classmethod
    def of(cls, amounts_B: Tensor, numbers_BN: Tensor) -> Drawn:
        """Return the amounts and the N numbers of each record in their shapes."""
        return cls(amounts_B[:, None, None], numbers_BN[:, :, None, None].unbind(1))


class Scene(NamedTuple):
    """The picture's size, and what is behind the page.

    Attributes:
        size: height and width in pixels.
        px_per_mm: resolution.
        backdrop: (B, C, 1, 1) colour behind the page.
    """

    size: tuple[int, int]
    px_per_mm: float
    backdrop: Tensor

    @property
    def height_mm(self) -> float:
        """The height of the picture."""
        return self.size[0] / self.px_per_mm

    @property
    def width_mm(self) -> float:
        """The width of the picture."""
        return self.size[1] / self.px_per_mm

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Return the pixels' distances from the centre, in mm: x as (1, 1, W) and y as (1, H, 1)."""
        return self._axes(*self.size)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Return the places of `N_NODES` × `N_NODES` nodes as `pixels` does, the outer ones on the outer pixels."""
        return self._axes(N_NODES, N_NODES)

    def _axes(self, n_y: int, n_x: int) -> tuple[Tensor, Tensor]:
        ends_mm = [(side - 1) / 2 / self.px_per_mm for side in self.size]
        y, x = (
            torch.linspace(-end, end, n, device=self.backdrop.device, dtype=self.backdrop.dtype)
            for end, n in zip(ends_mm, (n_y, n_x), strict=True)
        )
        return x[None, None], y[None, :, None]

    def resized(self, field_BCnn: Tensor) -> Tensor:
        """Return a field at the nodes, (B, C, n, n), as (B, C, H, W)."""
        return F.interpolate(field_BCnn, self.size, mode="bilinear", align_corners=True)


class Layer(nn.Module, ABC):
    """One disturbance.

    Args:
        largest: the largest amount that `forward` gets.
        px_per_mm: resolution of the images.
    """

    n_draws: ClassVar[int]
    """How many random numbers a record needs."""

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__()
        self.largest = largest
        self.px_per_mm = px_per_mm

    @abstractmethod
    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the disturbed images. Values may leave [0, 1]; `Artifacts` clips them after each layer.

        Args:
            images_BCHW: images from 0 (black) to 1 (white), with one or three channels.
            scene: size and backdrop of the batch.
            drawn: amounts and random numbers of the batch.
        """


def between(low: float, high: float, number: Tensor) -> Tensor:
    """Return a uniform number from 0 to 1 as one from `low` to `high`."""
    return low + (high - low) * number


def signed(number: Tensor, least: float = 0.6) -> Tensor:
    """Return a uniform number from 0 to 1 as one of size `least` to 1, with either sign."""
    centred = 2 * number - 1
    return centred.sign() * (least + (1 - least) * centred.abs())


def coloured(colours_BC: Tensor, n_channels: int) -> Tensor:
    """Return RGB colours as (B, C, 1, 1), as grey if the images have one channel."""
    if n_channels == 1:
        colours_BC = (colours_BC * colours_BC.new_tensor(LUMINANCE)).sum(1, keepdim=True)
    return colours_BC[:, :, None, None]


def inked(images_BCHW: Tensor, coverage_BHW: Tensor, colour_BC11: Tensor) -> Tensor:
    """Return images under a transparent ink. Ink only darkens, as on paper.

    Args:
        images_BCHW: the images.
        coverage_BHW: opacity of the ink, from 0 to 1.
        colour_BC11: colour of the ink on white paper.
    """
    return images_BCHW * (1 - coverage_BHW[:, None] * (1 - colour_BC11))
