"""The fringes of a photographed screen, and the bands and streaks of a scanner."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene, between, signed

_N_STREAKS = 6


class Moire(Layer):
    """Coloured fringes where the pixels of a screen meet those of a camera. A tilted screen bends them."""

    n_draws = 6

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images with fringes."""
        u = drawn.numbers
        x, y = scene.pixels()
        period_mm, heading = between(5.0, 16.0, u[0]), 2 * math.pi * u[1]
        turns = 2 * math.pi / period_mm
        bend = signed(u[2]) * 0.9 / max(scene.width_mm, scene.height_mm)
        along = turns * (heading.cos() + signed(u[5]) * bend * x) * x + 2 * math.pi * u[3]
        down = turns * (heading.sin() + bend * (x + 0.5 * y)) * y
        fringes = []
        for channel in range(images_BCHW.shape[1]):  # the colours of a screen's pixels lie side by side
            fringes.append(torch.cos(along + down + channel * between(0.5, 2.0, u[4])))
        return images_BCHW * (1 + drawn.amount[:, None] * (torch.stack(fringes, 1) - 0.3))


class ScanLines(Layer):
    """Bands of uneven exposure, and streaks of dust on the glass, along rows or along columns."""

    n_draws = 4 + 3 * _N_STREAKS

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images with lines."""
        x, y = scene.pixels()
        is_row = (drawn.numbers[0] < 0.5).to(x.dtype)
        rows, columns = _profile(y, scene.height_mm, drawn), _profile(x, scene.width_mm, drawn)
        return images_BCHW * (1 + is_row * rows)[:, None] * (1 + (1 - is_row) * columns)[:, None]


def _profile(place_mm: Tensor, length_mm: float, drawn: Drawn) -> Tensor:
    """Return the relative change of brightness along one axis."""
    _, period, phase, depth, *streaks = drawn.numbers
    pitch = torch.cos(2 * math.pi * (place_mm / between(15.0, 80.0, period) + phase))
    profile = between(0.15, 0.4, depth) * (pitch - 1)
    for number in range(_N_STREAKS):
        where, width, tone = streaks[3 * number : 3 * number + 3]
        distance = (place_mm - (where - 0.5) * length_mm).abs() / between(0.4, 1.6, width)
        profile = profile + signed(tone, 0.5) * (1.5 - distance).clamp(0, 1)
    return drawn.amount * profile
