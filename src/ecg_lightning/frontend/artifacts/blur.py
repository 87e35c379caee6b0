"""A lens that is out of focus, and a camera that moves."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene

_N_FREQUENCIES = 64
_STEPS_PER_PIXEL = 4


class Defocus(Layer):
    """A Gaussian blur, along rows and along columns."""

    n_draws = 1

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the blurred images."""
        variance_B1 = (drawn.amount * scene.px_per_mm)[:, 0].square()
        reach = math.ceil(2.5 * self.largest * self.px_per_mm)
        weights_BK = _gaussian(variance_B1, reach)
        return _blurred(_blurred(images_BCHW, weights_BK, 3), weights_BK, 2)


class Motion(Layer):
    """A movement along a line while the shutter is open."""

    n_draws = 1

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the blurred images."""
        longest = self.largest * self.px_per_mm
        reach = math.ceil(longest / 2)
        times_T = torch.linspace(-0.5, 0.5, _STEPS_PER_PIXEL * math.ceil(longest) + 1).to(drawn.amount)
        path_BT = (drawn.amount * scene.px_per_mm)[:, 0] * times_T
        angle_B1 = math.pi * drawn.numbers[0][:, 0]
        across_BTK = _hats(path_BT * angle_B1.cos(), reach)
        down_BTK = _hats(path_BT * angle_B1.sin(), reach)
        kernels_BKK = down_BTK.mT @ across_BTK / len(times_T)
        padded = F.pad(images_BCHW, [reach] * 4, mode="replicate")
        kernels = kernels_BKK.repeat_interleave(images_BCHW.shape[1], 0)[:, None]
        return F.conv2d(padded.flatten(0, 1)[None], kernels, groups=len(kernels)).view_as(images_BCHW)


def _gaussian(variance_B1: Tensor, reach: int) -> Tensor:
    """Return the (B, 2 · reach + 1) weights of the discrete Gaussian (Lindeberg 1990), by its Fourier transform.

    Its variance is exact even below a pixel, where samples of the continuous Gaussian blur too little.
    """
    frequency_F = 2 * math.pi * torch.arange(_N_FREQUENCIES + 4 * reach).to(variance_B1) / (_N_FREQUENCIES + 4 * reach)
    spectrum_BF = torch.exp(variance_B1 * (frequency_F.cos() - 1))
    places_K = torch.arange(-reach, reach + 1).to(variance_B1)
    weights_BK = torch.stack([(spectrum_BF * (frequency_F * place).cos()).mean(1) for place in places_K], 1)
    return weights_BK / weights_BK.sum(1, keepdim=True)


def _blurred(images_BCHW: Tensor, weights_BK: Tensor, dim: int) -> Tensor:
    """Return images blurred along one axis by weights of each record's own."""
    reach, length = weights_BK.shape[1] // 2, images_BCHW.shape[dim]
    padded = F.pad(images_BCHW, [reach, reach, 0, 0] if dim == 3 else [0, 0, reach, reach], mode="replicate")
    blurred = torch.zeros_like(images_BCHW)
    for place, weight_B in enumerate(weights_BK.unbind(1)):
        blurred = torch.addcmul(blurred, padded.narrow(dim, place, length), weight_B[:, None, None, None])
    return blurred


def _hats(places_BT: Tensor, reach: int) -> Tensor:
    """Return the bilinear weights, (B, T, 2 · reach + 1), of points between pixels."""
    pixels_K = torch.arange(-reach, reach + 1).to(places_BT)
    return (1 - (places_BT[:, :, None] - pixels_K).abs()).clamp(min=0)
