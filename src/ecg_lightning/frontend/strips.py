"""Strips: an image whose rows of patches are leads, so that the signal keeps its full resolution in time."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ecg_lightning.data.wfdb import DURATION_S, LEADS
from ecg_lightning.frontend.frontend import Frontend, fitted_size
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.frontend.matrix import BandedProduct, resize_matrix
from ecg_lightning.frontend.schema import StripsConfig

ROWS_PER_LEAD = 8  # for networks without patches
COLUMNS_PER_ROW = 32  # a patch is 0.31 s of a record


def strips_size(patch_size: int) -> tuple[int, int]:
    """Return the (height, width) at which a square patch holds one lead and 32 patches hold a record."""
    rows = patch_size if patch_size > 1 else ROWS_PER_LEAD
    return len(LEADS) * rows, COLUMNS_PER_ROW * rows


class StripsFrontend(Frontend):
    """A front end that gives every lead a band of rows; see `StripsImage`. Arguments are those of `MatrixFrontend`."""

    def __init__(
        self, settings: StripsConfig, n_samples: int, patch_size: int = 1, duration_s: float = DURATION_S
    ) -> None:
        size = strips_size(patch_size) if settings.size is None else fitted_size(settings.size, patch_size)
        image = StripsImage(len(LEADS), n_samples, size, settings.channels)
        super().__init__(settings, image, InputSpec((settings.channels, *size), duration_s))


class StripsImage(nn.Module):
    """An image in which every lead fills its own band of rows, in the order of the leads from top to bottom.

    Row r of a band of R rows holds the lead at the times (x + (r + ½) / R) · duration / width of its columns x. If a
    band is read down the rows and then along the columns, it is the lead at R times the width's sampling rate. A patch
    as high as the band sees one lead. It sees all samples if R · width is at least their number. In contrast, a lead
    drawn into one row of 224 columns would keep 22 samples per second.

    Args:
        n_leads: the number of leads of the input.
        n_samples: the number of samples per lead of the input.
        size: (height, width) of the image; rows that are left below the last band are zero.
        channels: 1, or 3 equal channels for networks made for RGB.
    """

    def __init__(self, n_leads: int, n_samples: int, size: tuple[int, int], channels: int = 1) -> None:
        super().__init__()
        height, width = size
        if height < n_leads:
            raise ValueError(f"frontend.size: {n_leads} leads need at least {n_leads} rows, but the height is {height}")
        self.rows_per_lead = height // n_leads
        self.rows_below = height - n_leads * self.rows_per_lead
        self.channels = channels
        self.resize_time = BandedProduct(resize_matrix(n_samples, width * self.rows_per_lead).T)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, channels, height, width) images of (B, leads, T) signals."""
        fine_BCF = self.resize_time(signals_BCT)
        image_BHW = fine_BCF.unflatten(2, (-1, self.rows_per_lead)).transpose(2, 3).flatten(1, 2)
        return F.pad(image_BHW, (0, 0, 0, self.rows_below))[:, None].expand(-1, self.channels, -1, -1)
