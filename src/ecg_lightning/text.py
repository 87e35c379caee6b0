"""Text that may come from a stranger's file, made safe to print."""

from __future__ import annotations

import json
from typing import Any


def printable(text: str) -> str:
    """Return `text` with each control and format character replaced by its escape, except line ends and tabs.

    A class name or a column heading can hold escape sequences, which a terminal would obey.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


def as_yaml(value: Any) -> str:
    """Return a setting's value as it is typed on the command line: `null`, `true`, `[1, 2]`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
