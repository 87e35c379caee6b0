"""Disturbed pictures a second, against Pillow and matplotlib, and as a share of EfficientNet-B0's training step.

    python benchmarks/artifacts.py --output benchmarks/results/artifacts.json

Grey pictures of 224 × 224, in batches of 32, on one thread. The chain of a user is Pillow and NumPy, picture by
picture, with the same disturbances in simpler forms; matplotlib draws a fresh figure of the page with as many pixels.
Our own pages are drawn before the clock starts.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import yaml
from _common import interleave, report
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ecg_lightning.config.conf_folder import config_dir
from ecg_lightning.frontend.artifacts.artifacts import LAYERS, Artifacts
from ecg_lightning.frontend.artifacts.levels import LEVELS
from ecg_lightning.frontend.schema import ArtifactConfig
from ecg_lightning.paper.page import LINE_MM, MAJOR_MM, MINOR_MM, NAME_MM, Page
from ecg_lightning.paper.schema import PageConfig

SIZE, BATCH = 224, 32
PX_PER_MM = SIZE / 279.4
PRESETS = ("scan", "photo", "screen", "stained", "torn")
FEW = 4
"""Pictures that the slow ways make in one turn."""


def settings_of(preset: str) -> ArtifactConfig:
    shares = yaml.safe_load((config_dir() / f"frontend/artifacts/{preset}.yaml").read_text("utf-8"))
    return ArtifactConfig(**shares)


def figure_of(signals_12T: np.ndarray) -> Image.Image:
    """A fresh matplotlib figure of the whole page: both grids, pulses, names and traces."""
    page = Page(PageConfig())
    figure = Figure(figsize=(SIZE / 100, SIZE / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, page.width_mm), ylim=(page.height_mm, 0))
    axes.axis("off")
    for step, width in ((MINOR_MM, 0.1), (MAJOR_MM, 0.3)):
        axes.vlines(np.arange(0, page.width_mm, step), 0, page.height_mm, colors="pink", linewidth=width)
        axes.hlines(np.arange(0, page.height_mm, step), 0, page.width_mm, colors="pink", linewidth=width)
    line = {"color": "black", "linewidth": LINE_MM * PX_PER_MM / 100 * 72}
    for row in range(page.n_rows):
        x = page.left_mm + np.array([0, 2.5, 2.5, 7.5, 7.5, 10])
        axes.plot(x, page.baseline_mm(row) - np.array([0, 0, 10, 10, 0, 0]), **line)
    for panel in page.panels:
        start = round(100 * panel.start_s)
        signal_mv = signals_12T[panel.lead, start : start + round(100 * panel.duration_s)]
        x = page.x_mm(panel) + 0.25 * np.arange(len(signal_mv))
        axes.plot(x, page.baseline_mm(panel.row) - 10 * signal_mv, **line)
        axes.text(x[0], page.baseline_mm(panel.row) - 9, panel.name, fontsize=NAME_MM * PX_PER_MM)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).convert("L")


def by_pillow(picture: Image.Image, settings: ArtifactConfig, rng: np.random.Generator) -> Image.Image:
    """The disturbances of the settings as a user would make them with Pillow and NumPy, at the same amounts."""

    def amount(name: str) -> float:
        amounts = (LEVELS[name].at_zero, *LEVELS[name].amounts)
        return float(np.interp(settings.strength * getattr(settings, name), range(6), amounts))

    def is_on(name: str) -> bool:
        return bool(getattr(settings, name))

    def shaded(picture: Image.Image, small: np.ndarray) -> Image.Image:
        field = Image.fromarray((255 * small.clip(0, 1)).astype(np.uint8)).resize(picture.size, Image.BICUBIC)
        return ImageChops.multiply(picture, field)

    if is_on("bleed_through"):
        mirrored = picture.transpose(Image.FLIP_LEFT_RIGHT).filter(ImageFilter.GaussianBlur(0.5))
        picture = ImageChops.multiply(picture, mirrored.point(lambda v: 255 - amount("bleed_through") * (255 - v)))
    if is_on("stain"):
        ink = Image.new("L", picture.size, 255)
        draw = ImageDraw.Draw(ink)
        for _ in range(3):
            x, y, radius = [*rng.uniform(0, SIZE, 2).tolist(), 40]
            shade = int(255 - 150 * amount("stain"))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=shade, width=2)
        picture = ImageChops.multiply(picture, ink.filter(ImageFilter.GaussianBlur(1)))
    if is_on("pen"):
        draw = ImageDraw.Draw(picture)
        for _ in range(math.ceil(amount("pen"))):
            points = rng.uniform(0, SIZE, 2) + np.cumsum(rng.normal(0, 2, (40, 2)), 0)
            draw.line([tuple(point) for point in points], fill=60)
    if is_on("stamp"):
        draw = ImageDraw.Draw(picture)
        x, y = rng.uniform(0, SIZE, 2)
        draw.rectangle((x, y, x + 40, y + 20), outline=120)
        draw.text((x + 4, y + 4), "RECEIVED", fill=120)
    if is_on("crease"):
        picture = shaded(picture, 1 - amount("crease") * rng.uniform(0, 1, (12, 12)))
        draw = ImageDraw.Draw(picture)
        for _ in range(3):
            draw.line([tuple(end) for end in rng.uniform(0, SIZE, (2, 2))], fill=120)
    if is_on("tear"):
        corner = [(0, 0), *rng.uniform(0, SIZE / 4, (8, 2)).tolist()]
        ImageDraw.Draw(picture).polygon([tuple(point) for point in corner], fill=90)
    if is_on("warp"):
        shift = PX_PER_MM * amount("warp") * rng.uniform(-1, 1, (9, 9, 2))
        mesh = []
        for row in range(8):
            for column in range(8):
                left, top = column * SIZE // 8, row * SIZE // 8
                box = (left, top, left + SIZE // 8, top + SIZE // 8)
                corners = ((0, 0, left, top), (1, 0, left, box[3]), (1, 1, box[2], box[3]), (0, 1, box[2], top))
                quad = [value for i, j, x, y in corners for value in np.array([x, y]) + shift[row + i, column + j]]
                mesh.append((box, tuple(quad)))
        picture = picture.transform(picture.size, Image.MESH, mesh, Image.BILINEAR)
    if is_on("rotation"):
        picture = picture.rotate(rng.uniform(-1, 1) * amount("rotation"), Image.BILINEAR, fillcolor=200)
    if is_on("perspective"):
        factors = (1.05, 0.01, -4, 0.01, 1.05, -4, 2e-4, 1e-4)
        picture = picture.transform(picture.size, Image.PERSPECTIVE, factors, Image.BILINEAR, fillcolor=90)
    if is_on("crop"):
        edge = PX_PER_MM * amount("crop")
        picture = picture.resize(picture.size, Image.BILINEAR, (edge, edge, SIZE - edge, SIZE - edge))
    if is_on("light"):
        y, x = np.mgrid[-1:1:56j, -1:1:56j]
        angle = rng.uniform(0, 2 * math.pi)
        slope = x * math.cos(angle) + y * math.sin(angle)
        shadow = (4 * slope).clip(0, 1)
        picture = shaded(picture, (1 - amount("light") * shadow) * (1 - 0.3 * amount("light") * (1 + slope)))
    if is_on("colour_cast"):
        gain = math.exp(-0.0015 * amount("colour_cast"))
        picture = picture.point(lambda value: value * gain)
    if is_on("moire"):
        y, x = np.mgrid[:SIZE, :SIZE]
        fringes = 1 + amount("moire") * np.cos(0.8 * x + 0.3 * y + 0.001 * x * y)
        picture = Image.fromarray((np.asarray(picture) * fringes).clip(0, 255).astype(np.uint8))
    if is_on("defocus"):
        picture = picture.filter(ImageFilter.GaussianBlur(PX_PER_MM * amount("defocus")))
    if is_on("motion"):
        picture = picture.filter(ImageFilter.Kernel((3, 3), (0, 0, 1, 0, 2, 0, 1, 0, 0)))
    if is_on("noise"):
        noise = rng.normal(0, 255 * amount("noise"), (SIZE, SIZE))
        picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    if is_on("scan_lines"):
        lines = 1 - amount("scan_lines") * rng.uniform(0, 1, (SIZE, 1))
        picture = Image.fromarray((np.asarray(picture) * lines).astype(np.uint8))
    if is_on("resample"):
        small = round(SIZE / amount("resample"))
        picture = picture.resize((small, small), Image.BILINEAR).resize((SIZE, SIZE), Image.BILINEAR)
    if is_on("jpeg"):
        stored = io.BytesIO()
        picture.save(stored, "JPEG", quality=int(amount("jpeg")))
        picture = Image.open(stored).convert("L")
    return picture


def training_step() -> Callable[[], None]:
    """A step of EfficientNet-B0 from scratch, as a training takes it."""
    network = timm.create_model("efficientnet_b0", in_chans=1, num_classes=5).train()
    optimizer = torch.optim.AdamW(network.parameters())
    images, targets = torch.rand(BATCH, 1, SIZE, SIZE), torch.randint(2, (BATCH, 5)).float()

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(network(images), targets).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    signals = 0.3 * rng.normal(size=(FEW, 12, 1000)).cumsum(2) / 10
    pictures = [figure_of(signal) for signal in signals]
    arrays = np.stack([np.asarray(picture) for picture in pictures]).repeat(BATCH // FEW, 0)
    images = torch.from_numpy(arrays)[:, None].float() / 255
    step = training_step()
    rows: list[dict[str, object]] = []
    everything = ArtifactConfig(**dict.fromkeys(LAYERS, 1.0))
    chains = {name: settings_of(name) for name in PRESETS} | {"all layers": everything}
    for preset, settings in chains.items():
        disturbing = Artifacts(settings, PX_PER_MM).train()
        seconds = interleave(
            {
                "ours": lambda disturbing=disturbing: [disturbing(images) for _ in range(3)],
                "Pillow": lambda settings=settings: [by_pillow(one.copy(), settings, rng) for one in pictures * 4],
                "matplotlib + Pillow": lambda settings=settings: [
                    by_pillow(figure_of(signal), settings, rng) for signal in signals
                ],
                "training step": step,
            }
        )
        ours = seconds["ours"] / (3 * BATCH)
        rows.append(
            {
                "preset": preset,
                "images_per_s": 1 / ours,
                "faster_than_pillow": seconds["Pillow"] / (4 * FEW) / ours,
                "faster_than_matplotlib_and_pillow": seconds["matplotlib + Pillow"] / FEW / ours,
                "share_of_training_step": ours * BATCH / seconds["training step"],
                "training_step_ms": 1e3 * seconds["training step"],
            }
        )
    alone = {name: Artifacts(ArtifactConfig(**{name: 1.0}), PX_PER_MM).train() for name in LAYERS}
    seconds = interleave({name: lambda one=one: one(images) for name, one in alone.items()})
    rows += [{"layer": name, "ms_a_batch": 1e3 * value} for name, value in seconds.items()]
    report("artifacts", rows, arguments.output)


if __name__ == "__main__":
    main()
