"""The paper front end's renderer against a fresh matplotlib figure of the same page and pixels.

    python benchmarks/paper.py --output benchmarks/results/paper.json

One thread; the ways take turns. The figure is drawn and read as grey or RGB pixels; no file is written. Both ways draw
grid, pulses, lead names and traces, and `grid=none` leaves out the grid in both. The records are synthetic.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _common import interleave, report

from ecg_lightning.frontend.paper import PaperImage
from ecg_lightning.paper.page import Page
from ecg_lightning.paper.schema import PageConfig
from ecg_lightning.reports.figure_files import pixels
from ecg_lightning.reports.paper_figure import paper_figure

CASES = (
    (224, 1, PageConfig()),
    (224, 1, PageConfig(grid="none")),
    (224, 3, PageConfig()),
    (224, 1, PageConfig(layout="12x1")),
    (512, 1, PageConfig()),
    (1024, 1, PageConfig()),
)
BATCH, BATCHES = 32, 5  # batches at a turn, which lasts about as long as a figure


def rows(repeats: int) -> list[dict[str, object]]:
    """Return one row for each way and case, in milliseconds a picture."""
    signals = 0.3 * torch.randn(BATCH, 12, 1000, generator=torch.Generator().manual_seed(0))
    record = signals[0].numpy()
    found: list[dict[str, object]] = []
    for width, channels, settings in CASES:
        page = Page(settings)
        image = PaperImage(page, 1000, width, channels)
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)

        def figure(page=page, width=width, channels=channels, weights=weights):
            rgb = pixels(paper_figure(record, 100, page, "record", dpi=width / (page.width_mm / 25.4)))[..., :3]
            return rgb @ weights if channels == 1 else rgb

        def batch(image=image):
            with torch.inference_mode():
                for _ in range(BATCHES):
                    image(signals)

        drawn = image(signals).shape[2:]
        assert abs(figure().shape[0] - drawn[0]) <= 1
        assert figure().shape[1] == drawn[1]
        seconds = interleave({"matplotlib": figure, "torch": batch}, repeats)
        ours = seconds["torch"] / (BATCH * BATCHES)
        what = f"{channels}x{drawn[0]}x{drawn[1]}, layout={settings.layout}, grid={settings.grid}"
        found += [
            {"what": what, "way": "fresh matplotlib figure", "ms": 1e3 * seconds["matplotlib"], "ratio": 1.0},
            {
                "what": what,
                "way": f"PaperImage, batch of {BATCH}",
                "ms": 1e3 * ours,
                "ratio": seconds["matplotlib"] / ours,
            },
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report("paper", rows(arguments.repeats), arguments.output)


if __name__ == "__main__":
    main()
