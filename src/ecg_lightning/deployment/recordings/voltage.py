"""Units of voltage as headers and column names write them."""

from __future__ import annotations

import re
import unicodedata

# The Greek letter mu has two code points, which NFKC unites; files that were saved in another encoding show others:
# UTF-8 read as Latin-1 gives Âµ, and µ of the code pages 437 and 850 read as Latin-1 gives æ.
_PREFIXES = {"": 1e3, "m": 1.0, "milli": 1.0, "u": 1e-3, "μ": 1e-3, "âμ": 1e-3, "æ": 1e-3, "micro": 1e-3, "n": 1e-6}
_UNITS = re.compile(rf"({'|'.join(filter(None, _PREFIXES))}|)(?:v|volts?)")


def millivolts(units: str) -> float | None:
    """Return how many mV one of `units` is; None where it is no unit of voltage."""
    found = _UNITS.fullmatch(unicodedata.normalize("NFKC", units).strip().lower())
    return _PREFIXES[found[1]] if found else None


def as_written(units: str) -> str:
    """Return `units` for a message, with one code point for µ."""
    return unicodedata.normalize("NFKC", units).strip().replace("Âμ", "μ").replace("μ", "µ")


def ask_units(asked: str | None, notes: list[str]) -> float:
    """Return how many mV one of the units is that the user gives for a file without any; mV are assumed, and said."""
    if asked is None:
        notes.append("it gives no units: mV are assumed; give others with --units")
        return 1.0
    return millivolts(asked) or 1.0
