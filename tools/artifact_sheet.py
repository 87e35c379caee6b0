"""Draw each disturbance of a paper ECG at strengths 1 to 5, and each preset.

python tools/artifact_sheet.py docs/assets/artifacts.png docs/assets/artifact_presets.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import wfdb
import yaml
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ecg_lightning.config.conf_folder import config_dir
from ecg_lightning.deployment.example import EXAMPLE_RECORDS
from ecg_lightning.frontend.artifacts.artifacts import LAYERS, Artifacts
from ecg_lightning.frontend.artifacts.levels import STRENGTHS
from ecg_lightning.frontend.paper import PaperImage
from ecg_lightning.frontend.schema import ArtifactConfig
from ecg_lightning.paper.page import Page
from ecg_lightning.paper.schema import PageConfig

PRESETS = ("scan", "photo", "screen", "stained", "torn")
DETAILS = ("bleed_through", "defocus", "motion", "noise", "resample", "jpeg")
"""Disturbances that only a part of the page shows, at three times the size."""
RECORD_ID = 6
PX_PER_MM = 3.0
NAME_WIDTH, TITLE_HEIGHT, GAP = 74, 14, 3
N_COLOURS = 128


def drawn_page(px_per_mm: float) -> Tensor:
    """Return a page of the package's synthetic infarction as (1, 3, H, W) from 0 to 1."""
    record = wfdb.rdrecord(str(EXAMPLE_RECORDS[1].with_suffix("")))
    page = Page(PageConfig(), record.sig_len / record.fs)
    image = PaperImage(page, record.sig_len, round(page.width_mm * px_per_mm), channels=3)
    pages: Tensor = image(torch.from_numpy(record.p_signal.T)[None].float())
    return pages


def layers() -> dict[str, dict[str, float]]:
    """Return each layer alone, as shares by name."""
    return {name: {name: 1.0} for name in LAYERS}


def presets() -> dict[str, dict[str, float]]:
    """Return the shares of each preset by its name."""
    folder = config_dir() / "frontend/artifacts"
    return {name: yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8")) for name in PRESETS}


def sheet(rows: dict[str, dict[str, float]], width: int, n_tables: int) -> Image.Image:
    """Return a contact sheet.

    Args:
        rows: the shares of each row by its name.
        width: width of one picture on the sheet, in pixels.
        n_tables: how many tables stand side by side.
    """
    page = drawn_page(PX_PER_MM)
    height = round(width * page.shape[2] / page.shape[3])
    n_lines = -(-len(rows) // n_tables)
    table = NAME_WIDTH + len(STRENGTHS) * (width + GAP)
    picture = Image.new("RGB", (n_tables * table, TITLE_HEIGHT + n_lines * (height + GAP)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for place, (name, shares) in enumerate(rows.items()):
        left, top = place // n_lines * table, TITLE_HEIGHT + place % n_lines * (height + GAP)
        draw.multiline_text((left + 3, top + 3), name.replace("_", "\n"), "black", font)
        for column, strength in enumerate(STRENGTHS):
            x = left + NAME_WIDTH + column * (width + GAP)
            settings = ArtifactConfig(strength=strength, **shares)
            disturbed = Artifacts(settings, PX_PER_MM)(page, torch.tensor([RECORD_ID]))[0]
            whole = Image.fromarray((disturbed.permute(1, 2, 0) * 255).round().byte().numpy())
            around = (0.3, 0.15, 0.3 + 1 / 3, 0.15 + 1 / 3) if name in DETAILS else (0, 0, 1, 1)
            box = tuple(edge * side for edge, side in zip(around, 2 * whole.size, strict=True))
            picture.paste(whole.resize((width, height), Image.Resampling.LANCZOS, box), (x, top))
            draw.text((x + width // 2, 1), str(strength), "black", font)
    return picture


def in_few_colours(picture: Image.Image) -> Image.Image:
    """Return a picture with a palette. A ramp of greys keeps rare dark tones apart."""
    ramp = Image.linear_gradient("L").rotate(90).resize((picture.width, picture.height // 12))
    extended = Image.new("RGB", (picture.width, picture.height + ramp.height))
    extended.paste(picture)
    extended.paste(ramp, (0, picture.height))
    reduced = extended.quantize(N_COLOURS, Image.Quantize.MEDIANCUT, 2, dither=Image.Dither.NONE)
    return reduced.crop((0, 0, *picture.size))


def main() -> None:
    """Draw both sheets into files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layers", type=Path, help="PNG file of the single disturbances")
    parser.add_argument("presets", type=Path, help="PNG file of the presets")
    arguments = parser.parse_args()
    for path, picture in ((arguments.layers, sheet(layers(), 110, 2)), (arguments.presets, sheet(presets(), 186, 1))):
        in_few_colours(picture).save(path, optimize=True)


if __name__ == "__main__":
    main()
