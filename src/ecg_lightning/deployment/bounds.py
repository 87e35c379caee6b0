"""Checks of a description's values by kind and bounds. The description may come from a stranger."""

from __future__ import annotations

from typing import Any

MAX_CLASSES = 1000
"""Most classes of a model. PTB-XL has 71 statements."""
MAX_CLASS_NAME = 64
"""Most characters of a class's name."""
MAX_TEXT = 1000
"""Most characters of any other text."""
MAX_LICENCES = 102_000
"""Most characters of the licences of all data of a model: a checkpoint holds up to 100 of 1,000 characters."""
SAMPLING_RATES = (50, 20_000)
"""Smallest and largest sampling rate in Hz. Electrocardiographs sample at 100 Hz to 16 kHz."""
MAX_DURATION_S = 600
MAX_SAMPLES = 1_000_000
"""Most samples a lead: ten minutes at 1,666 Hz, 48 MB for a record."""


def text(value: Any, name: str, most: int = MAX_TEXT) -> str:
    """Return a text that is not too long and has no control characters, which a terminal would obey.

    Raises:
        ValueError, TypeError: the value does not fit. All functions here raise these.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r:.40}, expected a text")
    if len(value) > most:
        raise ValueError(f"{name} is a text of {len(value):,} characters, more than the {most:,} that are allowed")
    if not value.isprintable():
        raise ValueError(f"{name} holds control characters ({value!r:.40})")
    return value


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Return a list of texts."""
    return tuple(text(item, name) for item in items(value, name))


def items(value: Any, name: str, n: int | None = None) -> list[Any]:
    """Return a list that is not too long, or one of `n` values."""
    if not isinstance(value, list):
        raise TypeError(f"{name} is {value!r:.40}, expected a list")
    if n is not None and len(value) != n:
        raise ValueError(f"{name} holds {len(value):,} values for {n:,} classes")
    if len(value) > MAX_CLASSES:
        raise ValueError(f"{name} holds {len(value):,} values, more than the {MAX_CLASSES:,} that are allowed")
    return value


def class_names(value: Any, name: str) -> tuple[str, ...]:
    """Return names of classes, at least one and all different."""
    found = tuple(text(item, name, MAX_CLASS_NAME) for item in items(value, name))
    if not found or not all(found) or len(set(found)) != len(found):
        raise ValueError(f"{name} holds no name, or a repeated or an empty name ({value!r:.40})")
    return found


def number(value: Any, name: str, least: float, most: float) -> float:
    """Return a number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} holds {value!r:.40}, expected a finite number from {least:g} to {most:g}")
    return float(value)


def flag(value: Any, name: str) -> bool | None:
    """Return true, false or None."""
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.40}, expected true, false or null")
    return value


def count(value: Any, name: str, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}, expected a whole number from {least:,} to {most:,}")
    return value


def one_of(value: Any, name: str, known: tuple[str, ...]) -> str:
    """Return a text that is one of the known texts."""
    if value not in known:
        raise ValueError(f"{name} {value!r:.40} is none of {', '.join(known)}")
    return str(value)
