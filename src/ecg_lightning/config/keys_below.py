"""Settings of keys below a part of the configuration that is off, or that is one value without keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import split_key

from ecg_lightning.errors import ConfigError


def prepare_overrides(overrides: Sequence[Override], cfg: DictConfig, files: Mapping[str, Any]) -> None:
    """Refuse settings below a value without keys, and turn on a part that is set to a mapping while it is off.

    OmegaConf cannot turn such a part on.

    Args:
        overrides: overrides of the command line, with those that choose options.
        cfg: the configuration as the files compose it.
        files: content of each file by `group/option`, in their order.

    Raises:
        ConfigError: names the setting, what turned the part off, and how to turn it on.
    """
    typed = [str(one.input_line) for one in overrides]
    for place, override in enumerate(overrides):
        key = str(override.key_or_group)
        parts = split_key(key)
        inside = _node_at(cfg, parts[:-1]) if parts[1:] else None
        if override.is_delete() and dataclasses.is_dataclass(inside and OmegaConf.get_type(inside)):
            raise ConfigError(f"{override.input_line}: a key cannot be removed. Write {key}=null, or leave it out")
        for length in range(1, len(parts) + 1):
            above = ".".join(parts[:length])
            node = _node_at(cfg, parts[:length])
            if node is None or node._is_interpolation():
                break
            is_off = isinstance(node, DictConfig) and (node._is_none() or f"{above}=null" in typed[:place])
            if above == key:
                schema = node._metadata.ref_type
                if is_off and dataclasses.is_dataclass(schema) and str(override.input_line).startswith(f"{key}={{"):
                    OmegaConf.update(cfg, key, schema, merge=False)
            elif is_off:
                raise ConfigError(_explain_off(override, above, parts[length:], typed, files))
            elif not (isinstance(node, DictConfig) or (isinstance(node, ListConfig) and parts[length].isdigit())):
                holds = "a list" if isinstance(node, ListConfig) else "one value"
                raise ConfigError(f"{override.input_line}: {above} holds {holds} and no keys. Write {above}=VALUE")


def _node_at(cfg: DictConfig, parts: Sequence[str]) -> Any:
    """Return the node at a key, not the node that it refers to; None if there is none."""
    node: Any = cfg
    for part in parts:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
            return None
        node = node._get_node(part, validate_access=False)
    return node


def _explain_off(
    override: Override, above: str, inner: Sequence[str], typed: Sequence[str], files: Mapping[str, Any]
) -> str:
    by = f"{above}=null" if f"{above}=null" in typed else None
    parent, _, last = above.rpartition(".")
    for name, content in files.items() if by is None else ():
        node = _content_at(content, parent)
        if isinstance(node, Mapping) and last in node:
            by = name if node[last] is None else None
    value = str(override.input_line).partition("=")[2]
    for part in reversed(inner):
        value = f"{{{part}:{value}}}"
    turn_on = f"urn it on with {above}={value}"
    if by is None:
        return f"{override.input_line}: {above} is off. T{turn_on}"
    if (choice := by.replace("/", "=", 1)) in typed:
        return f"{override.input_line}: {above} is off with {choice}. Drop {choice}, or t{turn_on}"
    return f"{override.input_line}: {above} is off in {by}.yaml. T{turn_on}"


def _content_at(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content
