"""Curled paper, scanner skew, camera perspective and lost borders, folded into one resampling of the image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_lightning.frontend.artifacts.layer import N_NODES, Drawn, Scene, between, signed


class Geometry(nn.Module, ABC):
    """A disturbance that only moves points. The constructor's arguments are those of `Layer`."""

    n_draws: ClassVar[int]

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor, scene: Scene, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Return where points of the disturbed picture come from: (B, n, n) each, in mm from the centre."""


class Warp(Geometry):
    """Paper that does not lie flat: a few long waves move the points of the page."""

    n_draws = 10

    def forward(self, x: Tensor, y: Tensor, scene: Scene, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Return where the points come from; see `Geometry`."""
        u = drawn.numbers
        along, down = x / scene.width_mm, y / scene.height_mm
        curl = _wave(between(0.5, 1.3, u[0]) * along, u[1])
        skewed = _wave(between(-0.6, 0.6, u[2]) * along + between(0.4, 1.0, u[3]) * down, u[4])
        stretch = _wave(between(0.4, 1.0, u[5]) * along + between(-0.5, 0.5, u[6]) * down, u[7])
        return x + 0.6 * drawn.amount * signed(u[8]) * stretch, y + drawn.amount * (signed(u[9]) * curl + 0.5 * skewed)


class Rotation(Geometry):
    """A page that lies askew on the scanner."""

    n_draws = 1

    def forward(self, x: Tensor, y: Tensor, scene: Scene, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Return where the points come from; see `Geometry`."""
        angle = torch.deg2rad(drawn.amount * signed(drawn.numbers[0]))
        cosine, sine = angle.cos(), angle.sin()
        return cosine * x - sine * y, sine * x + cosine * y


class Perspective(Geometry):
    """A camera that does not look straight at the page: a homography moves the corners, mostly inwards."""

    n_draws = 8

    def forward(self, x: Tensor, y: Tensor, scene: Scene, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Return where the points come from; see `Geometry`."""
        inwards = torch.stack([drawn.amount * between(-0.2, 1.0, number) for number in drawn.numbers], 1)[..., 0, 0]
        half = inwards.new_tensor([scene.width_mm / 2, scene.height_mm / 2])
        corners_42 = inwards.new_tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        seen_B42 = corners_42 * (1 - inwards.view(-1, 4, 2) / half)
        homography = _homography(seen_B42.double(), corners_42.double()).to(x.dtype)[:, :, None, None]
        a, b, c, d, e, f, g, h = (homography[:, place] for place in range(8))
        along, down = x / half[0], y / half[1]
        depth = g * along + h * down + 1
        return half[0] * (a * along + b * down + c) / depth, half[1] * (d * along + e * down + f) / depth


class Crop(Geometry):
    """Borders that are not in the picture. The rest is enlarged to the picture's size."""

    n_draws = 4

    def forward(self, x: Tensor, y: Tensor, scene: Scene, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Return where the points come from; see `Geometry`."""
        left, right, top, bottom = (drawn.amount * between(0.3, 1.0, number) for number in drawn.numbers)
        return (
            x * (1 - (left + right) / scene.width_mm) + (left - right) / 2,
            y * (1 - (top + bottom) / scene.height_mm) + (top - bottom) / 2,
        )


class Resampling(nn.Module):
    """All geometric disturbances of a chain as one bilinear resampling. Outside the page is the backdrop.

    The places are computed at the nodes of `Scene`. All disturbances are so smooth that between the nodes a line is
    within 0.05 mm of them.

    Args:
        layers: the disturbances, in the order in which they happen.
    """

    def __init__(self, layers: Sequence[Geometry]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, images_BCHW: Tensor, scene: Scene, *drawn: Drawn) -> Tensor:
        """Return the disturbed images.

        Args:
            images_BCHW: the images.
            scene: size and backdrop of the batch.
            *drawn: amounts and random numbers of each layer.
        """
        x, y = (axis.expand(len(images_BCHW), N_NODES, N_NODES) for axis in scene.nodes())
        for layer, one in zip(reversed(self.layers), reversed(drawn), strict=True):
            x, y = layer(x, y, scene, one)
        grid_B2nn = torch.stack([2 * x / scene.width_mm, 2 * y / scene.height_mm], 1)
        grid_BHW2 = scene.resized(grid_B2nn).permute(0, 2, 3, 1)
        return F.grid_sample(images_BCHW - scene.backdrop, grid_BHW2, align_corners=False) + scene.backdrop


def _wave(periods: Tensor, phase: Tensor) -> Tensor:
    return torch.sin(2 * math.pi * (periods + phase))


def _homography(from_B42: Tensor, to_B42: Tensor) -> Tensor:
    """Return the (B, 8) entries of the homographies that map four points to four points; the ninth entry is 1."""
    x, y = from_B42.unbind(2)
    to_x, to_y = to_B42.expand_as(from_B42).unbind(2)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows_x = torch.stack([x, y, one, zero, zero, zero, -x * to_x, -y * to_x], 2)
    rows_y = torch.stack([zero, zero, zero, x, y, one, -x * to_y, -y * to_y], 2)
    solved: Tensor = torch.linalg.solve(torch.cat([rows_x, rows_y], 1), torch.cat([to_x, to_y], 1))
    return solved
