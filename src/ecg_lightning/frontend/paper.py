"""A paper ECG as an image, drawn in batches: differentiable, true to scale, and part of the exported file."""

from __future__ import annotations

import itertools
import logging
import math

import numpy as np
import torch
from torch import Tensor, nn

from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.frontend.artifacts.artifacts import Artifacts
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.frontend.schema import PaperConfig
from ecg_lightning.frontend.trace_columns import trace_columns
from ecg_lightning.paper.blank import draw_blank
from ecg_lightning.paper.colours import INK, luminance
from ecg_lightning.paper.page import Page

log = logging.getLogger(__name__)

REACH_MM = 60.0
"""The largest distance of a trace from its baseline. At 10 mm/mV, 1 % of PTB-XL's records have a sample beyond it."""

_CACHED_PIXELS = 350_000
"""Pixels that are drawn at a time. Larger batches leave the processor's cache and take up to twice as long."""


class PaperFrontend(Frontend):
    """A front end that draws each record on a page, and normalises the picture instead of the signal.

    Args:
        settings: the page, the picture's width and channels, its mean and deviation, augmentation of the signal, and
            disturbances of the picture in training.
        n_samples: the number of samples per lead.
        patch_size: the side of the network's patches; the picture's sides are multiples of it.
        duration_s: the seconds of a record.
    """

    def __init__(
        self, settings: PaperConfig, n_samples: int, patch_size: int = 1, duration_s: float = DURATION_S
    ) -> None:
        page = Page(settings, duration_s)
        picture = PaperImage(page, n_samples, settings.width, settings.channels, patch_size)
        super().__init__(settings, picture, InputSpec((settings.channels, *picture.size), duration_s))
        self.artifacts = Artifacts(settings.artifacts, px_per_mm=settings.width / page.width_mm)

    def represent_as_is(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the normalised pictures, disturbed while training. By default, black is -1 and white is 1."""
        picture: Tensor = self.artifacts(self.representation(millivolts_BCT.float()))
        return picture.sub_(self.mean).div_(self.std)


class PaperImage(nn.Module):
    """Pictures of a page, in which 0 is black and 1 is white.

    A column of pixels shows the range of the trace within the column, widened by the pen. Neighbouring columns share
    the value on their border, so a trace has no gaps. The ends of that range lie between pixels: a pixel shows the
    share of its height that is covered. Where traces of two rows meet, the darker one is shown.

    Args:
        page: the page, for records of its duration.
        n_samples: the number of samples per lead.
        width: the width of the page in pixels.
        channels: 1 for grey, or 3 for RGB.
        multiple: the picture's sides are multiples of it. Paper is added below and on the right, so the scale is always
            `width` / `page.width_mm`.
    """

    def __init__(self, page: Page, n_samples: int, width: int, channels: int = 1, multiple: int = 1) -> None:
        super().__init__()
        scale = width / page.width_mm
        self.size = _next_multiple(page.height_mm * scale, multiple), _next_multiple(width, multiple)
        height = self.size[0]
        self.n_at_a_time = max(2, _CACHED_PIXELS // math.prod(self.size))
        if self.size[1] > width:
            log.warning(
                "frontend.width: %d is not divisible by the patch size of %d; %d columns of paper are added",
                *(width, multiple, self.size[1] - width),
            )
        columns = trace_columns(page, n_samples, scale, self.size[1])
        baselines = np.array([page.baseline_mm(row) for row in range(page.n_rows)]) * scale
        reach = REACH_MM * scale
        self.bands = _bands([(int(y - reach), math.ceil(y + reach)) for y in baselines], height)

        self.before: Tensor
        self.after: Tensor
        self.weights: Tensor
        self.upper: Tensor
        self.lower: Tensor
        self.edges: Tensor
        self.zeros: Tensor
        self.blank: Tensor
        self.ink: Tensor
        blank, ink = torch.from_numpy(draw_blank(page, scale, *self.size)), torch.tensor(INK, dtype=torch.float64)
        grey = torch.tensor([luminance(one) for one in torch.eye(3).tolist()], dtype=torch.float64)
        if channels == 1:
            blank, ink = torch.einsum("c,chw->hw", grey, blank)[None], (grey @ ink)[None]
        buffers = {
            "before": torch.from_numpy(columns.before).flatten(),
            "after": torch.from_numpy(columns.after).flatten(),
            "weights": torch.from_numpy(columns.weights * -page.settings.mm_per_mv * scale).float(),
            "upper": torch.from_numpy(baselines[:, None] % 1 - columns.pen_px).float(),
            "lower": torch.from_numpy(baselines[:, None] % 1 + columns.pen_px).float(),
            "zeros": torch.from_numpy(np.floor(baselines))[:, None, None].long(),
            "edges": torch.arange(height + 1)[:, None],
            "blank": blank.float(),
            "ink": ink[:, None, None].float(),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the (B, channels, height, width) pictures of (B, 12, T) signals in mV."""
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if traced or millivolts_BCT.requires_grad:  # a graph must not depend on the batch
            return self._draw(millivolts_BCT)
        drawn = millivolts_BCT.new_empty(len(millivolts_BCT), *self.blank.shape)
        for start in range(0, len(drawn), self.n_at_a_time):
            part = slice(start, start + self.n_at_a_time)
            self._draw(millivolts_BCT[part], drawn[part])
        return drawn

    def _draw(self, millivolts_BCT: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.addcmul(self.blank, self.coverage(millivolts_BCT)[:, None], self.ink - self.blank, out=out)

    def coverage(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the (B, height, width) share of each pixel that traces cover.

        Heights count from the pixel of each row's baseline. So bfloat16, in which some runtimes compute, rounds a
        deflection by at most 0.4 %, and keeps whole pixels up to 256.
        """
        signals = millivolts_BCT.flatten(1)
        before, after = (
            signals.index_select(1, places).view(-1, *self.upper.shape) for places in (self.before, self.after)
        )
        y_BKRW = torch.addcmul(before * self.weights[0], after, self.weights[1])
        top_BRW, bottom_BRW = (y_BKRW + self.upper).amin(1), (y_BKRW + self.lower).amax(1)
        bands = []
        for start, end, rows in self.bands:
            edges_RH1 = (self.edges[start : end + 1] - self.zeros[rows]).to(y_BKRW.dtype)
            within = edges_RH1.clamp(top_BRW[:, rows, None], bottom_BRW[:, rows, None])
            bands.append((within[:, :, 1:] - within[:, :, :-1]).amax(1))
        return torch.cat(bands, dim=1)


def _next_multiple(pixels: float, multiple: int) -> int:
    return multiple * math.ceil((pixels - 1e-6) / multiple)  # the product of sizes in mm may miss a whole number


def _bands(windows: list[tuple[int, int]], height: int) -> list[tuple[int, int, slice]]:
    """Return bands of the picture, from the top: first row of pixels, end, and which traces can be in it.

    Args:
        windows: the first row of pixels of each trace, and their end, from the top.
        height: rows of pixels of the picture.
    """
    edges = sorted({0, height, *(edge for window in windows for edge in window if 0 < edge < height)})
    bands = []
    for start, end in itertools.pairwise(edges):
        inside = [place for place, (first, last) in enumerate(windows) if first < end and last > start]
        bands.append((start, end, slice(inside[0], inside[-1] + 1) if inside else slice(0, 1)))
    return bands
