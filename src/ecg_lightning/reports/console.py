"""The terminal on which reports are printed."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def make_console() -> Console:
    """Return the terminal. In a log file tables are not squeezed into 80 columns.

    Texts of results are printed as they are, so brackets and colons are not read as markup or emoji.
    """
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    return Console(width=width, markup=False, emoji=False)
