"""Disturbances of a batch of pictures, in the order in which they happen to a paper ECG."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecg_lightning.frontend.artifacts.blur import Defocus, Motion
from ecg_lightning.frontend.artifacts.compression import JPEG, Resample
from ecg_lightning.frontend.artifacts.damage import Crease, Stain, Tear
from ecg_lightning.frontend.artifacts.draws import record_keys, uniform
from ecg_lightning.frontend.artifacts.geometry import Crop, Geometry, Perspective, Resampling, Rotation, Warp
from ecg_lightning.frontend.artifacts.ink import BleedThrough, Pen, Stamp
from ecg_lightning.frontend.artifacts.layer import Drawn, Layer, Scene, between, coloured
from ecg_lightning.frontend.artifacts.levels import LEVELS
from ecg_lightning.frontend.artifacts.light import ColourCast, Light
from ecg_lightning.frontend.artifacts.noise import Noise
from ecg_lightning.frontend.artifacts.screen import Moire, ScanLines
from ecg_lightning.frontend.schema import ArtifactConfig

LAYERS: dict[str, type[Layer] | type[Geometry]] = {
    "bleed_through": BleedThrough,
    "stain": Stain,
    "pen": Pen,
    "stamp": Stamp,
    "crease": Crease,
    "tear": Tear,
    "warp": Warp,
    "rotation": Rotation,
    "perspective": Perspective,
    "crop": Crop,
    "light": Light,
    "colour_cast": ColourCast,
    "moire": Moire,
    "defocus": Defocus,
    "motion": Motion,
    "noise": Noise,
    "scan_lines": ScanLines,
    "resample": Resample,
    "jpeg": JPEG,
}
"""The class of each disturbance in `levels.LEVELS`, in the same order."""

_LIDS = ((0.95, 0.95, 0.94), (0.80, 0.80, 0.80), (0.10, 0.10, 0.11))
_DESKS = ((0.76, 0.60, 0.42), (0.38, 0.26, 0.18), (0.45, 0.47, 0.50), (0.30, 0.40, 0.43))
_BEZELS = ((0.03, 0.03, 0.04), (0.10, 0.10, 0.11))
"""Colours behind the page: the lid of a scanner, a desk, the frame of a screen."""
_CPU_VALUES = 1 << 18
"""Values of the images that a CPU works on together: 1 MB."""


class Artifacts(nn.Module):
    """Disturbances of pictures, drawn for each record on its own.

    While training, each call draws anew from PyTorch's generator: each layer of each record gets a strength from 0 to
    its own. In evaluation and in exported files nothing happens. With `record_ids`, in either mode, each layer has
    exactly its strength, and the picture depends only on the seed and the record's number.

    Args:
        settings: strength, layers and seed.
        px_per_mm: resolution of the images.
    """

    def __init__(self, settings: ArtifactConfig, px_per_mm: float) -> None:
        super().__init__()
        self.settings = settings
        self.px_per_mm = px_per_mm
        self.strengths = {name: strength for name in LAYERS if (strength := _strength(settings, name)) > 0}
        steps: dict[tuple[str, ...], nn.Module] = {}
        moving: dict[str, Geometry] = {}
        for name, strength in self.strengths.items():
            layer = LAYERS[name](amount(name, torch.tensor(strength)).item(), px_per_mm)
            if isinstance(layer, Geometry):
                moving[name] = layer
                continue
            if moving:
                steps[(*moving,)] = Resampling([*moving.values()])
                moving = {}
            steps[(name,)] = layer
        if moving:
            steps[(*moving,)] = Resampling([*moving.values()])
        self._names = [*steps]
        self.steps = nn.ModuleList(steps.values())

    def forward(self, images_BCHW: Tensor, record_ids_B: Tensor | None = None) -> Tensor:
        """Return the disturbed images, from 0 to 1.

        Args:
            images_BCHW: images from 0 (black) to 1 (white), with one or three channels.
            record_ids_B: the records' numbers, as int64, for the fixed disturbances of a test.
        """
        if not self.strengths or (record_ids_B is None and not self.training):
            return images_BCHW
        device = images_BCHW.device
        is_random = record_ids_B is None
        if record_ids_B is None:
            keys_B = torch.randint(2**32, (len(images_BCHW),), device=device)
        else:
            keys_B = record_keys(record_ids_B.to(device), self.settings.seed)
        amounts = {name: self._amounts(name, keys_B, is_random).to(images_BCHW.dtype) for name in self.strengths}
        numbers = {name: uniform(keys_B, _stream(name), LAYERS[name].n_draws) for name in self.strengths}
        backdrop = self._backdrop(keys_B, images_BCHW)
        # On a CPU, a few records at a time stay in its cache, and no buffer is so large that it is freed each time.
        n_together = max(1, _CPU_VALUES // images_BCHW[0].numel()) if device.type == "cpu" else len(images_BCHW)
        disturbed = []
        for first in range(0, len(images_BCHW), n_together):
            part = slice(first, first + n_together)
            scene = Scene((images_BCHW.shape[2], images_BCHW.shape[3]), self.px_per_mm, backdrop[part])
            image_BCHW = images_BCHW[part]
            for names, step in zip(self._names, self.steps, strict=True):
                drawn = [Drawn.of(amounts[name][part], numbers[name][part].to(image_BCHW.dtype)) for name in names]
                image_BCHW = step(image_BCHW, scene, *drawn).clamp(0, 1)
            disturbed.append(image_BCHW)
        return torch.cat(disturbed)

    def _amounts(self, name: str, keys_B: Tensor, is_random: bool) -> Tensor:
        """Return the (B,) amounts of a layer, of its own strength or of a random one."""
        strength_B = torch.full(keys_B.shape, self.strengths[name], device=keys_B.device)
        if is_random:
            strength_B = strength_B * uniform(keys_B, _stream(f"strength of {name}"), 1)[:, 0]
        return amount(name, strength_B)

    def _backdrop(self, keys_B: Tensor, images_BCHW: Tensor) -> Tensor:
        which_B, tone_B = uniform(keys_B, _stream("backdrop"), 2).to(images_BCHW.dtype).unbind(1)
        colours = images_BCHW.new_tensor(self._backdrops())
        chosen_BC = colours[(which_B * len(colours)).long()] * between(0.85, 1.05, tone_B)[:, None]
        return coloured(chosen_BC.clamp(0, 1), images_BCHW.shape[1])

    def _backdrops(self) -> Sequence[tuple[float, float, float]]:
        if "moire" in self.strengths:
            return _BEZELS
        return _DESKS if {"perspective", "light", "tear"} & {*self.strengths} else _LIDS


def amount(name: str, strength: Tensor) -> Tensor:
    """Return the amounts of a layer at strengths from 0 to 5, in its unit."""
    level = LEVELS[name]
    amounts = strength.new_tensor([level.at_zero, *level.amounts])
    below = strength.floor().clamp(max=len(level.amounts) - 1)
    return torch.lerp(amounts[below.long()], amounts[below.long() + 1], strength - below)


def _strength(settings: ArtifactConfig, name: str) -> float:
    share: float = getattr(settings, name)
    return float(settings.strength * share)


def _stream(name: str) -> int:
    return zlib.crc32(name.encode())
