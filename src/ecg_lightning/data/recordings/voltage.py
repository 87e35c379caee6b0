"""Units of voltage in the spelling of headers and column names."""

from __future__ import annotations

import re
import unicodedata

from ecg_lightning.errors import UserError

# The Greek letter mu has two code points, which NFKC unites. Files saved in another encoding show others:
# UTF-8 read as Latin-1 gives Âµ or Î¼, and µ of the code pages 437 and 850 read as Latin-1 gives æ.
_MISREAD = {"Âμ": "μ", "Î1\N{FRACTION SLASH}4": "μ", "æ": "μ"}
_PREFIXES = {"": 1e3, "m": 1.0, "milli": 1.0, "u": 1e-3, "μ": 1e-3, "micro": 1e-3, "mikro": 1e-3, "n": 1e-6}
_UNITS = re.compile(rf"({'|'.join(filter(None, _PREFIXES))}|)\s?(?:v|volts?)")


def millivolts(units: str) -> float | None:
    """Return the mV that correspond to one of `units`, or None if it is no unit of voltage."""
    found = _UNITS.fullmatch(_normalize(units).lower())
    return _PREFIXES[found[1]] if found else None


def as_written(units: str) -> str:
    """Return `units` for a message, with one code point for µ."""
    return _normalize(units).replace("μ", "µ")


def _normalize(units: str) -> str:
    text = unicodedata.normalize("NFKC", units).strip()
    for misread, meant in _MISREAD.items():
        text = text.replace(misread, meant)
    return text


def ask_units(asked: str | None, notes: list[str], option: str = "--units") -> float:
    """Return the mV per unit of a file without units. The user states the units; by default, mV are assumed.

    Args:
        asked: the user's units, or None.
        notes: a list to which notes on assumptions and conversions are added.
        option: the option or argument that sets the units, for the notes.
    """
    if asked is None:
        notes.append(f"it states no units, so mV are assumed; set other units with {option}")
        return 1.0
    factor = millivolts(asked) or 1.0
    if factor != 1.0:
        notes.append(f"converted from {as_written(asked)} to mV, as {option} says")
    return factor


def named_units(units: str | None) -> str | None:
    """Return the units of `--units` as `mV` or `uV`, however they are written; None if none are given.

    Raises:
        UserError: these units are not known.
    """
    known = {"mv": "mV", "uv": "uV", "µv": "uV", "μv": "uV"}.get((units or "").lower(), units)
    if known not in (None, "mV", "uV"):
        raise UserError(f"--units {units}: allowed are mV, uV")
    return known
