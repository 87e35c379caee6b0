"""S4D: diagonal structured state spaces, which are convolutions as long as the record."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath
from torch import Tensor, nn

from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.schema import S4DConfig
from ecg_lightning.models.signal_classifier import SignalClassifier

_STEP_RANGE = (1e-3, 1e-1)
"""Smallest and largest initial Δ (Gu et al. 2022, arXiv 2111.00396)."""


class S4D(SignalClassifier):
    """Stacked bidirectional S4D layers (Gu et al. 2022, arXiv 2206.11893), as Mehari & Strodthoff 2023 use S4 on ECGs.

    A pre-norm block is a state space, GELU, a gated mixing of the channels, dropout and a shortcut. The head uses the
    mean over time.
    """

    @staticmethod
    def make_network(settings: S4DConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for any number of samples."""
        n_leads, _ = input.signal
        return S4DNetwork(settings, n_leads, n_classes)


class S4DNetwork(nn.Module):
    """A network from (B, leads, T) signals to (B, C) logits, for any T."""

    def __init__(self, settings: S4DConfig, n_leads: int, n_classes: int) -> None:
        super().__init__()
        channels, depth = settings.channels, settings.depth
        self.stem = nn.Linear(n_leads, channels)
        last = max(1, depth - 1)
        self.blocks = nn.Sequential(
            *(
                S4DBlock(channels, settings.states, settings.dropout, settings.drop_path * number / last)
                for number in range(depth)
            )
        )
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, n_classes)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) signals."""
        features_BTH = self.blocks(self.stem(signals_BCT.transpose(1, 2)))
        logits: Tensor = self.head(self.norm(features_BTH).mean(dim=1))
        return logits


class S4DBlock(nn.Module):
    """A block from (B, T, H) to (B, T, H) features, with a shortcut."""

    def __init__(self, channels: int, states: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.state_space = BidirectionalS4D(channels, states)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout1d(dropout)
        self.mix = nn.Linear(channels, 2 * channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x_BTH: Tensor) -> Tensor:
        """Return (B, T, H) features of a (B, T, H) input."""
        filtered_BHT = self.dropout(self.activation(self.state_space(self.norm(x_BTH).transpose(1, 2))))
        mixed: Tensor = x_BTH + self.drop_path(F.glu(self.mix(filtered_BHT.transpose(1, 2))))
        return mixed


class BidirectionalS4D(nn.Module):
    """A filter that gives each channel its own diagonal state space, forwards and backwards.

    A state decays and rotates with A = −exp(a) + i·ω. It is sampled every Δ (zero-order hold), so the impulse response
    of a direction is K[t] = 2 Re Σₙ Cₙ (exp(ΔAₙ) − 1) / Aₙ · exp(tΔAₙ). The start is S4D-Lin: Re A = −½, ω = πn, B = 1.

    Args:
        channels: H.
        states: N, the number of states in each direction; conjugate pairs count once.
    """

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        low, high = (math.log(step) for step in _STEP_RANGE)
        self.log_step_H = nn.Parameter(torch.empty(2, channels, 1).uniform_(low, high))
        self.log_decay_HN = nn.Parameter(torch.full((2, channels, states), math.log(0.5)))
        self.frequency_HN = nn.Parameter((math.pi * torch.arange(states)).expand(2, channels, states).clone())
        self.output_HN = nn.Parameter(torch.randn(2, channels, states, 2) * math.sqrt(0.5))  # real and imaginary part
        self.direct_H = nn.Parameter(torch.randn(channels, 1))

    def impulse_responses(self, n_samples: int) -> Tensor:
        """Return the (2, H, T) impulse responses, forwards and backwards.

        They are computed in real arithmetic, which every exporter supports.
        """
        step_H = self.log_step_H.exp()
        decay_HN, turn_HN = -self.log_decay_HN.exp() * step_H, self.frequency_HN * step_H  # ΔA
        # C (exp(ΔA) − 1) / A = C · Δ · (exp(ΔA) − 1) / ΔA
        growth_HN = decay_HN.exp()
        real_HN, imaginary_HN = growth_HN * turn_HN.cos() - 1, growth_HN * turn_HN.sin()
        scale_HN = step_H / (decay_HN.square() + turn_HN.square())
        held_real_HN = (real_HN * decay_HN + imaginary_HN * turn_HN) * scale_HN
        held_imaginary_HN = (imaginary_HN * decay_HN - real_HN * turn_HN) * scale_HN
        c_real_HN, c_imaginary_HN = self.output_HN.unbind(-1)
        weight_real_HN = 2 * (c_real_HN * held_real_HN - c_imaginary_HN * held_imaginary_HN)
        weight_imaginary_HN = 2 * (c_real_HN * held_imaginary_HN + c_imaginary_HN * held_real_HN)
        time_T = torch.arange(n_samples, device=decay_HN.device, dtype=decay_HN.dtype)
        envelope_HNT = (decay_HN[..., None] * time_T).exp()
        angle_HNT = turn_HN[..., None] * time_T
        waves_HNT = weight_real_HN[..., None] * angle_HNT.cos() - weight_imaginary_HN[..., None] * angle_HNT.sin()
        return (envelope_HNT * waves_HNT).sum(dim=2)

    def forward(self, x_BHT: Tensor) -> Tensor:
        """Return the filtered (B, H, T) signals, in float32, which Fourier transforms need."""
        with torch.autocast(x_BHT.device.type, enabled=False):
            x_BHT = x_BHT.float()
            filter_with = _by_product if _is_exporting() else _by_spectrum
            filtered_BHT: Tensor = filter_with(x_BHT, *self.impulse_responses(int(x_BHT.shape[2])))
            return filtered_BHT + self.direct_H * x_BHT


def _by_spectrum(x_BHT: Tensor, forwards_HT: Tensor, backwards_HT: Tensor) -> Tensor:
    """Return the signals filtered by one circular response, whose end holds the backward response."""
    n_samples = int(x_BHT.shape[2])
    both_HS = F.pad(forwards_HT, (0, n_samples)) + F.pad(backwards_HT.flip(-1), (n_samples, 0))
    spectrum = torch.fft.rfft(x_BHT, n=2 * n_samples) * torch.fft.rfft(both_HS)
    filtered_BHS: Tensor = torch.fft.irfft(spectrum, n=2 * n_samples)
    return filtered_BHS[..., :n_samples]


def _by_product(x_BHT: Tensor, forwards_HT: Tensor, backwards_HT: Tensor) -> Tensor:
    """Return the same as `_by_spectrum` by a convolution of each channel, for files.

    OpenVINO refuses the Fourier transforms of ONNX.
    """
    n_channels, n_samples = (int(size) for size in x_BHT.shape[1:])
    both_HS = torch.cat([forwards_HT.flip(-1), backwards_HT[:, :-1]], dim=-1)
    padded_BHS = F.pad(x_BHT, (n_samples - 1, n_samples - 1))
    return F.conv1d(padded_BHS, both_HS[:, None], groups=n_channels)


def _is_exporting() -> bool:
    return torch.compiler.is_exporting() or bool(torch._C._get_tracing_state())
