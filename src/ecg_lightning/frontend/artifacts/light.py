"""Uneven light with the edge of a shadow, and the colour of the light."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene, between, coloured, signed

_WARM = (0.0, -0.0021, -0.0046)
_COLD = (0.0041, 0.0028, 0.0)
"""Logarithm of red, green and blue per mired: a line through black bodies at 6,500 K and 3,200 K (warm) or 10,000 K
(cold), in sRGB."""


class Light(Layer):
    """A lamp at one side, and the shadow of a hand or a phone: two soft edges that meet at a corner."""

    n_draws = 9

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images in this light."""
        u = drawn.numbers
        x, y = scene.nodes()
        size_mm = math.hypot(scene.width_mm, scene.height_mm) / 2
        lamp = 2 * math.pi * u[0]
        slope = (x * lamp.cos() + y * lamp.sin()) / size_mm
        heading = 2 * math.pi * u[1]
        wobble = 0.03 * size_mm * torch.sin((x + y) / size_mm * between(3, 8, u[2]) + 2 * math.pi * u[3])
        along = x * heading.cos() + y * heading.sin() - between(-0.35, 0.35, u[4]) * size_mm + wobble
        across = y * heading.cos() - x * heading.sin() - between(-0.9, 0.1, u[5]) * size_mm + wobble
        penumbra_mm = between(5.0, 28.0, u[6])
        shadow = _edge(along / penumbra_mm) * _edge(across / (penumbra_mm * between(1.0, 2.0, u[7])))
        field = (1 - drawn.amount * between(0.8, 1.0, u[8]) * shadow) * (1 - 0.22 * drawn.amount * (1 + slope))
        return images_BCHW * scene.resized(field[:, None])


class ColourCast(Layer):
    """Light that is warmer or colder than daylight. A grey picture becomes darker, as through a filter."""

    n_draws = 1

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images in this light."""
        shift_B1 = (drawn.amount * signed(drawn.numbers[0]))[:, :, 0]
        slopes = torch.where(shift_B1 > 0, shift_B1.new_tensor(_WARM), shift_B1.new_tensor(_COLD))
        return images_BCHW * coloured(torch.exp(slopes * shift_B1), images_BCHW.shape[1])


def _edge(distance: Tensor) -> Tensor:
    """Return a smooth step from 0 (at −1) to 1 (at 1)."""
    half = (0.5 * distance + 0.5).clamp(0, 1)
    return half * half * (3 - 2 * half)
