"""Bounds for the interpolations of a composed configuration: `${key}` in a value, such as `${monitor}`.

Thirty settings that each name the one before twice stand for 2^30 copies of the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ecg_lightning.errors import ConfigError

MAX_SIZE = 1_000_000
"""Characters and nodes that a configuration may stand for; one of this project has about 15,000."""

MAX_IN_A_VALUE = 100
_MAX_LENGTH = 4_000  # of a value with interpolations, whose parser takes long
_MAX_DEPTH = 20
_TOO_DEEP = f"brackets inside of each other more than {_MAX_DEPTH} times"
_MAX_LINKS = 20
_TOO_FAR = f"its interpolations refer to each other more than {_MAX_LINKS} times"
_INNERMOST = re.compile(r"(?<!\\)\$\{([^${}]*)\}")
_BRACKETS = re.compile(r"\\.|\$\{|[\[{}\]]", re.DOTALL)
_RESOLVED = "\0"
_OF_A_KEY = re.compile(r"(hydra|oc\.select|oc\.deprecated|oc\.dict\.\w+):([^,]*)")
"""Resolvers whose first argument is a key."""


def check_text(text: str) -> str | None:
    """Return what makes the interpolations of a text too much for their parser, None if nothing does."""
    if "${" not in text:
        return None
    if (count := text.count("${")) > MAX_IN_A_VALUE:
        return f"{count:,} interpolations in one value; {MAX_IN_A_VALUE} are allowed"
    if len(text) > _MAX_LENGTH:
        return f"interpolations in a value of {len(text):,} characters; {_MAX_LENGTH:,} are allowed"
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        if bracket == "${" or (depth and bracket in "[{"):
            depth += 1
            deepest = max(deepest, depth)
        elif depth and bracket in "]}":
            depth -= 1
    if deepest > _MAX_DEPTH:
        return _TOO_DEEP
    return "an interpolation without its closing bracket" if depth else None


def check_override(text: str) -> str | None:
    """Return what makes a setting `key=value` too much for Hydra's parser, None if nothing does."""
    depth = 0
    for bracket in re.findall(r"[\[\](){}]", text):
        depth += 1 if bracket in "[({" else -1
        if depth > _MAX_DEPTH:
            return _TOO_DEEP
    return check_text(text)


def check_interpolations(config: Mapping[str, Any]) -> None:
    """Refuse interpolations that name no setting, refer to themselves, or stand for too much.

    Args:
        config: all of it, as it is written.

    Raises:
        ConfigError: names the key and its value.
    """
    sizes = _Sizes(config)
    for name, node in config.items():
        if name != "hydra":
            sizes.of((name,), node)
    for name, node in config["hydra"].items():
        if name != "overrides":
            sizes.of(("hydra", name), node)


class _Sizes:
    """Sizes of nodes with their interpolations written out, and how many interpolations lead on from one another."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._known: dict[tuple[str, ...], tuple[int, int]] = {}
        self._open: set[tuple[str, ...]] = set()

    def of(self, path: tuple[str, ...], node: Any) -> tuple[int, int]:
        """Return size and number of links of the node that a path of keys leads to."""
        if path not in self._known:
            size, n_links = 1, 0
            if isinstance(node, Mapping | list):
                parts = node.items() if isinstance(node, Mapping) else enumerate(node)
                below = [self.of((*path, str(name)), part) for name, part in parts]
            else:
                size += len(node) if isinstance(node, str) else 0
                below = [self._linked(path, node, key) for key in _keys(node)] if isinstance(node, str) else []
            size += sum(one for one, _ in below)
            n_links = max((one for _, one in below), default=0)
            if size > MAX_SIZE:
                raise ConfigError(f"{'.'.join(path)}: its interpolations stand for more than {MAX_SIZE:,} characters")
            self._known[path] = size, n_links
        return self._known[path]

    def _linked(self, path: tuple[str, ...], text: str, key: str) -> tuple[int, int]:
        """Return size and number of links of what an interpolation in a text names."""
        shown = f"{'.'.join(path)}={text[:100]}"
        if _RESOLVED in key:
            raise ConfigError(
                f"{shown}: the key of an interpolation cannot contain another interpolation. Write it out"
            )
        target = tuple(re.findall(r"[^.\[\]]+", key))
        if up := len(key) - len(key.lstrip(".")):
            target = (*path[: len(path) - up], *target)
        node: Any = self._config
        for name in target:
            try:
                node = node[int(name) if isinstance(node, list) else name]
            except (KeyError, ValueError, IndexError, TypeError):
                if target[0] == "hydra":  # set while it runs
                    return len(text), 1
                raise ConfigError(f"{shown}: there is no setting {key}. Write the value out") from None
        if path in self._open or len(self._open) > _MAX_LINKS:
            raise ConfigError(f"{shown}: {_TOO_FAR}")
        self._open.add(path)
        size, n_links = self.of(target, node)
        self._open.remove(path)
        if n_links >= _MAX_LINKS:
            raise ConfigError(f"{shown}: {_TOO_FAR}")
        return size, n_links + 1


def _keys(text: str) -> list[str]:
    """Return the keys that the interpolations in a text name."""
    keys = []
    while match := _INNERMOST.search(text):
        inside = match.group(1).strip()
        if named := _OF_A_KEY.fullmatch(inside.partition(",")[0]):
            keys.append(f"hydra.{named.group(2)}" if named.group(1) == "hydra" else named.group(2))
        elif ":" not in inside:
            keys.append(inside)
        text = text[: match.start()] + _RESOLVED + text[match.end() :]
    return keys
