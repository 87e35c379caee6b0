"""Quotes for values on Hydra's command line."""

from __future__ import annotations

import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def quoted(override: str) -> str | None:
    """Return an override with its value in quotes, as it must be typed into a shell; None if quotes cannot help."""
    key, separator, value = override.partition("=")
    candidate = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
    try:
        parsed = OverridesParser.create().parse_override(candidate)
    except HydraException:
        return None
    return shlex.quote(candidate) if separator and parsed.value() == value and "${" not in value else None
