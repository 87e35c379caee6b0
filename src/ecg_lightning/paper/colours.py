"""Colours of grid and ink."""

from __future__ import annotations

from typing import NamedTuple

RGB = tuple[float, float, float]

PAPER: RGB = (1.0, 1.0, 1.0)
INK: RGB = (0.08, 0.08, 0.10)


class Grid(NamedTuple):
    """Colours of a grid as RGB from 0 to 1.

    Attributes:
        major: lines every 5 mm.
        minor: lines every 1 mm.
    """

    major: RGB
    minor: RGB


GRIDS: dict[str, Grid | None] = {
    "pink": Grid((1.0, 0.80, 0.87), (1.0, 0.93, 0.97)),
    "red": Grid((1.0, 0.45, 0.45), (1.0, 0.87, 0.86)),
    "brown": Grid((0.43, 0.20, 0.18), (0.59, 0.42, 0.40)),
    "blue": Grid((0.0, 0.0, 0.4), (0.0, 0.0, 0.7)),
    "green": Grid((0.0, 0.3, 0.0), (0.0, 0.8, 0.3)),
    "grey": Grid((0.40, 0.40, 0.40), (0.75, 0.75, 0.75)),
    "none": None,
}
"""Grids by name. Pink, brown, blue, green and grey are those of ECG-Image-Kit's `ecg_plot.py`."""


def luminance(colour: RGB) -> float:
    """Return the grey value of a colour from 0 to 1 (ITU-R BT.601)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue
