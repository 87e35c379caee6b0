"""Augmentation of whole batches on the device, in mV, before normalisation. It is off outside training."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_lightning.data.heart_model import DOWER_83
from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.frontend.schema import AugmentationConfig

_LIMB_42 = np.array([[-1.0, 1.0], [-0.5, -0.5], [1.0, -0.5], [-0.5, 1.0]])
"""The matrix from I and II to III, aVR, aVL and aVF (Einthoven 1912, Goldberger 1942)."""
DOWER_C3 = np.concatenate([DOWER_83[:2], _LIMB_42 @ DOWER_83[:2], DOWER_83[2:]])
"""The matrix from a heart vector to all twelve leads."""


class Augmentation(nn.Module):
    """Random changes of heart axis, tempo, amplitude, noise, baseline wander, leads and time shift for every record.

    The heart vector turns about any axis (Gopal et al. 2021, arXiv 2106.04452). The part of the twelve leads that
    Dower's vector does not explain stays. A shift or another tempo opens ends, which are filled with zeros.

    Args:
        settings: the strength of each change.
        duration_s: the seconds of a record.
    """

    def __init__(self, settings: AugmentationConfig, duration_s: float = DURATION_S) -> None:
        super().__init__()
        self.settings = settings
        self.duration_s = duration_s
        self.to_leads_C3: Tensor
        self.to_vector_3C: Tensor
        self.register_buffer("to_leads_C3", torch.from_numpy(DOWER_C3).float(), persistent=False)
        self.register_buffer("to_vector_3C", torch.from_numpy(np.linalg.pinv(DOWER_C3)).float(), persistent=False)

    def forward(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the (B, leads, T) signals in mV, changed while training, in the same shape."""
        if not self.training:
            return millivolts_BCT
        x_BCT = millivolts_BCT
        n_records, n_leads, n_samples = x_BCT.shape
        if self.settings.axis_deg:
            x_BCT = self._rotate(x_BCT)
        if self.settings.tempo:
            x_BCT = self._stretch(x_BCT)
        if self.settings.time_shift:
            x_BCT = self._shift(x_BCT)
        if self.settings.amplitude:
            octaves = torch.randn_like(x_BCT[:, :1, :1]) + 0.5 * torch.randn_like(x_BCT[:, :, :1])
            x_BCT = x_BCT * torch.exp2(self.settings.amplitude * octaves)
        if self.settings.wander_mv:
            time_T = torch.linspace(0, self.duration_s, n_samples, device=x_BCT.device, dtype=x_BCT.dtype)
            hertz_B = torch.empty_like(x_BCT[:, :1, :1]).uniform_(0.05, 0.7)
            phase_B = torch.empty_like(hertz_B).uniform_(0, 2 * math.pi)
            height_BC = torch.empty_like(x_BCT[:, :, :1]).uniform_(-self.settings.wander_mv, self.settings.wander_mv)
            x_BCT = x_BCT + height_BC * torch.sin(2 * math.pi * hertz_B * time_T + phase_B)
        if self.settings.noise_mv:
            spread_B = torch.empty_like(x_BCT[:, :1, :1]).uniform_(0, self.settings.noise_mv)
            x_BCT = x_BCT + spread_B * torch.randn_like(x_BCT)
        if self.settings.lead_dropout:
            kept_BC = torch.rand(n_records, n_leads, 1, device=x_BCT.device) >= self.settings.lead_dropout
            kept_BC |= torch.arange(n_leads, device=x_BCT.device)[:, None] == torch.randint(
                n_leads, (n_records, 1, 1), device=x_BCT.device
            )
            x_BCT = x_BCT * kept_BC
        return x_BCT

    def _rotate(self, x_BCT: Tensor) -> Tensor:
        axis_B3 = F.normalize(torch.randn_like(x_BCT[:, :3, 0]), dim=1)
        angle_B = torch.randn_like(x_BCT[:, :1, :1]) * math.radians(self.settings.axis_deg)
        cross_B33 = torch.linalg.cross(axis_B3[:, None], torch.eye(3).to(axis_B3)[None]).mT
        # This is Rodrigues' formula without its identity, because the change is added.
        turn_B33 = angle_B.sin() * cross_B33 + (1 - angle_B.cos()) * (cross_B33 @ cross_B33)
        with torch.autocast(x_BCT.device.type, enabled=False):
            turned: Tensor = x_BCT + self.to_leads_C3 @ turn_B33.float() @ self.to_vector_3C @ x_BCT
        return turned

    def _stretch(self, x_BCT: Tensor) -> Tensor:
        n_samples = x_BCT.shape[2]
        tempo_B = torch.exp2(self.settings.tempo * torch.randn_like(x_BCT[:, 0, :1]))
        middle = (n_samples - 1) / 2
        source_BT = (torch.arange(n_samples, device=x_BCT.device) - middle) * tempo_B + middle
        inside_BT = (source_BT >= 0) & (source_BT <= n_samples - 1)
        before_BT = source_BT.clamp(0, n_samples - 2).long()
        index_BCT = before_BT[:, None].expand_as(x_BCT)
        rest_B1T = (source_BT - before_BT)[:, None]
        return torch.lerp(x_BCT.gather(2, index_BCT), x_BCT.gather(2, index_BCT + 1), rest_B1T) * inside_BT[:, None]

    def _shift(self, x_BCT: Tensor) -> Tensor:
        n_records, n_leads, n_samples = x_BCT.shape
        most = int(self.settings.time_shift * n_samples)
        shift_B = torch.randint(-most, most + 1, (n_records, 1), device=x_BCT.device)
        source_BT = torch.arange(n_samples, device=x_BCT.device) - shift_B
        inside_BT = (source_BT >= 0) & (source_BT < n_samples)
        index_BCT = source_BT.clamp(0, n_samples - 1)[:, None].expand(-1, n_leads, -1)
        return x_BCT.gather(2, index_BCT) * inside_BT[:, None]
