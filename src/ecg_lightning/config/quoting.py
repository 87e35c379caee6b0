"""Quotes for values on Hydra's command line. Paths get them automatically; an error advises them for other values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

_LISTS = ("model.teacher", "model.members")
_PATH = re.compile(
    r"(data\.(root|table|cache_dir)|ckpt_path|model\.(weights|teacher|members)|hydra\.(run|sweep)\.dir|paths\.output_dir"
    r"|compression\.stages\.\w+\.student\.weights)"
)
"""Keys whose values are paths. The keys in `_LISTS` accept lists of paths."""

_FUNCTION = re.compile(r"(choice|glob|range|interval|shuffle|sort|tag|extend_list|str)\(")


def quote_paths(arguments: Sequence[str], *, swept: bool = False) -> list[str]:
    """Return a command line whose paths may hold spaces, commas and similar characters, with `~` expanded.

    A value with commas is one path, unless it is swept or each of its parts exists. Hydra's own functions stay
    unchanged, and so do lists of paths for keys that accept them.

    Args:
        arguments: settings as typed.
        swept: whether several values of a key are a sweep. An existing path with commas is one value even then.
    """
    return [_quote_path(argument, swept) for argument in arguments]


def _quote_path(argument: str, swept: bool) -> str:
    name, separator, value = argument.partition("=")
    key = name.lstrip("+")
    is_path = _PATH.fullmatch(key) and "${" not in value and value.isprintable()
    if not (separator and is_path and value) or value[0] in "'\"":
        return argument
    if _is_there(value):
        return f"{name}={_as_text(value)}"
    if key in _LISTS and value[0] == "[" and (value.endswith("]") or "]" not in value):
        return f"{name}={_list(value)}"
    if _FUNCTION.match(value):
        return argument
    parts = value.split(",")
    if key.startswith("hydra.") or not (swept or all(part and _is_there(part) for part in parts)):
        parts = [value]
    return f"{name}={','.join(_as_text(part) for part in parts)}"


def _is_there(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, an unknown user
        return False


def _as_text(value: str) -> str:
    """Return a path that Hydra reads as text, in quotes if it needs them."""
    if value.startswith("~"):
        try:
            value = str(Path(value).expanduser())
        except RuntimeError:
            return value
    if value == "null" or _reads_as(value, value):
        return value
    return QuotedString(value, Quote.double).with_quotes()


def _list(value: str) -> str:
    """Return a list of paths. The list is split only if Hydra cannot read it."""
    try:
        OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        if value.endswith("]") and not re.search(r"['\"\[\]{}]", value[1:-1]):
            return f"[{','.join(_as_text(part.strip()) for part in value[1:-1].split(','))}]"
    return value


def _reads_as(written: str, value: str) -> bool:
    try:
        parsed = OverridesParser.create().parse_override(f"key={written}")
    except HydraException:
        return False
    return bool(not parsed.is_sweep_override() and parsed.value() == value)


def quoted(override: str) -> str | None:
    """Return an override with its value in quotes for a shell; None if quotes cannot help."""
    key, separator, value = override.partition("=")
    candidate = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
    try:
        parsed = OverridesParser.create().parse_override(candidate)
    except HydraException:
        return None
    return shlex.quote(candidate) if separator and parsed.value() == value and "${" not in value else None
