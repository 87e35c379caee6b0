"""Pictures that were stored: at a lower resolution, and as JPEG."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Quantization tables of luma and chroma (ITU-T T.81, annex K)."""
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""From RGB to luma and chroma (JFIF 1.02)."""
_MIDDLE = 128 / 255
"""The luma whose coefficients are zero."""


class Resample(Layer):
    """A picture that was stored smaller and is shown at its size again."""

    n_draws = 1

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the resampled images. Records of the same size are resized together."""
        size = images_BCHW.shape[2:]
        sizes = [tuple(max(1, round(side / factor)) for side in size) for factor in drawn.amount.flatten().tolist()]
        if len(set(sizes)) == 1:
            return _there_and_back(images_BCHW, sizes[0])
        records = zip(images_BCHW, sizes, strict=True)
        return torch.cat([_there_and_back(record_CHW[None], stored) for record_CHW, stored in records])


class JPEG(Layer):
    """Baseline JPEG with halved chroma. Rounding passes the gradient on as if it were not there."""

    n_draws = 1

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__(largest, px_per_mm)
        places = torch.arange(8, dtype=torch.float64)
        cosines = torch.cos((2 * places + 1) * places[:, None] * math.pi / 16) / 2
        cosines[0] /= math.sqrt(2)
        self.dct: Tensor
        self.tables: Tensor
        self.to_ycc: Tensor
        self.to_rgb: Tensor
        to_ycc = torch.tensor(_TO_YCC, dtype=torch.float64)
        self.register_buffer("dct", torch.kron(cosines, cosines).float(), persistent=False)
        self.register_buffer("tables", torch.tensor([_LUMA, _CHROMA]).view(2, 64).float(), persistent=False)
        self.register_buffer("to_ycc", to_ycc.float(), persistent=False)
        self.register_buffer("to_rgb", to_ycc.inverse().float(), persistent=False)

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the images as a reader of the files gets them."""
        quality_B1 = drawn.amount[:, 0]
        # The scale of the Independent JPEG Group's `jpeg_quality_scaling`.
        scale_B1 = torch.where(quality_B1 < 50, 5000 / quality_B1, 200 - 2 * quality_B1)
        steps_BS = ((self.tables[:, None] * scale_B1 / 100 + 0.5).floor().clamp(1, 255) / 255).unbind(0)
        if images_BCHW.shape[1] == 1:
            return self._stored(images_BCHW - _MIDDLE, steps_BS[0]) + _MIDDLE
        ycc = _recoloured(self.to_ycc, images_BCHW)
        luma = self._stored(ycc[:, :1] - _MIDDLE, steps_BS[0]) + _MIDDLE
        half = F.avg_pool2d(ycc[:, 1:], 2, ceil_mode=True, count_include_pad=False)
        chroma = F.interpolate(self._stored(half, steps_BS[1]), scale_factor=2, mode="bilinear")
        return _recoloured(self.to_rgb, torch.cat([luma, chroma[..., : luma.shape[2], : luma.shape[3]]], 1))

    def _stored(self, planes_BCHW: Tensor, steps_BS: Tensor) -> Tensor:
        """Return planes, around 0, after quantization of each block's 64 coefficients."""
        height, width = planes_BCHW.shape[2:]
        padded = F.pad(planes_BCHW, (0, -width % 8, 0, -height % 8), mode="replicate")
        tall, wide = padded.shape[2] // 8, padded.shape[3] // 8
        blocks = padded.view(*padded.shape[:2], tall, 8, wide, 8).transpose(3, 4)
        dct, steps = self.dct.to(padded.dtype), steps_BS[:, None, None, None]
        scaled = blocks.flatten(4) @ dct.T / steps
        whole = scaled + (scaled.round() - scaled).detach()
        restored = (whole * steps @ dct).view(blocks.shape).transpose(3, 4).reshape(padded.shape)
        stored: Tensor = restored[:, :, :height, :width]
        return stored


def _there_and_back(images_BCHW: Tensor, size: tuple[int, ...]) -> Tensor:
    smaller = F.interpolate(images_BCHW, size, mode="bilinear", antialias=True)
    return F.interpolate(smaller, images_BCHW.shape[2:], mode="bilinear")


def _recoloured(matrix_33: Tensor, images_BCHW: Tensor) -> Tensor:
    red, green, blue = images_BCHW.unbind(1)
    rows = matrix_33.tolist()
    return torch.stack([row[0] * red + row[1] * green + row[2] * blue for row in rows], 1)
