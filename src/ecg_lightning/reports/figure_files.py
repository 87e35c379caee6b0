"""Figures in PNG, SVG and PDF files, each drawn once and written whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ecg_lightning.system.disk import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "ecg_lightning"},
    "pdf": {"CreationDate": None, "Creator": "ecg_lightning"},
}
"""Metadata without the time, so that equal figures are equal files."""


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return the figure's (height, width, 4) pixels, RGBA. An unchanged figure is not drawn again."""
    canvas: Any = figure.canvas
    if figure.stale:
        canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)


def write_figure(figure: Figure, path: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write a figure in several formats.

    Args:
        figure: a figure made without pyplot.
        path: path of the files without a suffix.
        formats: `png`, `svg` or `pdf`.

    Returns:
        The files' paths.

    Raises:
        UserError: the disk is full.
    """
    written = [path.with_name(f"{path.name}.{suffix}") for suffix in formats]
    for file in written:
        write_whole(file, _content(figure, file.suffix.removeprefix(".")))
    return written


def _content(figure: Figure, suffix: str) -> memoryview:
    content = io.BytesIO()
    if suffix == "png":
        from PIL import Image

        dpi = figure.get_dpi()
        Image.fromarray(pixels(figure)).convert("RGB").save(content, "png", dpi=(dpi, dpi))
    else:
        from matplotlib import rc_context

        with rc_context({"svg.hashsalt": "ecg_lightning"}):
            figure.savefig(content, format=suffix, metadata=_METADATA[suffix])
    return content.getbuffer()
