"""The terminal that reports are printed on."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType


def make_console() -> Console:
    """The terminal; in a log file tables must not be squeezed into 80 columns."""
    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=160)


def fits(printed: RenderableType, console: Console) -> bool:
    """Whether a console has room for something as it is, without folding it."""
    return console.measure(printed, options=console.options.update(width=1000)).maximum <= console.width
