"""A YAML loader with limits, for files that may come from elsewhere: those of `conf/`, and a run's `config.yaml`.

A file of a few hundred bytes can stand for 10^8 nodes, because aliases may refer to aliases. The parser handles such
a file, but OmegaConf copies each node.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import omegaconf._utils
import yaml
from omegaconf import OmegaConf

from ecg_lightning.system.interpolations import check_text

MAX_CHARACTERS = 200_000
MAX_NODES = 10_000
"""Keys, values and list entries, with aliases written out. A composed configuration of this project has about 300."""

MAX_DEPTH = 32
MAX_DIGITS = 40
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

_omegaconf_loader = omegaconf._utils.get_yaml_loader


def load(path: Path) -> Any:
    """Return the content of a YAML file as Python's own types.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError: the file is not YAML, or exceeds the limits.
    """
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Loader=_bounded_loader())  # a subclass of OmegaConf's safe loader


def dump(values: Any) -> str:
    """Return plain values as YAML text. `load` and OmegaConf read the same values from it."""
    return OmegaConf.to_yaml(OmegaConf.create(values))


def install() -> None:
    """Make `OmegaConf.load`, which Hydra uses for each of its files, refuse files that exceed the limits."""
    omegaconf._utils.get_yaml_loader = _bounded_loader


def _bounded_loader() -> Any:
    class BoundedLoader(_omegaconf_loader()):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self._written, self._depth = 0, 0
            text = stream if isinstance(stream, str | bytes) else stream.read(MAX_CHARACTERS + 1)
            name = getattr(stream, "name", "the text")
            if len(text) > MAX_CHARACTERS:
                raise yaml.MarkedYAMLError(f"{name} is longer than {MAX_CHARACTERS:,} characters")
            try:
                super().__init__(text)
            except yaml.reader.ReaderError as error:
                error.name = name
                raise
            self.name = name

        def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
            self._written, self._depth = self._written + 1, self._depth + 1
            if self._written > MAX_NODES:
                raise self._refusal(f"more than {MAX_NODES:,} nodes", self.peek_event())
            if self._depth > MAX_DEPTH:
                raise self._refusal(f"more than {MAX_DEPTH} levels", self.peek_event())
            node = cast("yaml.Node", super().compose_node(parent, index))
            self._depth -= 1
            return node

        def get_single_node(self) -> yaml.Node | None:
            node = cast("yaml.Node | None", super().get_single_node())
            if node is not None:
                self._count(node, {}, 0)
            return node

        def _count(self, node: yaml.Node, counted: dict[int, int], depth: int) -> int:
            """Return the number of nodes with aliases written out. Each node is visited once."""
            if isinstance(node, yaml.ScalarNode):
                if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
                    raise self._refusal(f"a number of {len(node.value):,} digits", node)
                if problem := check_text(node.value):
                    raise self._refusal(problem, node)
                return 1
            if id(node) not in counted:
                if depth > MAX_DEPTH:  # also stops at an alias inside its own anchor
                    raise self._refusal(f"more than {MAX_DEPTH} levels", node)
                pairs = node.value if isinstance(node, yaml.MappingNode) else [node.value]
                count = 1 + sum(self._count(one, counted, depth + 1) for pair in pairs for one in pair)
                if count > MAX_NODES:
                    raise self._refusal(f"aliases that stand for more than {MAX_NODES:,} nodes", node)
                counted[id(node)] = count
            return counted[id(node)]

        @staticmethod
        def _refusal(what: str, where: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
            return yaml.MarkedYAMLError(problem=f"it holds {what}", problem_mark=where.start_mark)

    return BoundedLoader
