"""Draw docs/assets/artifacts.png: each disturbance of a paper ECG, and each preset, at strengths 1 to 5.

python tools/artifact_sheet.py docs/assets/artifacts.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import wfdb
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ecg_lightning.config.conf_folder import config_dir
from ecg_lightning.deployment.example import EXAMPLE_RECORDS
from ecg_lightning.frontend.artifacts.artifacts import LAYERS, Artifacts
from ecg_lightning.frontend.artifacts.levels import STRENGTHS
from ecg_lightning.frontend.schema import ArtifactConfig
from ecg_lightning.paper.colours import GRIDS, INK
from ecg_lightning.paper.page import LINE_MM, MAJOR_MM, MINOR_MM, NAME_MM, PULSE_MV, PULSE_S, PULSE_STUB_S, Page
from ecg_lightning.paper.schema import PageConfig

PRESETS = ("scan", "photo", "screen", "stained", "torn")
RECORD_ID = 1
NAME_WIDTH, GAP = 74, 3


def drawn_page(px_per_mm: float) -> Tensor:
    """Return a page of the package's synthetic infarction as (1, 3, H, W) from 0 to 1."""
    record = wfdb.rdrecord(str(EXAMPLE_RECORDS[1].with_suffix("")))
    page = Page(PageConfig(grid="pink"), record.sig_len / record.fs)
    settings, grid = page.settings, GRIDS["pink"]
    assert grid is not None
    inch = 25.4
    figure = Figure(figsize=(page.width_mm / inch, page.height_mm / inch), dpi=px_per_mm * inch)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, page.width_mm), ylim=(page.height_mm, 0))
    axes.axis("off")
    for step, colour, points in ((MINOR_MM, grid.minor, 0.4), (MAJOR_MM, grid.major, 0.7)):
        axes.vlines(np.arange(0, page.width_mm, step), 0, page.height_mm, colors=[colour], linewidth=points)
        axes.hlines(np.arange(0, page.height_mm, step), 0, page.width_mm, colors=[colour], linewidth=points)
    trace = {"color": INK, "linewidth": LINE_MM / inch * 72}
    for row in range(page.n_rows):
        stub, pulse = PULSE_STUB_S * settings.mm_per_s, PULSE_S * settings.mm_per_s
        x = page.left_mm + np.cumsum([0, stub, 0, pulse, 0, stub])
        y = page.baseline_mm(row) - PULSE_MV * settings.mm_per_mv * np.array([0, 0, 1, 1, 0, 0])
        axes.plot(x, y, **trace)
    for panel in page.panels:
        samples = slice(int(panel.start_s * record.fs), int((panel.start_s + panel.duration_s) * record.fs))
        signal = panel.sign * record.p_signal[samples, panel.lead]
        x = page.x_mm(panel) + np.arange(len(signal)) / record.fs * settings.mm_per_s
        axes.plot(x, page.baseline_mm(panel.row) - settings.mm_per_mv * signal, **trace)
        axes.text(x[0] + 1, page.baseline_mm(panel.row) - 9, panel.name, fontsize=NAME_MM / 0.73 / inch * 72)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgb = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255


def rows() -> dict[str, dict[str, float]]:
    """Return the shares of each row of the sheet by its name: the layers alone, then the presets."""
    alone = {name: {name: 1.0} for name in LAYERS}
    presets = {
        f"preset {name}": yaml.safe_load((config_dir() / f"frontend/artifacts/{name}.yaml").read_text("utf-8"))
        for name in PRESETS
    }
    return alone | presets


def sheet(width: int, px_per_mm: float, chosen: list[str], columns: int) -> Image.Image:
    """Return the contact sheet.

    Args:
        width: width of one picture on the sheet, in pixels.
        px_per_mm: resolution at which the pages are drawn and disturbed.
        chosen: names of the rows; all of them if empty.
        columns: number of rows of the table that stand side by side.
    """
    page = drawn_page(px_per_mm)
    height = round(width * page.shape[2] / page.shape[3])
    shown = {name: shares for name, shares in rows().items() if not chosen or name in chosen}
    lines = -(-len(shown) // columns)
    block = NAME_WIDTH + len(STRENGTHS) * (width + GAP)
    picture = Image.new("RGB", (columns * block, 14 + lines * (height + GAP)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for place, (name, shares) in enumerate(shown.items()):
        left, top = place // lines * block, 14 + place % lines * (height + GAP)
        draw.multiline_text((left + 3, top + 3), name.replace("_", "\n").replace(" ", "\n"), "black", font)
        for column, strength in enumerate(STRENGTHS):
            settings = ArtifactConfig(strength=strength, **shares)
            disturbed = Artifacts(settings, px_per_mm)(page, torch.tensor([RECORD_ID]))[0]
            pixels = (disturbed.permute(1, 2, 0) * 255).round().byte().numpy()
            one = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
            picture.paste(one, (left + NAME_WIDTH + column * (width + GAP), top))
            draw.text((left + NAME_WIDTH + column * (width + GAP) + width // 2, 1), str(strength), "black", font)
    return picture


def main() -> None:
    """Draw the sheet into a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--width", type=int, default=130, help="width of one picture, in pixels")
    parser.add_argument("--px-per-mm", type=float, default=3.0)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--rows", nargs="*", default=[], help="names of rows; all by default")
    arguments = parser.parse_args()
    picture = sheet(arguments.width, arguments.px_per_mm, arguments.rows, arguments.columns)
    if arguments.output.suffix == ".png":
        picture = picture.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
