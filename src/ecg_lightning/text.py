"""Functions for text, which may come from a stranger's file and is made safe to print."""

from __future__ import annotations

import json
import re
import sys
from typing import Any


def printable(text: str) -> str:
    """Return `text` with each control and format character replaced by its escape, except line ends and tabs.

    A class name or a column heading can hold escape sequences for the terminal.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


def print_every_sign() -> None:
    """Replace characters that the terminal's encoding lacks, so that no print fails on `→` in a pipe on Windows."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def shortened(text: str, longest: int = 2_000) -> str:
    """Return `text`, cut if it is longer than `longest` characters."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def explain_error(error: BaseException) -> str:
    """Return the type and the message of an error that has no sentence of its own."""
    if isinstance(error, MemoryError) and not str(error):
        return "MemoryError: there was not enough memory"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def explain_os_error(error: OSError, path: object) -> str:
    """Return the file that an error names, or else `path`, and why it cannot be read or written."""
    return f"{error.filename or path}: {error.strerror or error}"


def counted(number: int, one: str, more: str | None = None) -> str:
    """Return a number with its noun: `1 thread`, `2 threads`, `1,234 classes`."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def duration(seconds: float) -> str:
    """Return a number of seconds as h:mm:ss."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def as_yaml(value: Any) -> str:
    """Return a setting's value as it is typed on the command line: `null`, `true`, `[1, 2]`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def override(key: str, value: str) -> str:
    """Return `key=value` in the form that Hydra reads on the command line, with quotes if the value needs them."""
    if re.fullmatch(r"[\w/.@%+-]+", value, re.ASCII):
        return f"{key}={value}"
    # Hydra keeps backslashes, except before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"
