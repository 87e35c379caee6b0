"""The points of the traces that each column of pixels of a page shows, and how far the pen reaches there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ecg_lightning.paper.blank import line_px
from ecg_lightning.paper.page import Page

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class TraceColumns(NamedTuple):
    """At most K points in each of R rows and W columns of pixels; fewer points are repeated.

    A point is a sample, or lies on the line between two samples, where a column begins or ends. Beside the traces, the
    weights and the pen are zero.

    Attributes:
        before: (K, R, W) places of the samples before the points, in a record's flat (12 · T) signal.
        after: (K, R, W) places of the samples after the points.
        weights: (2, K, R, W) weights of both samples; negative for leads that are drawn upside down.
        pen_px: (K, R, W) pixels that the pen covers above and below each point.
    """

    before: Places
    after: Places
    weights: Floats
    pen_px: Floats


def trace_columns(page: Page, n_samples: int, px_per_mm: float, width: int) -> TraceColumns:
    """Return the points of a page's traces.

    The pen is round and as wide as `line_px`, so a column also shows points beside it.

    Args:
        page: the page.
        n_samples: samples per lead in the page's duration.
        px_per_mm: pixels per millimetre.
        width: columns of pixels.
    """
    px_per_s, rate = page.settings.mm_per_s * px_per_mm, n_samples / page.duration_s
    left_px = (page.left_mm + page.pulse_mm) * px_per_mm
    begin_W = np.arange(width, dtype=np.float64) - left_px
    end_W = begin_W + 1
    middle_s = (begin_W + end_W) / 2 / px_per_s
    traced_W = (middle_s >= 0) & (middle_s < page.duration_s)
    lead_RW, sign_RW, delay_RW, start_RW, stop_RW = _panels(page, middle_s)

    def sample_at(x_px: npt.NDArray[Any]) -> Floats:
        second_RW = np.clip(x_px / px_per_s - delay_RW, start_RW, stop_RW)
        return np.clip(second_RW * rate, 0, n_samples - 1)

    pen = line_px(px_per_mm)
    beside = (pen - 1) / 2
    sides = [sample_at(begin_W), sample_at(end_W)]
    if beside:
        sides += [sample_at(begin_W - beside), sample_at(end_W + beside)]
    lowest, highest = np.ceil(sides[-2]), np.floor(sides[-1])
    n_inside = int(np.max((highest - lowest)[:, traced_W])) + 1
    inside = [np.where(highest < lowest, sides[0], np.minimum(lowest + k, highest)) for k in range(n_inside)]
    points_KRW = np.stack([*sides, *inside])

    x_KRW = (points_KRW / rate + delay_RW) * px_per_s
    outside_KRW = np.maximum(begin_W - x_KRW, x_KRW - end_W)
    height_KRW = np.sqrt(np.maximum((pen / 2) ** 2 - (outside_KRW + 0.5) ** 2, 0))
    before_KRW = np.floor(points_KRW)
    share_KRW = points_KRW - before_KRW
    place_KRW = lead_RW * n_samples + before_KRW.astype(np.int64)
    return TraceColumns(
        place_KRW,
        place_KRW + (share_KRW > 0),
        np.where(traced_W, sign_RW, 0) * np.stack([1 - share_KRW, share_KRW]),
        np.where(traced_W, np.where(outside_KRW > 1e-6, height_KRW, pen / 2), 0.0),
    )


def _panels(page: Page, seconds_W: Floats) -> tuple[Places, Places, Floats, Floats, Floats]:
    """Return (R, W) of the panel at each second of each row.

    The arrays are the lead, its sign, the seconds from the record's time to the row's, and the panel's first and last
    second of the record.
    """
    rows = []
    for row in range(page.n_rows):
        panels = [panel for panel in page.panels if panel.row == row]
        found = np.searchsorted([panel.column_s for panel in panels], seconds_W, side="right") - 1
        values = [
            (one.lead, one.sign, one.column_s - one.start_s, one.start_s, one.start_s + one.duration_s)
            for one in panels
        ]
        rows.append(np.array(values)[np.maximum(found, 0)])
    lead, sign, delay, start, stop = np.moveaxis(np.array(rows), 2, 0)
    return lead.astype(np.int64), sign.astype(np.int64), delay, start, stop
