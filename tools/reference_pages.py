"""Write the tables of docs/reference/ that follow from the schemas and `conf/`; a test compares them with the files.

python tools/reference_pages.py
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

from error_index import error_index
from omegaconf import OmegaConf
from typer.models import ArgumentInfo

from ecg_lightning.commands.cli import app
from ecg_lightning.components.registry import options
from ecg_lightning.compression.schema import CompressConfig, CompressionConfig, TrainConfig, TrainedStageConfig
from ecg_lightning.config.conf_folder import config_dir
from ecg_lightning.config.settings_reference import fields_of, options_of, options_table, settings_table
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.frontend.artifacts.levels import LEVELS, STRENGTHS
from ecg_lightning.frontend.schema import ArtifactConfig, FrontendConfig
from ecg_lightning.hardware.schema import HardwareConfig
from ecg_lightning.models.catalogue import networks
from ecg_lightning.models.schema import NetworkConfig, SignalNetworkConfig
from ecg_lightning.system.bounded_yaml import load
from ecg_lightning.training.schema import CallbacksConfig, TrainerConfig

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_PART = re.compile(r"(<!-- generated: (\w+) -->\n\n)(?:(?!<!-- ).)*?(<!-- end -->)", re.DOTALL)


def written(page: Path) -> str:
    """Return a page's text with its generated parts written anew."""
    return _PART.sub(
        lambda part: f"{part[1]}{_wrapped(PARTS[part[2]]())}\n\n{part[3]}", page.read_text(encoding="utf-8")
    )


def _wrapped(text: str) -> str:
    """Wrap the paragraphs and list items of a text at 100 characters; headings and tables stay."""
    return "\n\n".join(block if block[0] in "#|" else _filled(block) for block in text.split("\n\n"))


def _filled(block: str) -> str:
    items = block.split("\n") if block.startswith("- ") else [block]
    indent = "  " * block.startswith("- ")
    fill = partial(textwrap.fill, width=100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(fill, items))


def _groups() -> str:
    named = {group: ", ".join(f"`{name}`" for name in names) for group, names in options_of("train").items()}
    return options_table(named, "group", "options")


def _roots(schema: type) -> str:
    return settings_table(one for one in fields_of(schema) if "." not in one.key)


def _about(schema: type) -> str:
    """Return the sentence about a component, without the module that it refers to."""
    return str(schema.__doc__).partition(", see ")[0].rstrip(".") + "."


def _components(group: str, of: str) -> str:
    tables = []
    for kind, schema in options(group).items():
        fields = [one for one in fields_of(schema, inherited=False) if one.key != "student"]
        more = f"\n\n{settings_table(fields)}" if fields else f" It has no {of}."
        tables.append(f"### `{kind}`\n\n{_about(schema)}{more}")
    return "\n\n".join(tables)


def _options(group: str, base: type) -> str:
    """Return a table for each option of a group, of the settings that not all its options have."""
    tables = []
    for kind, schema in options(group).items():
        above = [one for one in schema.__mro__ if one not in base.__mro__]
        own = {name for one in above for name in vars(one).get("__annotations__", {})}
        fields = [one for one in fields_of(schema, f"{group}.") if one.key.split(".")[1] in own]
        if fields:
            tables.append(f"### `{group}={kind}`\n\n{_about(schema)}\n\n{settings_table(fields)}")
    return "\n\n".join(tables)


def _choices() -> str:
    """Return a table of the options of the group `model`: the networks by size, then those without a fixed network."""
    known = {one.name: one for one in networks()}
    told = {name: one.about for name, one in known.items()} | {
        name: sentence.rstrip(".") for name, sentence in options_of("train")["model"].items() if name not in known
    }
    rows = ["| `model=` | network | parameters | input | default recipe |", "|---|---|---|---|---|"]
    for name, about in told.items():
        settings = _composed(name)
        schema: Any = OmegaConf.get_type(settings)
        size = f"{known[name].parameters:,}" if name in known else ""
        window_s = settings.get("window_s")
        input = f"windows of {window_s} s" if window_s else "image or signal" if schema.takes == "any" else schema.takes
        rows.append(f"| `{name}` | {about} | {size} | {input} | {_recipe(settings)} |")
    return "\n".join(rows)


def _composed(option: str) -> Any:
    """Return the settings of an option of the group `model`, without the time that Hydra takes."""
    changes = load(config_dir() / "model" / f"{option}.yaml")
    base = changes.pop("defaults")[0]
    schema = re.fullmatch(r"/schema/model/(\w+)@_here_", base)
    return OmegaConf.merge(options("model")[schema[1]] if schema else _composed(base), changes)


def _recipe(settings: Any) -> str:
    """Return the optimizer, learning rate, schedule and regularisation of a network's settings."""
    if "optimizer" not in settings:
        return "not trained"
    parts = [f"`{settings.optimizer.name}` at {settings.optimizer.lr:g}, `{settings.scheduler.name}`"]
    parts += [f"dropout {settings.dropout:g}"] if settings.dropout else []
    parts += [f"stochastic depth {settings.drop_path:g}"] if settings.drop_path else []
    return ", ".join(parts)


def _commands() -> str:
    """Return a section for each command but those that take settings."""
    sections = []
    for command in app.registered_commands:
        function: Any = command.callback
        name = command.name or function.__name__
        rows = [_option(one) for one in inspect.signature(function, eval_str=True).parameters.values()]
        if name not in ("train", "compress"):
            table = "\n".join(["| argument or option | effect |", "|---|---|", *rows])
            sections.append(f"## `ecg-lightning {name}`\n\n{inspect.getdoc(function)}\n\n{table}")
    return "\n\n".join(sections)


def _option(parameter: inspect.Parameter) -> str:
    told = next(iter(getattr(parameter.annotation, "__metadata__", ())), None)
    kind = next(iter(get_args(parameter.annotation)), None)
    name = parameter.name.upper() if isinstance(told, ArgumentInfo) else f"--{parameter.name.replace('_', '-')}"
    declared = [getattr(told, "default", None), *(getattr(told, "param_decls", None) or ())]
    written = next((one for one in declared if isinstance(one, str) and one.startswith("--")), name)
    value = "" if kind is bool or isinstance(told, ArgumentInfo) else f" {parameter.name.upper()}"
    return f"| `{written}{value}` | {str(getattr(told, 'help', '')).replace('|', '/')} |"


def _levels() -> str:
    """Return a table of the amounts of each disturbance of a paper ECG."""
    rows = [
        f"| `{name}` | {level.unit} | {', '.join(f'{amount:g}' for amount in level.amounts)} | {level.source} |"
        for name, level in LEVELS.items()
    ]
    strengths = f"at strengths {STRENGTHS[0]} to {STRENGTHS[-1]}"
    return "\n".join([f"| layer | amount | {strengths} | source |", "|---|---|---|---|", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "errors": error_index,
    "groups": _groups,
    "run": lambda: _roots(TrainConfig),
    "compress": lambda: _roots(CompressConfig),
    "data": lambda: settings_table(fields_of(DataConfig, "data.")),
    "data_sets": lambda: _options("data", DataConfig),
    "frontend": lambda: settings_table(fields_of(FrontendConfig, "frontend.")),
    "frontends": lambda: _options("frontend", FrontendConfig),
    "artifacts": lambda: settings_table(fields_of(ArtifactConfig)),
    "artifact_levels": _levels,
    "artifact_presets": lambda: options_table(options_of("train")["frontend/artifacts"], "preset"),
    "hardware": lambda: settings_table(fields_of(HardwareConfig, "hardware.")),
    "trainer": lambda: settings_table(fields_of(TrainerConfig, "trainer.")),
    "callbacks": lambda: settings_table(fields_of(CallbacksConfig, "callbacks.")),
    "choices": _choices,
    "networks": lambda: settings_table(fields_of(NetworkConfig, "model.")),
    "windows": lambda: settings_table(fields_of(SignalNetworkConfig, "model.", inherited=False)),
    "models": lambda: _components("model", "settings of its own"),
    "compressions": lambda: options_table(options_of("train")["compression"], "`compression=`"),
    "trained_stages": lambda: settings_table(fields_of(TrainedStageConfig)),
    "stages": lambda: _components("stage", "settings of its own"),
    "compression": lambda: settings_table(fields_of(CompressionConfig, "compression.")),
}


def main() -> None:
    """Write all pages."""
    for page in sorted(FOLDER.glob("*.md")):
        page.write_text(written(page), encoding="utf-8")


if __name__ == "__main__":
    main()
