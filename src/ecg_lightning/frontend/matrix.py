"""The signal matrix as an image: torchvision's antialiased resize as two matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_lightning.data.wfdb import DURATION_S, LEADS
from ecg_lightning.frontend.frontend import Frontend, fitted_size
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.frontend.schema import MatrixConfig


class MatrixFrontend(Frontend):
    """A front end that makes an image of any size from the signal matrix.

    Args:
        settings: the image's size, rows and channels, normalisation and augmentation.
        n_samples: the number of samples per lead.
        patch_size: the side of the network's patches; the image's sides are multiples of it.
        duration_s: the seconds of a record.
    """

    def __init__(
        self, settings: MatrixConfig, n_samples: int, patch_size: int = 1, duration_s: float = DURATION_S
    ) -> None:
        size = fitted_size(settings.size, patch_size)
        image = MatrixImage(len(LEADS), n_samples, size, settings.rows, settings.channels)
        super().__init__(settings, image, InputSpec((settings.channels, *size), duration_s))


class MatrixImage(nn.Module):
    """A resize of the (leads × time) matrix to an image, equal to `torchvision.transforms.Resize(antialias=True)`.

    Bilinear resizing is separable and linear, so it is `A @ signals @ B` for a whole batch. Speed:
    docs/results/logbook/2026-11-24-speed.md.

    Args:
        n_leads: the number of leads of the input.
        n_samples: the number of samples per lead of the input.
        size: (height, width) of the image.
        rows: the content of the image rows: `leads` (time runs along the width) or `time` (the matrix in WFDB's order).
        channels: 1, or 3 equal channels for networks made for RGB.
    """

    def __init__(
        self, n_leads: int, n_samples: int, size: tuple[int, int], rows: str = "leads", channels: int = 1
    ) -> None:
        super().__init__()
        self.size = size
        self.rows = rows
        self.channels = channels
        lead_size, time_size = size if rows == "leads" else size[::-1]
        self.lead_weights: Tensor
        self.register_buffer("lead_weights", resize_matrix(n_leads, lead_size), persistent=False)
        self.resize_time = BandedProduct(resize_matrix(n_samples, time_size).T)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, channels, height, width) images of (B, leads, T) signals."""
        resized_in_time: Tensor = self.resize_time(signals_BCT)
        if self.rows == "leads":
            image_BHW = self.lead_weights @ resized_in_time
        else:
            image_BHW = resized_in_time.transpose(1, 2) @ self.lead_weights.T
        return image_BHW[:, None].expand(-1, self.channels, -1, -1)


class BandedProduct(nn.Module):
    """A product with a matrix whose columns are zero except in a short band, such as resizing in time.

    It multiplies a few columns at a time with the rows that they need. On a CPU this is four to eight times as fast as
    the whole product.

    Args:
        weights: the (source, target) matrix.
        block: the number of columns at a time; 16 to 32 are fastest.
    """

    def __init__(self, weights: Tensor, block: int = 32) -> None:
        super().__init__()
        self.rows: list[slice] = []
        for number, columns in enumerate(torch.split(weights, block, dim=1)):
            used = columns.any(dim=1).nonzero()
            self.rows.append(slice(int(used[0]), int(used[-1]) + 1))
            self.register_buffer(f"block_{number}", columns[self.rows[-1]].contiguous(), persistent=False)

    def forward(self, signals: Tensor) -> Tensor:
        """Return the (…, target) product of (…, source) signals."""
        blocks = zip(self.rows, self.buffers(), strict=True)
        return torch.cat([signals[..., rows] @ columns for rows, columns in blocks], dim=-1)


def resize_matrix(source: int, target: int) -> Tensor:
    """Return the (target, source) weights of PyTorch's antialiased bilinear resize, read from its identity response.

    They are computed in float64. In float32, PyTorch misplaces the sampling points enough to move weights by 1e-5.
    """
    identity = torch.eye(source, dtype=torch.float64)[None, None]
    return F.interpolate(identity, size=(target, source), mode="bilinear", antialias=True)[0, 0].float()
