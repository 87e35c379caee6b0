"""Windows of a record: one random crop while training, all of them outside, their predictions aggregated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecg_lightning.data.wfdb import DURATION_S


class Windows(nn.Module):
    """The PTB-XL benchmark's protocol (Strodthoff et al. 2021, arXiv 2004.13701) around any signal network.

    While training each record gives one crop at a random place; otherwise windows are cut at every `stride_s`, and the
    probabilities of a record's windows are averaged, or their maximum is taken.

    Args:
        network: (B, leads, samples of a window) → (B, C) logits of independent classes.
        window_s: length of a window, in seconds.
        stride_s: from one window to the next, in seconds.
        aggregate: `mean` or `max`.
        duration_s: seconds of a record.
    """

    def __init__(
        self, network: nn.Module, window_s: float, stride_s: float, aggregate: str, duration_s: float = DURATION_S
    ) -> None:
        super().__init__()
        self.network = network
        self.window_s = window_s
        self.stride_s = stride_s
        self.aggregate = aggregate
        self.duration_s = duration_s

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, leads, T) → (B, C) logits of the aggregated probabilities."""
        if self.training:
            length = window_samples(self.window_s, int(signals_BCT.shape[2]), self.duration_s)
            cropped: Tensor = self.network(random_crop(signals_BCT, length))
            return cropped
        windows_WBCT = self.cut(signals_BCT)
        logits_WBC: Tensor = self.network(torch.cat(windows_WBCT)).unflatten(0, (len(windows_WBCT), -1))
        if self.aggregate == "max":
            return logits_WBC.amax(dim=0)
        return logit_of_mean(logits_WBC)

    def cut(self, signals_BCT: Tensor) -> list[Tensor]:
        """(B, leads, T) → W windows of (B, leads, samples of a window)."""
        n_samples = int(signals_BCT.shape[2])  # while a graph is traced it is no number
        parts = (self.window_s, self.stride_s)
        length, stride = (window_samples(part, n_samples, self.duration_s) for part in parts)
        return [signals_BCT[:, :, first : first + length] for first in window_starts(n_samples, length, stride)]


def logit_of_mean(logits_MBC: Tensor) -> Tensor:
    """(M, B, C) logits → (B, C) logit of the mean sigmoid, without leaving the logarithms.

    In elementary operations: what runtimes make of PyTorch's own `logsigmoid` and `logsumexp` overflows.
    """
    rest_MBC = torch.log1p(torch.exp(-logits_MBC.abs()))
    return _log_sum(logits_MBC.clamp_max(0.0) - rest_MBC) - _log_sum((-logits_MBC).clamp_max(0.0) - rest_MBC)


def _log_sum(logarithms_MBC: Tensor) -> Tensor:
    largest_BC = logarithms_MBC.amax(dim=0)
    return largest_BC + (logarithms_MBC - largest_BC).exp().sum(dim=0).log()


def window_samples(seconds: float, n_samples: int, duration_s: float = DURATION_S) -> int:
    """Samples of a part of a record of `n_samples` in `duration_s`."""
    return max(1, round(seconds / duration_s * n_samples))


def window_starts(n_samples: int, length: int, stride: int) -> list[int]:
    """First sample of each window that fits into a record."""
    return list(range(0, n_samples - length + 1, stride))


def random_crop(signals_BCT: Tensor, length: int) -> Tensor:
    """(B, leads, T) → (B, leads, length), each record from a place of its own."""
    n_records, n_leads, n_samples = signals_BCT.shape
    starts_B = torch.randint(n_samples - length + 1, (n_records, 1), device=signals_BCT.device)
    index_BT = starts_B + torch.arange(length, device=signals_BCT.device)
    return signals_BCT.gather(2, index_BT[:, None].expand(-1, n_leads, -1))
