"""A page without traces, as pixels: paper, grid, calibration pulses, separators and lead names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ecg_lightning.paper.colours import GRIDS, INK, PAPER
from ecg_lightning.paper.font import CAPITAL_CELLS, inked_cells
from ecg_lightning.paper.marks import GRID_MM, Name, Polyline, names, pulses, separators
from ecg_lightning.paper.page import LINE_MM, MAJOR_MM, MINOR_MM, NAME_MM, Page

LEAST_STEP_PX = 3.0
"""Grid lines that are closer together are left out, because their beat with the pixels would show a false grid."""
LEAST_LINE_PX = 1.0
"""A thinner trace would fade."""

Floats = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in millimetres."""


def line_px(px_per_mm: float) -> float:
    """Return the width of the trace in pixels: `LINE_MM`, but at least one pixel."""
    return max(LEAST_LINE_PX, LINE_MM * px_per_mm)


def draw_blank(page: Page, px_per_mm: float, height: int, width: int) -> Floats:
    """Return the (3, height, width) picture of a page without traces; 0 is black and 1 is white.

    Each pixel shows the share of its area that a line covers, so a line thinner than a pixel has its true mean
    darkness. Pixels beyond the page are paper with grid.

    Args:
        page: the page.
        px_per_mm: pixels per millimetre.
        height: rows of pixels.
        width: columns of pixels.
    """
    picture = np.empty((3, height, width))
    picture[:] = np.array(PAPER)[:, None, None]
    if grid := GRIDS[page.settings.grid]:
        minor_mm = [mm for mm in _multiples(MINOR_MM, max(height, width) / px_per_mm) if mm % MAJOR_MM]
        major_mm = [*_multiples(MAJOR_MM, max(height, width) / px_per_mm)]
        for step_mm, colour, places_mm in ((MINOR_MM, grid.minor, minor_mm), (MAJOR_MM, grid.major, major_mm)):
            if step_mm * px_per_mm >= LEAST_STEP_PX:
                down, across = (_lines(places_mm, px_per_mm, n_pixels) for n_pixels in (height, width))
                _paint(picture, 1 - (1 - down)[:, None] * (1 - across), colour)
    stroke_mm = line_px(px_per_mm) / px_per_mm
    lines, letters = np.zeros((height, width)), np.zeros((height, width))
    for box in (one for line in (*pulses(page), *separators(page)) for one in _strokes(line, stroke_mm)):
        part, covered = _covered(lines, box, px_per_mm)
        np.maximum(part, covered, out=part)
    for box in (one for name in names(page) for one in _cells(name)):  # which do not overlap
        part, covered = _covered(letters, box, px_per_mm)
        part += covered
    _paint(picture, np.maximum(lines, letters), INK)
    return picture


def _multiples(step: float, end: float) -> Iterator[float]:
    return (number * step for number in range(int(end / step) + 2))


def _lines(places_mm: list[float], px_per_mm: float, n_pixels: int) -> Floats:
    """Return the share of each pixel that parallel grid lines cover."""
    covered = np.zeros(n_pixels)
    half = GRID_MM * px_per_mm / 2
    for place_mm in places_mm:
        start, end = place_mm * px_per_mm - half, place_mm * px_per_mm + half
        pixels = _touched(start, end, n_pixels)
        covered[pixels.start : pixels.stop] += _overlap(pixels, start, end)
    return covered


def _covered(picture: Floats, box: Box, px_per_mm: float) -> tuple[Floats, Floats]:
    """Return the part of a picture that a box touches, and the share of each of its pixels that the box covers."""
    left, top, right, bottom = (px_per_mm * edge for edge in box)
    rows, columns = _touched(top, bottom, picture.shape[0]), _touched(left, right, picture.shape[1])
    covered = _overlap(rows, top, bottom)[:, None] * _overlap(columns, left, right)
    return picture[rows.start : rows.stop, columns.start : columns.stop], covered


def _touched(start: float, end: float, n_pixels: int) -> range:
    return range(min(max(int(start), 0), n_pixels), min(max(int(end) + 1, 0), n_pixels))


def _overlap(pixels: range, start: float, end: float) -> Floats:
    """Return the share of each pixel that lies between `start` and `end`."""
    edges = np.arange(pixels.start, pixels.stop, dtype=np.float64)
    overlap: Floats = np.minimum(edges + 1, end) - np.maximum(edges, start)
    return np.maximum(overlap, 0.0)


def _paint(picture: Floats, covered: Floats, colour: tuple[float, float, float]) -> None:
    picture += covered * (np.array(colour)[:, None, None] - picture)


def _strokes(line: Polyline, width_mm: float) -> Iterator[Box]:
    """Yield a box for each stroke, with square ends."""
    half = width_mm / 2
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        yield min(x0, x1) - half, min(y0, y1) - half, max(x0, x1) + half, max(y0, y1) + half


def _cells(name: Name) -> Iterator[Box]:
    """Yield the cells of a name."""
    cell = NAME_MM / CAPITAL_CELLS
    top = name.bottom_mm - NAME_MM
    for column, row in inked_cells(name.text):
        left = name.left_mm + column * cell
        yield left, top + row * cell, left + cell, top + (row + 1) * cell
