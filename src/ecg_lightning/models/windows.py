"""Windows of a record: one random crop in training, otherwise all windows with aggregated predictions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecg_lightning.data.wfdb import DURATION_S


class Windows(nn.Module):
    """The PTB-XL benchmark's protocol (Strodthoff et al. 2021, arXiv 2004.13701) around any signal network.

    In training each record gives one crop at a random place. Otherwise a window is cut every `stride_s`, and the mean
    or the maximum of the windows' probabilities is the record's.

    Args:
        network: network from (B, leads, samples of a window) to (B, C) logits of independent classes.
        window_s: length of a window, in seconds.
        stride_s: time from one window to the next, in seconds.
        aggregate: `mean` or `max`.
        duration_s: length of a record, in seconds.
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
        """Return the (B, C) logits of the aggregated probabilities of (B, leads, T) signals."""
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
        """Return the W windows of (B, leads, T) signals, each (B, leads, samples of a window)."""
        n_samples = int(signals_BCT.shape[2])  # not a number while a graph is traced
        parts = (self.window_s, self.stride_s)
        length, stride = (window_samples(part, n_samples, self.duration_s) for part in parts)
        return [signals_BCT[:, :, first : first + length] for first in window_starts(n_samples, length, stride)]


def logit_of_mean(logits_MBC: Tensor) -> Tensor:
    """Return the (B, C) logits of the mean sigmoid of (M, B, C) logits, computed in logarithms.

    It uses elementary operations, because the runtimes' versions of PyTorch's `logsigmoid` and `logsumexp` overflow.
    """
    rest_MBC = torch.log1p(torch.exp(-logits_MBC.abs()))
    return _log_sum(logits_MBC.clamp_max(0.0) - rest_MBC) - _log_sum((-logits_MBC).clamp_max(0.0) - rest_MBC)


def _log_sum(logarithms_MBC: Tensor) -> Tensor:
    largest_BC = logarithms_MBC.amax(dim=0)
    return largest_BC + (logarithms_MBC - largest_BC).exp().sum(dim=0).log()


def window_samples(seconds: float, n_samples: int, duration_s: float = DURATION_S) -> int:
    """Return the number of samples in `seconds` of a record that has `n_samples` in `duration_s`."""
    return max(1, round(seconds / duration_s * n_samples))


def window_starts(n_samples: int, length: int, stride: int) -> list[int]:
    """Return the first sample of each window that fits into a record."""
    return list(range(0, n_samples - length + 1, stride))


def random_crop(signals_BCT: Tensor, length: int) -> Tensor:
    """Return a (B, leads, length) crop of (B, leads, T) signals, at another random place for each record."""
    n_records, n_leads, n_samples = signals_BCT.shape
    starts_B = torch.randint(n_samples - length + 1, (n_records, 1), device=signals_BCT.device)
    index_BT = starts_B + torch.arange(length, device=signals_BCT.device)
    return signals_BCT.gather(2, index_BT[:, None].expand(-1, n_leads, -1))
