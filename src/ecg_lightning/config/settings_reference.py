"""The settings and options: the options of each group and the help of each key, for `--help` and the reference pages.

All of it is read from the schemas and `conf/`, so nothing is written twice. Nothing here imports PyTorch.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import MISSING, DictConfig, OmegaConf

from ecg_lightning.components.registry import others
from ecg_lightning.config.conf_folder import config_dir
from ecg_lightning.config.validation import RENAMED_EXPERIMENTS
from ecg_lightning.system.bounded_yaml import load
from ecg_lightning.text import as_yaml

_OF_ONE_PROGRAM = {("data", "checkpoint"): "compress", ("compression", "off"): "train"}
_HIDDEN = ("hydra", "local", "recipe")
_WIDTH = 110
_COLUMN = 46


class Setting(NamedTuple):
    """One key of the configuration.

    Attributes:
        key: dotted key, or the name alone.
        value: its value, or its default.
        help: one line with the allowed values.
    """

    key: str
    value: Any
    help: str


def options_of(program: str) -> dict[str, dict[str, str]]:
    """Return the first sentence of each option, by group, for the groups in `conf/` that leave a choice.

    Args:
        program: `train` or `compress`, the program of the groups.
    """
    chosen = load(config_dir() / f"{program}.yaml")["defaults"]
    own = {name.removeprefix("/") for one in chosen if isinstance(one, dict) for name in one}
    found = {}
    for folder in sorted(path for path in config_dir().rglob("*") if path.is_dir()):
        group = str(folder.relative_to(config_dir()))
        if group.startswith(_HIDDEN) or (program == "compress" and group not in own):
            continue
        names = [path.stem for path in sorted(folder.glob("*.yaml")) if path.stem not in RENAMED_EXPERIMENTS]
        names = [name for name in names if _OF_ONE_PROGRAM.get((group, name), program) == program]
        if len(names) > 1:
            found[group] = {name: _first_sentence(folder / f"{name}.yaml") for name in names}
    for group, of in {"model": "model", "frontend": "frontend", "compression": "stage"}.items():
        if group in found:
            found[group] |= {name: str(schema.__doc__).partition("\n")[0] for name, schema in others(of).items()}
    return found


def _first_sentence(path: Path) -> str:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    comment = " ".join(line.removeprefix("#").strip() for line in _leading(lines))
    return f"{comment.partition('. ')[0].rstrip('.')}." if comment else ""


def _leading(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def settings_in(node: DictConfig, prefix: str = "") -> Iterator[Setting]:
    """Yield each key of a composed configuration, with its unresolved value and its help."""
    schema, values = OmegaConf.get_type(node), OmegaConf.to_container(node, resolve=False)
    fields = {entry.name: entry for entry in dataclasses.fields(schema)} if dataclasses.is_dataclass(schema) else {}
    assert isinstance(values, dict)
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from settings_in(node[name], f"{prefix}{name!s}.")
        elif name != "kind":
            yield Setting(f"{prefix}{name!s}", value, described(fields[name].metadata) if name in fields else "")


def fields_of(schema: type[Any], prefix: str = "", inherited: bool = True) -> Iterator[Setting]:
    """Yield each setting of a schema, with its default and its help.

    Args:
        schema: the dataclass.
        prefix: text before each name.
        inherited: whether to include settings of the base classes that the schema does not declare again.
    """
    hints = typing.get_type_hints(schema)
    for entry in dataclasses.fields(schema):
        if entry.name == "kind" or not (inherited or entry.name in schema.__annotations__):
            continue
        kinds = (hints[entry.name], *typing.get_args(hints[entry.name]))
        if entry.metadata:
            is_made = entry.default_factory is not dataclasses.MISSING
            default = typing.cast(Any, entry.default_factory)() if is_made else entry.default
            yield Setting(f"{prefix}{entry.name}", default, described(entry.metadata))
        for one in (one for one in kinds if dataclasses.is_dataclass(one)):
            yield from fields_of(typing.cast(type[Any], one), f"{prefix}{entry.name}.")


def described(metadata: Mapping[str, Any]) -> str:
    """Return a setting's line of help, with its bounds."""
    told, low, high, above = (metadata.get(name) for name in ("help", "min", "max", "above"))
    choices = [str(one) for one in metadata.get("choices", ())]
    if any(not re.search(rf"\b{re.escape(one)}\b", str(told)) for one in choices):
        return f"{told} ({', '.join(choices)})"
    if low is not None:
        return (
            f"{told} ({_number(low)} to {_number(high)})" if high is not None else f"{told} (at least {_number(low)})"
        )
    if above is not None:
        return f"{told} (above {_number(above)}{'' if high is None else f', at most {_number(high)}'})"
    return str(told)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def groups_text(program: str) -> str:
    """Return the options of each group in the form that `--help` prints."""
    wrap = textwrap.TextWrapper(_WIDTH, subsequent_indent=" " * 24, break_on_hyphens=False)
    lines = (f"  {group:<22}{', '.join(options)}" for group, options in options_of(program).items())
    return "\n".join(line for one in lines for line in wrap.wrap(one))


def settings_text(cfg: DictConfig) -> str:
    """Return each key of a composed configuration with its value and help, in the form that `--help` prints."""
    lines = []
    for key, value, told in settings_in(cfg):
        setting = f"  {key}={_typed(value)}"
        lines.append(f"{setting:<{_COLUMN}}  {told}".rstrip())
    return "\n".join(lines)


def options_table(options: Mapping[str, str], heading: str, about: str = "meaning") -> str:
    """Return the options of a group, or the groups, as a Markdown table."""
    rows = [f"| `{name}` | {told} |" for name, told in options.items()]
    return "\n".join([f"| {heading} | {about} |", "|---|---|", *rows])


def settings_table(settings: Iterable[Setting]) -> str:
    """Return settings as a Markdown table."""
    rows = [f"| `{one.key}` | {_shown(one.value)} | {one.help.replace('|', '&#124;')} |" for one in settings]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _shown(value: Any) -> str:
    return f"`{_typed(value)}`" if _typed(value) else ""


def _typed(value: Any) -> str:
    """Return a value as it is typed on the command line; empty for a value that is not set."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return "" if value == MISSING else as_yaml(value)
