"""Settings of the front ends, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ecg_lightning.components.setting import kind, setting
from ecg_lightning.data.leads import LEADS
from ecg_lightning.errors import ConfigError
from ecg_lightning.paper.schema import PageConfig

N_LEADS = len(LEADS)


@dataclass
class AugmentationConfig:
    """Changes of the signal while training, drawn anew for every record; 0 turns each off."""

    axis_deg: float = setting(
        0.0, "standard deviation of a rotation of the heart vector, in degrees", min=0.0, max=180.0
    )
    tempo: float = setting(0.0, "standard deviation of the tempo, as log₂ (0.1: 7 % faster)", min=0.0, max=1.0)
    amplitude: float = setting(
        0.0, "standard deviation of a record's gain, as log₂ (0.1: ±7 %); half as much a lead", min=0.0
    )
    noise_mv: float = setting(0.0, "largest standard deviation of white noise, in mV", min=0.0)
    wander_mv: float = setting(0.0, "largest amplitude of a 0.05 to 0.7 Hz baseline wander, in mV", min=0.0)
    lead_dropout: float = setting(0.0, "probability of a lead being zero; one lead stays at least", min=0.0, max=1.0)
    time_shift: float = setting(0.0, "largest shift to either side, as a share of the length", min=0.0, max=1.0)


_SHARE = {"min": 0.0, "max": 1.0}


@dataclass
class ArtifactConfig:
    """Disturbances of a picture, each as a share of one strength, see `frontend.artifacts`; 0 turns each off.

    Their order here is that in which they happen. `frontend/artifacts/levels.py` has their amounts.
    """

    strength: float = setting(3.0, "strength of a layer whose share is 1; in training, the largest", min=0.0, max=5.0)
    seed: int = setting(0, "seed of the fixed disturbances of a test", min=0, max=2**32 - 1)
    bleed_through: float = setting(0.0, "share of print that shows through from the reverse side", **_SHARE)
    stain: float = setting(0.0, "share of coffee rings, splashes, tide lines and mould", **_SHARE)
    pen: float = setting(0.0, "share of pen strokes and notes", **_SHARE)
    stamp: float = setting(0.0, "share of a rubber stamp", **_SHARE)
    crease: float = setting(0.0, "share of folds and crumples", **_SHARE)
    tear: float = setting(0.0, "share of a torn-off part and a rip", **_SHARE)
    warp: float = setting(0.0, "share of paper that does not lie flat", **_SHARE)
    rotation: float = setting(0.0, "share of a page that lies askew", **_SHARE)
    perspective: float = setting(0.0, "share of a camera's oblique view", **_SHARE)
    crop: float = setting(0.0, "share of lost borders", **_SHARE)
    light: float = setting(0.0, "share of uneven light with the edge of a shadow", **_SHARE)
    colour_cast: float = setting(0.0, "share of warm or cold light", **_SHARE)
    moire: float = setting(0.0, "share of the fringes of a photographed screen", **_SHARE)
    defocus: float = setting(0.0, "share of a lens out of focus", **_SHARE)
    motion: float = setting(0.0, "share of a moving camera", **_SHARE)
    noise: float = setting(0.0, "share of a sensor's noise", **_SHARE)
    scan_lines: float = setting(0.0, "share of a scanner's bands and streaks", **_SHARE)
    resample: float = setting(0.0, "share of storing at a lower resolution", **_SHARE)
    jpeg: float = setting(0.0, "share of JPEG compression", **_SHARE)


@dataclass
class FrontendConfig:
    """The normalised signal, see `frontend.signal`; also what every front end shares."""

    gives: ClassVar[str] = "signal"
    """What a network gets: `image` or `signal`."""

    normalizes: ClassVar[str] = "signal"
    """The values that mean and deviation describe: the `signal` in mV, or the `picture`."""

    target: ClassVar[str] = "ecg_lightning.frontend.signal.SignalFrontend"
    kind: str = kind("signal")
    normalization: str = setting(
        "lead",
        "lead or global: mean and deviation of the training folds; fixed: mean and std below",
        choices=("lead", "global", "fixed"),
    )
    mean: float = setting(0.0, "what is subtracted with normalization=fixed, in mV")
    std: float = setting(1.0, "divisor with normalization=fixed, in mV", above=0.0)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def check(self, patch_size: int) -> None:
        """Refuse settings that bounds alone cannot. By default, there are none.

        Args:
            patch_size: side of the network's patches in pixels; 1 if it has none.

        Raises:
            ConfigError: names the key, its value and what is allowed.
        """


@dataclass
class MatrixConfig(FrontendConfig):
    """The signal matrix as an image, see `frontend.matrix`."""

    gives: ClassVar[str] = "image"

    target: ClassVar[str] = "ecg_lightning.frontend.matrix.MatrixFrontend"
    kind: str = kind("matrix")
    size: Any = setting([64, 512], "pixels of the image: one number, or [height,width]")
    rows: str = setting("leads", "what the image's rows are", choices=("leads", "time"))
    channels: int = setting(1, "1, or 3 equal ones for networks made for RGB", choices=(1, 3))

    def check(self, patch_size: int) -> None:
        """Refuse a size that is not one of an image."""
        _sides(self.size)


@dataclass
class StripsConfig(FrontendConfig):
    """Each lead in a band of rows of its own, see `frontend.strips`."""

    gives: ClassVar[str] = "image"

    target: ClassVar[str] = "ecg_lightning.frontend.strips.StripsFrontend"
    kind: str = kind("strips")
    size: Any = setting(None, "[height,width] in pixels; null: bands as high as a patch, and 32 patches long")
    channels: int = setting(1, "1, or 3 equal ones for networks made for RGB", choices=(1, 3))

    def check(self, patch_size: int) -> None:
        """Refuse a size at which a patch would see several leads."""
        if self.size is None:
            return
        height, width = _sides(self.size)
        rows = height // N_LEADS
        if rows < patch_size or rows % patch_size:
            raise ConfigError(
                f"frontend.size={self.size}: each of the {N_LEADS} leads has {rows} rows, so patches of "
                f"model.patch_size={patch_size} would mix leads. Use frontend.size=[{N_LEADS * patch_size},{width}], "
                "or smaller patches"
            )


def _sides(size: Any) -> list[int]:
    """Return the height and the width of an image.

    Raises:
        ConfigError: the size is no number of pixels and no pair of them, or is out of bounds.
    """
    sides = [size, size] if isinstance(size, int) else size if isinstance(size, list) else []
    if len(sides) != 2 or not all(isinstance(side, int) and 8 <= side <= 4096 for side in sides):
        raise ConfigError(f"frontend.size={size}: give one number of pixels, or [height,width], each from 8 to 4096")
    return sides


@dataclass
class PaperConfig(FrontendConfig, PageConfig):
    """A paper ECG, drawn true to scale, see `frontend.paper`."""

    gives: ClassVar[str] = "image"
    normalizes: ClassVar[str] = "picture"

    target: ClassVar[str] = "ecg_lightning.frontend.paper.PaperFrontend"
    kind: str = kind("paper")
    normalization: str = setting(
        "fixed", "fixed alone: the signal is drawn in mV, and mean and std are the picture's", choices=("fixed",)
    )
    mean: float = setting(0.5, "what is subtracted from the picture, in which 0 is black and 1 is white")
    std: float = setting(0.5, "divisor of the picture", above=0.0)
    width: int = setting(512, "pixels of the page's width; 224 cannot show fine details", min=224, max=2200)
    channels: int = setting(1, "1: grey; 3: colours", choices=(1, 3))
    artifacts: ArtifactConfig = field(default_factory=ArtifactConfig)


DEFAULT_FRONTENDS: dict[str, type[FrontendConfig]] = {"signal": FrontendConfig, "image": MatrixConfig}
"""Front end that gives what a network takes, where nothing else was chosen."""
