"""The amount of each disturbance at strengths 1 to 5, with its unit and its source. Nothing here imports PyTorch."""

from __future__ import annotations

from typing import NamedTuple

STRENGTHS = (1, 2, 3, 4, 5)

_KIT = "ECG-Image-Kit"
_KAGGLE = "Kaggle 'PhysioNet - Digitization of ECG Images' (2025)"
_IMAGENET_C = "as severities in ImageNet-C (Hendrycks and Dietterich 2019)"
_OURS = "our choice"


class Level(NamedTuple):
    """The amounts of one disturbance.

    Attributes:
        unit: what the amounts are.
        amounts: one amount for each strength from 1 to 5. Between two strengths they are interpolated.
        source: where the amounts come from.
        at_zero: the amount at strength 0, which changes nothing.
    """

    unit: str
    amounts: tuple[float, float, float, float, float]
    source: str
    at_zero: float = 0.0


LEVELS: dict[str, Level] = {
    "bleed_through": Level(
        "contrast of the reverse side's print", (0.06, 0.10, 0.15, 0.22, 0.32), f"{_OURS}; a scan of thin paper"
    ),
    "stain": Level(
        "opacity of coffee rings, tide lines and mould", (0.20, 0.35, 0.50, 0.65, 0.80), f"{_KAGGLE}: stained, mould"
    ),
    "pen": Level("number of strokes and notes", (1, 2, 3, 5, 7), f"{_KIT}: handwritten text, 5 words"),
    "stamp": Level("opacity of the ink", (0.25, 0.40, 0.55, 0.70, 0.85), _OURS),
    "crease": Level("contrast of folds and crumples", (0.10, 0.18, 0.28, 0.40, 0.55), f"{_KIT}: creases and wrinkles"),
    "tear": Level("depth of the missing part, in mm", (8, 16, 26, 38, 52), f"{_KAGGLE}: damaged"),
    "warp": Level("displacement of curled paper, in mm", (0.6, 1.2, 2.0, 3.2, 5.0), f"{_KAGGLE}: photo"),
    "rotation": Level("angle, in degrees", (1, 2, 4, 6, 10), f"{_KIT}: -rot; CinC 2024: 5 to 25"),
    "perspective": Level("displacement of the corners, in mm", (3, 7, 12, 19, 28), f"{_KAGGLE}: photo"),
    "crop": Level("width of the strip lost at each side, in mm", (2, 5, 8, 12, 18), f"{_KIT}: -c, up to 1 % (3 mm)"),
    "light": Level("depth of the shadow", (0.14, 0.26, 0.38, 0.50, 0.64), f"{_KAGGLE}: photo; BHF 2024: shadows"),
    "colour_cast": Level(
        "shift of the colour temperature, in mired", (20, 40, 70, 110, 160), f"{_KIT}: -t, 2,000 to 20,000 K"
    ),
    "moire": Level("contrast of the fringes", (0.05, 0.09, 0.14, 0.20, 0.28), f"{_KAGGLE}: photo of a screen"),
    "defocus": Level("standard deviation of the blur, in mm", (0.10, 0.20, 0.35, 0.55, 0.80), _IMAGENET_C),
    "motion": Level("length of the movement, in mm", (0.4, 0.8, 1.4, 2.2, 3.2), _IMAGENET_C),
    "noise": Level(
        "standard deviation of the noise; white is 1",
        (0.02, 0.04, 0.07, 0.12, 0.20),
        f"{_KIT}: -noise, up to 50/255",
    ),
    "scan_lines": Level("contrast of bands and streaks", (0.04, 0.08, 0.13, 0.20, 0.30), f"{_KAGGLE}: scan"),
    "resample": Level(
        "factor of the lower resolution", (1.25, 1.5, 2.0, 2.5, 3.0), f"{_IMAGENET_C}; {_KIT}: random resolution", 1.0
    ),
    "jpeg": Level("quality of the JPEG file", (60, 40, 25, 15, 8), _IMAGENET_C, 95.0),
}
"""The disturbances in the order in which they happen: on the paper, before the camera, in it, and in the file."""
