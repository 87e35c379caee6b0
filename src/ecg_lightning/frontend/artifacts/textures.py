"""Textures that are made once and placed on many pages: stains, crumpled paper, torn edges and a stamp."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ecg_lightning.frontend.artifacts.draws import uniform
from ecg_lightning.frontend.artifacts.layer import Scene

_SIDE = 256
_COFFEE, _TEA, _MOULD = (0.48, 0.31, 0.16), (0.72, 0.60, 0.40), (0.24, 0.28, 0.20)
STAIN_COLOURS = (_COFFEE, _COFFEE, _TEA, _MOULD)
"""Colour of each texture of `stains` on white paper."""


def placed(textures_BCnn: Tensor, scene: Scene, x_mm: Tensor, y_mm: Tensor, side_mm: Tensor, angle: Tensor) -> Tensor:
    """Return square textures on the page, as (B, C, H, W); 0 outside of them.

    Args:
        textures_BCnn: one texture for each record.
        scene: the page.
        x_mm: place of the texture's centre, from the page's centre, as (B, 1, 1); `y_mm` likewise.
        y_mm: see `x_mm`.
        side_mm: side of the texture.
        angle: angle of the texture, in radians.
    """
    x, y = scene.pixels()
    cosine, sine = 2 * angle.cos() / side_mm, 2 * angle.sin() / side_mm
    across, down = x - x_mm, y - y_mm
    grid_BHW2 = x_mm.new_empty(len(x_mm), *scene.size, 2)
    torch.add(cosine * across, sine * down, out=grid_BHW2[..., 0])  # four times as fast as stacking
    torch.add(cosine * down, -sine * across, out=grid_BHW2[..., 1])
    return F.grid_sample(textures_BCnn, grid_BHW2, align_corners=False)


def clouds(side: int, cells: int, octaves: int, stream: int) -> Tensor:
    """Return (side, side) noise around 0, of about ±1, whose largest features are `side / cells` wide."""
    total = torch.zeros(1, 1, side, side)
    for octave in range(octaves):
        n = cells * 2**octave
        values = uniform(torch.arange(n * n), stream + octave, 1).view(1, 1, n, n)
        resized = F.interpolate(values, (side, side), mode="bicubic", align_corners=True)
        total += (2 * resized - 1) * 0.5**octave
    return total[0, 0]


@functools.cache
def stains() -> Tensor:
    """Return the (4, n, n) opacities of a coffee ring, splashes, the tide line of a spilt drink, and mould."""
    axis = torch.linspace(-1, 1, _SIDE)
    x, y = axis[None], axis[:, None]
    radius = torch.hypot(x, y)
    return torch.stack([_ring(x, y, radius), _splashes(x, y), _tide(radius), _mould(radius)]).clamp(0, 1)


def _ring(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """The foot of a wet cup: a sharp outer rim that is dark on one side and broken on the other."""
    rough = clouds(_SIDE, 5, 4, 11)
    distance = 0.84 + 0.012 * rough - radius  # inwards
    rim = torch.exp(-((distance / 0.016) ** 2)) + 0.5 * torch.exp(-(((distance - 0.07) / 0.025) ** 2))
    inner = 0.30 * torch.exp(-distance.clamp(min=0) / 0.045) * (distance > 0)
    direction = torch.atan2(y, x)
    wet = (0.62 + 0.38 * torch.cos(direction - 0.7) + 0.35 * clouds(_SIDE, 3, 3, 21)).clamp(0, 1)
    return (rim + inner) * wet * (0.85 + 0.25 * rough) + 0.035 * (distance > 0) * (1 + rough)


def _splashes(x: Tensor, y: Tensor) -> Tensor:
    """A few drops: each has a darker rim."""
    total = torch.zeros(_SIDE, _SIDE)
    rough = clouds(_SIDE, 12, 3, 31)
    for where_x, where_y, size in uniform(torch.arange(9), 41, 3).tolist():
        drop = 0.025 + 0.16 * size**3
        distance = drop * (1 + 0.10 * rough) - torch.hypot(x - 1.5 * (where_x - 0.5), y - 1.5 * (where_y - 0.5))
        inside = (distance / 0.012).clamp(0, 1)
        total = torch.maximum(total, inside * (0.30 + 0.55 * torch.exp(-(((distance - 0.014) / 0.016) ** 2))))
    return total


def _tide(radius: Tensor) -> Tensor:
    """A pool that dried: faint inside, with dark edges at the two places where it stood still."""
    distance = 0.70 + 0.16 * clouds(_SIDE, 4, 5, 51) - radius
    inside = (distance / 0.02).clamp(0, 1)
    edge = 0.75 * torch.exp(-(((distance - 0.016) / 0.016) ** 2)) + 0.3 * torch.exp(-distance.clamp(min=0) / 0.09)
    second = 0.35 * torch.exp(-(((distance - 0.22 - 0.05 * clouds(_SIDE, 6, 4, 61)) / 0.018) ** 2))
    return inside * (0.16 + edge + second)


def _mould(radius: Tensor) -> Tensor:
    """Colonies of dark specks on a grey-green haze."""
    colonies = (clouds(_SIDE, 5, 3, 71) + 0.55 - 1.1 * radius).clamp(0, 1)
    specks = ((clouds(_SIDE, 44, 2, 81) - 0.25) / 0.25).clamp(0, 1)
    return colonies * (0.45 + 1.2 * specks) * (radius < 1)


@functools.cache
def crumple() -> Tensor:
    """Return the (n, n) shading of crumpled paper, around 0, of about ±1.

    The height is a sum of folds |distance to a line|, each of which fades along its line. The shading is its slope.
    """
    side = 2 * _SIDE
    axis = torch.linspace(-1, 1, side)
    x, y = axis[None], axis[:, None]
    height = torch.zeros(side, side)
    for where_x, where_y, angle, length, size, up in uniform(torch.arange(90), 91, 6).tolist():
        across, along = math.cos(math.pi * angle), math.sin(math.pi * angle)
        distance = (x - 2 * where_x + 1) * across + (y - 2 * where_y + 1) * along
        position = (y - 2 * where_y + 1) * across - (x - 2 * where_x + 1) * along
        reach = 0.10 + 0.45 * length * length
        fading = torch.exp(-((position / reach) ** 2) - (distance / (0.5 * reach)) ** 2)
        height += (1 if up < 0.5 else -1) * (0.3 + 0.7 * size) * distance.abs() * fading
    slope_down, slope_across = torch.gradient(height, spacing=2 / side)
    slope = slope_across + 0.6 * slope_down
    return (slope / (2.2 * slope.std())).clamp(-1.5, 1.5)


@functools.cache
def torn() -> Tensor:
    """Return two (n, n) fields of roughness, around 0: the line of a tear, and the width of its white fibres."""
    return torch.stack([clouds(2 * _SIDE, 10, 6, 111), clouds(2 * _SIDE, 24, 5, 131)])


@functools.cache
def stamp() -> Tensor:
    """Return the (n, n) opacity of a rubber stamp: a double frame, two lines of text and a date."""
    side = 2 * _SIDE
    picture = Image.new("L", (side, side))
    draw = ImageDraw.Draw(picture)
    middle, half = side // 2, int(0.24 * side)
    frame = (0.05 * side, middle - half, 0.95 * side, middle + half)
    draw.rounded_rectangle(frame, radius=24, outline=255, width=9)
    inner = (frame[0] + 16, frame[1] + 16, frame[2] - 16, frame[3] - 16)
    draw.rounded_rectangle(inner, radius=14, outline=255, width=3)
    for line, (text, height) in enumerate((("RECEIVED", 70), ("07 APR", 58), ("CARDIOLOGY", 46))):
        place = (middle, middle + int((line - 1) * 0.135 * side))
        draw.text(place, text, fill=255, font=ImageFont.load_default(height), anchor="mm", stroke_width=1)
    worn = (1.05 + 0.55 * clouds(side, 7, 6, 151)).clamp(0.15, 1)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255) * worn
