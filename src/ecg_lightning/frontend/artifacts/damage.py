"""Paper that was folded, crumpled, stained or torn."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene, between, coloured, inked, signed
from ecg_lightning.frontend.artifacts.textures import STAIN_COLOURS, crumple, placed, stains, torn

_PAPER = 0.97


class Crease(Layer):
    """Straight folds across the page, and the facets of paper that was crumpled."""

    _n_folds = 3
    n_draws: ClassVar[int] = 5 + 3 * _n_folds
    texture: Tensor

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__(largest, px_per_mm)
        self.register_buffer("texture", crumple()[None, None], persistent=False)

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images on this paper."""
        u = drawn.numbers
        x, y = scene.pixels()
        width_mm = max(0.45, 0.7 / scene.px_per_mm)
        depth = 0.45 / width_mm
        texture = self.texture.to(images_BCHW.dtype).expand(len(images_BCHW), -1, -1, -1)
        x_mm, y_mm = between(-40.0, 40.0, u[0]), between(-40.0, 40.0, u[1])
        facets = placed(texture, scene, x_mm, y_mm, between(430.0, 560.0, u[2]), 2 * math.pi * u[3])[:, 0]
        shading = 0.9 * u[4] * (facets - 0.6)
        for number in range(self._n_folds):
            where, slope, side = u[5 + 3 * number : 8 + 3 * number]
            if number % 2 == 0:
                distance = x - between(-0.4, 0.4, where) * scene.width_mm + between(-0.05, 0.05, slope) * y
            else:
                distance = y - between(-0.4, 0.4, where) * scene.height_mm + between(-0.05, 0.05, slope) * x
            lit = distance * signed(side, 1.0)
            line = _ridge(distance, width_mm) - 0.6 * _ridge(lit - 1.5 * width_mm, 1.5 * width_mm)
            tilt = (lit / 1.5).clamp(-1, 1) * torch.exp(-distance.abs() / 16)
            shading = shading + (1 - 0.2 * number) * (0.45 * (tilt - 0.6 * tilt.abs()) - 0.9 * depth * line)
        return images_BCHW * (1 + drawn.amount * shading)[:, None]


class Stain(Layer):
    """Coffee rings, splashes, tide lines and mould: three a page, one fainter than the other."""

    _shares = (1.0, 0.75, 0.5)
    n_draws: ClassVar[int] = 5 * len(_shares)
    textures: Tensor
    colours: Tensor

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__(largest, px_per_mm)
        self.register_buffer("textures", stains()[:, None], persistent=False)
        self.register_buffer("colours", torch.tensor(STAIN_COLOURS), persistent=False)

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the stained images."""
        for number, share in enumerate(self._shares):
            which, where_x, where_y, side, angle = drawn.numbers[5 * number : 5 * number + 5]
            kind_B = (which[:, 0, 0] * len(self.textures)).long()
            texture = self.textures[kind_B].to(images_BCHW.dtype)
            x_mm = between(-0.45, 0.45, where_x) * scene.width_mm
            y_mm = between(-0.45, 0.45, where_y) * scene.height_mm
            is_ring = (kind_B == 0)[:, None, None]
            side_mm = torch.where(is_ring, between(88.0, 112.0, side), between(60.0, 150.0, side))
            opacity = placed(texture, scene, x_mm, y_mm, side_mm, 2 * math.pi * angle)[:, 0]
            colour = coloured(self.colours[kind_B].to(images_BCHW.dtype), images_BCHW.shape[1])
            images_BCHW = inked(images_BCHW, share * drawn.amount * opacity, colour)
        return images_BCHW


class Tear(Layer):
    """A corner or strip that is torn off, and a rip from the edge. Torn paper shows its white fibres."""

    n_draws = 8
    texture: Tensor

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__(largest, px_per_mm)
        self.register_buffer("texture", torn()[None], persistent=False)

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the torn images."""
        u = drawn.numbers
        x, y = scene.pixels()
        texture = self.texture.to(images_BCHW.dtype).expand(len(images_BCHW), -1, -1, -1)
        x_mm, y_mm = between(-30.0, 30.0, u[0]), between(-30.0, 30.0, u[1])
        rough, fibres = placed(texture, scene, x_mm, y_mm, between(420.0, 480.0, u[2]), 2 * math.pi * u[3]).unbind(1)
        heading = 2 * math.pi * u[4]
        cosine, sine = heading.cos(), heading.sin()
        corner_mm = (cosine.abs() * scene.width_mm + sine.abs() * scene.height_mm) / 2
        lost_mm = x * cosine + y * sine - corner_mm + drawn.amount + 4 * rough
        images_BCHW = _frayed(images_BCHW, -lost_mm, 1.0 + 1.6 * fibres, scene)
        shadow = 1 - 0.5 * torch.exp(-lost_mm.clamp(min=0) / 3)
        lost = (lost_mm * scene.px_per_mm + 0.5).clamp(0, 1)[:, None]
        images_BCHW = images_BCHW + lost * (scene.backdrop * shadow[:, None] - images_BCHW)
        # The rip runs inwards from the upper or lower edge, and becomes narrower.
        downwards = signed(u[5], 1.0)
        depth_mm = downwards * y + scene.height_mm / 2
        from_end_mm = 1.1 * drawn.amount - depth_mm
        across_mm = x - between(-0.42, 0.42, u[6]) * scene.width_mm + between(-0.5, 0.5, u[7]) * depth_mm + 3 * rough
        gap_mm = 0.035 * from_end_mm.clamp(min=0) - across_mm.abs()
        images_BCHW = _frayed(images_BCHW, -gap_mm, (from_end_mm / 6).clamp(0, 1) * (0.8 + fibres), scene)
        ripped = ((gap_mm * scene.px_per_mm + 0.5) * (from_end_mm > 0)).clamp(0, 1)[:, None]
        return images_BCHW + ripped * (0.55 * scene.backdrop - images_BCHW)


def _frayed(images_BCHW: Tensor, from_edge_mm: Tensor, width_mm: Tensor, scene: Scene) -> Tensor:
    """Return images whose ink is lost near an edge."""
    white = ((width_mm - from_edge_mm) * scene.px_per_mm + 0.5).clamp(0, 1) * (width_mm > 0)
    return images_BCHW + white[:, None] * (_PAPER - images_BCHW)


def _ridge(distance: Tensor, width_mm: float) -> Tensor:
    return F.relu(1 - distance.abs() / width_mm)
