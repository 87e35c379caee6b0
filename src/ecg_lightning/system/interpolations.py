"""Limits for the interpolations of a composed configuration: `${key}` in a value, such as `${monitor}`.

If each of thirty settings names the one before it twice, the last stands for 2^30 copies of the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ecg_lightning.errors import ConfigError

MAX_SIZE = 1_000_000
"""Characters and nodes that a configuration may stand for. One of this project has about 15,000."""

MAX_IN_A_VALUE = 100
_MAX_LENGTH = 4_000  # characters of a value with interpolations, which are slow to parse
_MAX_DEPTH = 20
_TOO_DEEP = f"brackets inside of each other more than {_MAX_DEPTH} times"
_MAX_LINKS = 20
_TOO_FAR = f"its interpolations refer to each other more than {_MAX_LINKS} times"
_INNERMOST = re.compile(r"(?<!\\)\$\{([^${}]*)\}")
_BRACKETS = re.compile(r"\\.|\$\{|[\[{}\]]", re.DOTALL)
_RESOLVED = "\0"
_OF_A_KEY = re.compile(r"(hydra|oc\.select|oc\.deprecated|oc\.dict\.\w+):([^,]*)")
"""The resolvers whose first argument is a key."""


def check_text(text: str) -> str | None:
    """Return why a text's interpolations exceed the limits of their parser, or None if they do not."""
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
    """Return why a setting `key=value` exceeds the limits of Hydra's parser, or None if it does not."""
    depth = 0
    for bracket in re.findall(r"[\[\](){}]", text):
        depth += 1 if bracket in "[({" else -1
        if depth > _MAX_DEPTH:
            return _TOO_DEEP
    return check_text(text)


def check_interpolations(config: Mapping[str, Any]) -> None:
    """Refuse interpolations that name no setting, refer to themselves, or stand for too much text.

    Args:
        config: the whole configuration, with its interpolations unresolved.

    Raises:
        ConfigError: an interpolation is not allowed. The message names the key and its value.
    """
    sizes = _Sizes(config)
    for name, node in config.items():
        if name != "hydra":
            sizes.of((name,), node)
    for name, node in config["hydra"].items():
        if name != "overrides":
            sizes.of(("hydra", name), node)


class _Sizes:
    """Sizes of nodes with their interpolations written out, and the lengths of their chains of interpolations."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._known: dict[tuple[str, ...], tuple[int, int]] = {}
        self._open: set[tuple[str, ...]] = set()

    def of(self, path: tuple[str, ...], node: Any) -> tuple[int, int]:
        """Return the size of the node at a path of keys, and the length of its longest chain of interpolations."""
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
        """Return the size and the chain length of the setting that an interpolation names."""
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
                if target[0] == "hydra":  # Hydra sets it while it runs
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
    """Return the keys that a text's interpolations name."""
    keys = []
    while match := _INNERMOST.search(text):
        inside = match.group(1).strip()
        if named := _OF_A_KEY.fullmatch(inside.partition(",")[0]):
            keys.append(f"hydra.{named.group(2)}" if named.group(1) == "hydra" else named.group(2))
        elif ":" not in inside:
            keys.append(inside)
        text = text[: match.start()] + _RESOLVED + text[match.end() :]
    return keys
