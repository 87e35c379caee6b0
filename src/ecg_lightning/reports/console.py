"""The terminal that reports are printed on."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def make_console() -> Console:
    """Return the terminal; in a log file tables must not be squeezed into 80 columns.

    Texts of results are printed as they are: brackets or colons in them are no markup and no emoji.
    """
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    return Console(width=width, markup=False, emoji=False)
