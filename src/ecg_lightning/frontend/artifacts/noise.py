"""The noise of a sensor."""

from __future__ import annotations

import torch
from torch import Tensor

from ecg_lightning.frontend.artifacts.draws import normal
from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene

_STREAM = 0x901C
_N_PLACES = 1 << 17
"""The number of places in the bank at which a record's noise can begin."""


class Noise(Layer):
    """White Gaussian noise of each pixel and channel.

    A record takes its noise from one bank of normal numbers, from a place of its own. This is thirty times as fast as
    drawing it. The bank is made at the first image of each size.
    """

    n_draws = 3

    def __init__(self, largest: float, px_per_mm: float) -> None:
        super().__init__(largest, px_per_mm)
        self._bank = torch.empty(0)

    def forward(self, images_BCHW: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return the noisy images."""
        n_channels, n_pixels = images_BCHW.shape[1], images_BCHW[0, 0].numel()
        if len(self._bank) < n_pixels + _N_PLACES or self._bank.device != images_BCHW.device:
            self._bank = normal(n_pixels + _N_PLACES, _STREAM, images_BCHW.device)
        starts_BC = torch.cat(drawn.numbers[:n_channels], 1)[..., 0].double().mul(_N_PLACES).long()
        noise = self._bank.unfold(0, n_pixels, 1).index_select(0, starts_BC.flatten()).view_as(images_BCHW)
        return images_BCHW + drawn.amount[:, None] * noise.to(images_BCHW.dtype)
