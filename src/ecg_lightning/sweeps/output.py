"""The output of a cell while other cells run. It is written to a file in the cell's folder."""

from __future__ import annotations

import re
from pathlib import Path

from ecg_lightning.text import printable, shortened

OUTPUT_FILE = "output.log"

_TAIL_BYTES = 4096
_STAMP = re.compile(r"^\d\d:\d\d:\d\d [A-Z]+ ")


def last_message(path: Path) -> str:
    """Return the last line of a cell's output without its time and level; empty if there is none.

    Args:
        path: file of the cell's output, which grows.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    said = next((line for line in reversed(lines) if line.strip()), "")
    return shortened(printable(_STAMP.sub("", said.strip())), 200)
