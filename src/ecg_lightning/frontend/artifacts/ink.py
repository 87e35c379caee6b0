"""Ink that does not belong to the trace: pen strokes, a stamp, and print of the reverse side."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene, between, coloured, inked, signed
from ecg_lightning.frontend.artifacts.textures import placed, stamp

_PENS = ((0.10, 0.16, 0.52), (0.08, 0.08, 0.10), (0.75, 0.10, 0.12), (0.36, 0.36, 0.38))
"""Blue, black, red, and pencil."""
_STAMPS = ((0.16, 0.18, 0.55), (0.66, 0.12, 0.16), (0.32, 0.14, 0.45))


class BleedThrough(Layer):
    """The print of the reverse side, mirrored and blurred. The reverse side shows the same record."""

    n_draws = 3

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images with the print."""
        u = drawn.numbers
        dark = _spread(1 - images_BCHW, 0.6 * scene.px_per_mm)
        x, y = scene.pixels()
        x_mirrored = -x + between(-0.15, 0.15, u[0]) * scene.width_mm
        y_moved = y + between(-0.12, 0.12, u[1]) * scene.height_mm + 0.02 * signed(u[2]) * x
        across, down = 2 * x_mirrored / scene.width_mm, 2 * y_moved / scene.height_mm
        grid_BHW2 = torch.stack([across.expand_as(down), down], 3)
        print_BCHW = F.grid_sample(dark, grid_BHW2, align_corners=False)
        return images_BCHW * (1 - drawn.amount[:, None] * print_BCHW)


class Stamp(Layer):
    """A rubber stamp with a frame and text, in blue, red or violet."""

    n_draws = 6
    texture: Tensor

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__(largest, px_per_mm)
        self.register_buffer("texture", stamp()[None, None], persistent=False)

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the stamped images."""
        u = drawn.numbers
        texture = self.texture.to(images_BCHW.dtype).expand(len(images_BCHW), -1, -1, -1)
        x_mm = between(-0.38, 0.38, u[0]) * scene.width_mm
        y_mm = between(-0.38, 0.38, u[1]) * scene.height_mm
        opacity = placed(texture, scene, x_mm, y_mm, between(38.0, 58.0, u[2]), 0.3 * signed(u[3], 0.1))[:, 0]
        colour = _chosen(_STAMPS, u[4], images_BCHW)
        return inked(images_BCHW, drawn.amount * opacity, colour)


class Pen(Layer):
    """Strokes of a pen: circles, arrows, underlines and unreadable notes. Each starts anywhere on the page."""

    _n_strokes = 7
    _n_of_stroke = 9
    n_draws: ClassVar[int] = _n_strokes * _n_of_stroke + 2

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images with strokes."""
        n_records = len(images_BCHW)
        which, width, *rest = drawn.numbers
        numbers = torch.cat(rest, 2).view(n_records, self._n_strokes, self._n_of_stroke, 1).unbind(2)
        order = torch.arange(self._n_strokes).to(drawn.amount)
        shown_BS1 = (drawn.amount - order[:, None]).clamp(0, 1)
        n_points = math.ceil(330 * scene.px_per_mm) + 64
        time_P = torch.linspace(0, 1, n_points).to(drawn.amount)
        x, y, pressure = _strokes(time_P, numbers, scene)
        width_px = between(0.35, 0.75, width) * scene.px_per_mm
        length_px = scene.px_per_mm * torch.hypot(x.diff(dim=2, append=x[..., -1:]), y.diff(dim=2, append=y[..., -1:]))
        weight = length_px * width_px * pressure * shown_BS1
        coverage_BHW = _splatted(x, y, weight, scene)
        coverage_BHW = _spread(coverage_BHW[:, None], 0.22 * scene.px_per_mm)[:, 0]
        return inked(images_BCHW, 0.92 * coverage_BHW.clamp(0, 1), _chosen(_PENS, which, images_BCHW))


def _strokes(time_P: Tensor, numbers: tuple[Tensor, ...], scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Return the points of strokes, x and y in mm from the page's centre, and their pressure: (B, S, P) each."""
    which, where_x, where_y, size, tilt, phase, shape, drift, other = numbers
    turn = 2 * math.pi * time_P
    # A circle around a complex, which does not quite close.
    radius = between(7.0, 19.0, size)
    circle_x = radius * (1 + 0.10 * time_P * signed(drift)) * torch.cos(1.07 * turn + 6 * phase)
    circle_y = radius * between(0.45, 0.85, shape) * torch.sin(1.07 * turn + 6 * phase) + 1.5 * (time_P - 0.5)
    # A note: loops that move to the right, of changing height, with gaps between words.
    length = between(22.0, 46.0, size)
    loops = length / between(2.6, 3.6, shape)
    tall = (0.35 + 0.85 * torch.sin(turn * loops / 2.7 + 6 * phase).square()) * (
        0.75 + 0.5 * torch.sin(turn * loops / 4.3 + 6 * other).square()
    )
    note_x = length * (time_P - 0.5) + 1.1 * torch.cos(turn * loops)
    note_y = -between(1.4, 2.6, drift) * tall * torch.sin(turn * loops + 0.5 * torch.sin(turn * loops / 3.1))
    written = (torch.sin(turn * between(1.0, 2.6, other) + 6 * phase) < 0.93).to(time_P.dtype)
    # An underline with a slight wave.
    line_x = between(15.0, 55.0, size) * (time_P - 0.5)
    line_y = 0.5 * torch.sin(turn * between(0.5, 1.5, shape) + 6 * phase)
    # An arrow: the shaft, then back from its tip to either side.
    shaft = between(10.0, 26.0, size)
    barb_1, barb_2 = ((time_P - 0.7) / 0.15).clamp(0, 1), ((time_P - 0.85) / 0.15).clamp(0, 1)
    back = barb_1 * (1 - (barb_2 > 0).to(time_P.dtype)) + barb_2
    side = torch.where(barb_2 > 0, -1.0, 1.0)
    arrow_x = shaft * ((time_P / 0.7).clamp(max=1) - 0.5) - 3.2 * back
    arrow_y = 0.9 * torch.sin(math.pi * (time_P / 0.7).clamp(max=1)) + 1.9 * back * side
    is_circle, is_note, is_line = which < 0.3, (which >= 0.3) & (which < 0.7), (which >= 0.7) & (which < 0.85)
    x = torch.where(is_circle, circle_x, torch.where(is_note, note_x, torch.where(is_line, line_x, arrow_x)))
    y = torch.where(is_circle, circle_y, torch.where(is_note, note_y, torch.where(is_line, line_y, arrow_y)))
    angle = torch.where(is_note | is_line, 0.12 * (2 * tilt - 1), math.pi * (2 * tilt - 1))
    pressure = (0.85 + 0.15 * torch.sin(3 * turn + 6 * phase)) * torch.where(is_note, written, 1.0)
    return (
        angle.cos() * x - angle.sin() * y + between(-0.42, 0.42, where_x) * scene.width_mm,
        angle.sin() * x + angle.cos() * y + between(-0.42, 0.42, where_y) * scene.height_mm,
        pressure,
    )


def _spread(images_BCHW: Tensor, reach_px: float) -> Tensor:
    """Return the mean of each pixel's neighbours up to a distance, along rows and columns."""
    reach = round(reach_px)
    return F.avg_pool2d(images_BCHW, 2 * reach + 1, 1, reach, count_include_pad=False) if reach else images_BCHW


def _splatted(x_mm: Tensor, y_mm: Tensor, weight: Tensor, scene: Scene) -> Tensor:
    """Return points added to pixels with bilinear weights: (B, ...) each to (B, H, W)."""
    height, width = scene.size
    n_records = len(x_mm)
    column = (x_mm * scene.px_per_mm + (width - 1) / 2).flatten(1)
    row = (y_mm * scene.px_per_mm + (height - 1) / 2).flatten(1)
    left, top, weight = column.floor(), row.floor(), weight.flatten(1)
    total = weight.new_zeros(n_records * height * width)
    first = height * width * torch.arange(n_records, device=weight.device)[:, None]
    for across in (0, 1):
        for down in (0, 1):
            share = (1 - (column - left - across).abs()) * (1 - (row - top - down).abs())
            inside = (left + across >= 0) & (left + across < width) & (top + down >= 0) & (top + down < height)
            place = first + ((top + down) * width + left + across).clamp(0, height * width - 1).long()
            total.index_add_(0, place.flatten(), (weight * share * inside).flatten())
    return total.view(n_records, height, width)


def _chosen(colours: tuple[tuple[float, float, float], ...], number: Tensor, images_BCHW: Tensor) -> Tensor:
    """Return one of the colours for each record, as (B, C, 1, 1)."""
    place_B = (number[:, 0, 0] * len(colours)).long()
    return coloured(images_BCHW.new_tensor(colours)[place_B], images_BCHW.shape[1])
