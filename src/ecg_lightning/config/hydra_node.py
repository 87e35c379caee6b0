"""Checks of Hydra's own node. A stranger's file must not make Hydra run code or write outside of a run's folder.

Everything is compared with lists of known values, before and after interpolations are resolved. Nothing is imported
for the check. Another name that leads to a known class is refused as well.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

from ecg_lightning.errors import ConfigError
from ecg_lightning.system.interpolations import check_override

_CALLBACKS = {"sweep_report": {"_target_": "ecg_lightning.commands.sweep_callback.SweepReport"}}
_LAUNCHERS = {
    "process": "hydra_plugins.ecg_lightning_process_launcher.ProcessLauncher",
    "basic": "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "joblib": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "ray": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
}
_COMMANDS = ("setup", "python", "srun_args", "additional_parameters")
"""Settings of the submitit launchers that the scheduler runs as commands."""

_RAY = {
    "init": ("num_cpus", "num_gpus", "include_dashboard"),
    "remote": ("num_cpus", "num_gpus", "memory", "max_calls", "max_retries"),
}
_PRE_DISPATCH = re.compile(r"all|\d+|(\d+ ?\* ?)?n_jobs")  # joblib evaluates this text
_SWEEPERS = {
    "basic": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "optuna": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
}
_CMA_ES = "optuna.samplers.CmaEsSampler"
_SAMPLERS = {
    "tpe": "optuna.samplers.TPESampler",
    "random": "optuna.samplers.RandomSampler",
    "grid": "optuna.samplers.GridSampler",
    "cmaes": _CMA_ES,
    "nsgaii": "optuna.samplers.NSGAIISampler",
    "motpe": "optuna.samplers.MOTPESampler",
}
_CHOICES = "hydra.runtime.choices"
_LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
_LOGGING_KEYS = ("version", "formatters", "handlers", "root", "loggers", "disable_existing_loggers")
_LOGGER_KEYS = ("level", "handlers", "propagate")
_FORMATTER_KEYS = ("format", "datefmt", "style", "validate")
_LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG", "NOTSET")
_LINE = "%(asctime)s %(levelname)s %(message)s"
_HANDLERS: dict[str, dict[str, tuple[Any, ...] | None]] = {  # keys by class, and their allowed values; None: any
    "logging.StreamHandler": {"stream": ("ext://sys.stdout", "ext://sys.stderr"), "formatter": None, "level": None},
    "logging.FileHandler": {
        "filename": (_LOG_FILE,),
        "mode": ("a",),
        "encoding": ("utf-8",),
        "delay": (True, False),
        "formatter": None,
        "level": None,
    },
}
_ENVIRONMENT = re.compile(r"(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS|CUDA_VISIBLE_DEVICES")
_LEAVES = re.compile(r"\$\{hydra[.:](sweep\.dir|run\.dir|runtime\.(output_dir|cwd)|job\.name)\}")
"""Interpolations that are always text, by the types of Hydra's own node."""

MAX_CELLS = 100_000
"""Most values of a swept key, and most cells of a sweep that a file asks for."""

_SWEPT = re.compile(r"\+{0,2}(?!hydra\b|paths\b)\w[\w./@-]*")
"""Keys that a sweep may set. It sets them like the command line, which may choose folders."""


def check_hydra_node(node: Mapping[str, Any]) -> None:
    """Refuse settings in Hydra's own node that do more than run this program. Nothing is imported.

    Args:
        node: `hydra` of a composed configuration, with unresolved interpolations.

    Raises:
        ConfigError: names the key, its value and how to fix it.
    """
    _check_callbacks(node.get("callbacks"))
    for key in ("launcher", "sweeper"):
        if node.get(key) is None:
            raise ConfigError(f"hydra.{key}=null: a sweep needs a {key}. Choose it with hydra/{key}=NAME")
    _check_launcher(node.get("launcher"))
    _check_sweeper(node.get("sweeper"))
    for key in ("job_logging", "hydra_logging"):
        _check_logging(f"hydra.{key}", node.get(key))
    job = _mapping(node.get("job"), "hydra.job")
    if not re.fullmatch(r"[\w-][\w.-]*", str(job.get("name"))):
        raise _refusal("hydra.job.name", job.get("name"), "it names the log file; letters, digits, - and _ are allowed")
    for name, value in _mapping(job.get("env_set"), "hydra.job.env_set").items():
        if not _ENVIRONMENT.fullmatch(str(name)):
            raise _refusal(
                f"hydra.job.env_set.{name}",
                value,
                "only thread counts such as OMP_NUM_THREADS, and CUDA_VISIBLE_DEVICES, may be set here; set other "
                "variables in the shell",
            )
        if "${" in str(value):
            raise _refusal(f"hydra.job.env_set.{name}", value, "write it out")
    for group, option in _mapping(_mapping(node.get("runtime"), "hydra.runtime").get("choices"), _CHOICES).items():
        options = option if isinstance(option, list) else [option]
        if not all(one is None or (isinstance(one, str) and "${" not in one) for one in options):
            raise _refusal(f"{_CHOICES}.{group}", option, "Hydra fills it in")
    verbose = node.get("verbose", False)
    for one in verbose if isinstance(verbose, list) else [verbose]:
        if not isinstance(one, bool | str) or "${" in str(one):
            raise ConfigError(f"hydra.verbose={str(verbose)[:100]}: give true, false, or a list of loggers' names")
    subdir = node.get("output_subdir")
    if subdir is not None and not re.fullmatch(r"[\w.-]*[\w-][\w.-]*", str(subdir)):
        raise _refusal("hydra.output_subdir", subdir, "it is a folder inside the run's; name it without slashes")


def check_resolved(key: str, node: Any) -> None:
    """Refuse a node that resolves to other classes than it was written with, or to a text of several lines.

    Args:
        key: `hydra.callbacks`, `hydra.launcher` or `hydra.sweeper`.
        node: the node at this key, with resolved interpolations.

    Raises:
        ConfigError: names the key, its value and how to fix it.
    """
    if key == "hydra.launcher":
        _check_plugin(key, node, _LAUNCHERS)
        _check_lines(node, key)
    elif key == "hydra.sweeper":
        _check_sweeper(node)
    else:
        _check_callbacks(node)


def _check_callbacks(node: Any) -> None:
    for name, callback in _mapping(node, "hydra.callbacks").items():
        if _CALLBACKS.get(name) != callback:
            raise _refusal(f"hydra.callbacks.{name}", callback, "the only callback of Hydra is sweep_report")


def _check_lines(node: Any, key: str) -> None:
    for inner, text in _strings(node, key):
        if "\n" in text:  # would be a further line of the scheduler's script
            raise _refusal(inner, text, "write it on one line")


def _check_launcher(node: Any) -> None:
    key = "hydra.launcher"
    _check_plugin(key, node, _LAUNCHERS)
    for name in _COMMANDS:
        if command := _mapping(node, key).get(name):
            raise _refusal(f"{key}.{name}", command, "the scheduler would run it. Set it in the shell, before sbatch")
    ray = _mapping(_mapping(node, key).get("ray"), f"{key}.ray")
    for name, known in _RAY.items():
        _check_keys(f"{key}.ray.{name}", ray.get(name), known)
    _check_lines(node, key)
    for inner, text in _strings(node, key):
        if inner == f"{key}.pre_dispatch":
            if not _PRE_DISPATCH.fullmatch(text):
                raise _refusal(inner, text, "allowed are all, a number, and N*n_jobs")
        elif re.search(r"[\s;#`$'\"\\]", _LEAVES.sub("", text)):  # would be a further option of the scheduler
            raise _refusal(inner, text, "write it out, without spaces, quotes and the like")


def _check_plugin(key: str, node: Any, known: Mapping[str, str], inside: tuple[str, ...] = ()) -> None:
    """Refuse an unknown plugin, and any object that would be built inside it."""
    target = _mapping(node, key).get("_target_")
    if node is not None and target not in known.values():
        raise _refusal(
            f"{key}._target_", target, f"known are {', '.join(known)}: choose one as {key.replace('.', '/')}=NAME"
        )
    for found, value in _targets(node, key):
        if found not in (f"{key}._target_", *inside):
            raise _refusal(found, value, "interpolations and objects are not allowed there")


def _check_sweeper(node: Any) -> None:
    sampler_key = "hydra.sweeper.sampler"
    _check_plugin("hydra.sweeper", node, _SWEEPERS, inside=(f"{sampler_key}._target_", f"{sampler_key}._partial_"))
    sweeper = _mapping(node, "hydra.sweeper")
    sampler = sweeper.get("sampler")
    _check_plugin(sampler_key, sampler, _SAMPLERS, inside=(f"{sampler_key}._partial_",))
    n_cells = 1
    direction = sweeper.get("direction", "minimize")
    for one in direction if isinstance(direction, list) else [direction]:
        if getattr(one, "name", one) not in ("minimize", "maximize"):
            raise _refusal("hydra.sweeper.direction", direction, "allowed are minimize and maximize")
    for part in ("params", "search_space"):
        for name, values in _mapping(sweeper.get(part), f"hydra.sweeper.{part}").items():
            if not _SWEPT.fullmatch(str(name)):
                raise _refusal(f"hydra.sweeper.{part}.{name}", values, "a search may set only the program's own keys")
            if part == "params" and isinstance(values, Mapping | list):
                raise _refusal(f"hydra.sweeper.{part}.{name}", values, "write it as text, as in 1,2,3")
            if problem := check_override(str(values)):
                raise ConfigError(f"hydra.sweeper.{part}.{name}={str(values)[:80]}: it holds {problem}")
            n_cells *= _n_values(f"{name}={values}") if part == "params" else 1
            if not 0 < n_cells <= MAX_CELLS:
                raise ConfigError(
                    f"hydra.sweeper.{part}.{name}={values}: this sweep has no cell, or more than {MAX_CELLS:,}. "
                    "Give other values"
                )
    if (extender := sweeper.get("custom_search_space")) is not None:
        raise _refusal("hydra.sweeper.custom_search_space", extender, "it would be run; use hydra.sweeper.params")
    storage = sweeper.get("storage")
    if storage is not None and not str(storage).startswith("sqlite:///"):
        raise _refusal("hydra.sweeper.storage", storage, 'only a file is used, as in "sqlite:///FILE"')
    if storage is not None and sampler is not None and sampler["_target_"] == _CMA_ES:
        raise _refusal("hydra.sweeper.storage", storage, "sampler=cmaes would unpickle it; choose sampler=tpe")


def _n_values(setting: str) -> int:
    """Return the number of values that a setting `key=value` has in a sweep."""
    return count_values(OverridesParser.create().parse_overrides([setting])[0].value())


def count_values(value: Any) -> int:
    """Return the number of values that a parsed value has in a sweep. An endless range has more than the limit."""
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
        try:
            return max(0, math.ceil((value.stop - value.start) / value.step))
        except (OverflowError, ValueError, ZeroDivisionError):  # infinite bounds, NaN, a step of 0
            return MAX_CELLS + 1
    return 1


def _check_logging(key: str, node: Any) -> None:
    """Refuse handlers, formatters, filters and factories that are not Python's own, and other log files."""
    settings = _mapping(node, key)
    _check_keys(key, settings, _LOGGING_KEYS)
    if (version := settings.get("version", 1)) != 1:
        raise ConfigError(f"{key}.version={str(version)[:100]}: it must be 1")
    for name, formatter in _mapping(settings.get("formatters"), f"{key}.formatters").items():
        _check_keys(f"{key}.formatters.{name}", formatter, _FORMATTER_KEYS)
        _check_formatter(f"{key}.formatters.{name}", _mapping(formatter, f"{key}.formatters.{name}"))
    for name, handler in _mapping(settings.get("handlers"), f"{key}.handlers").items():
        inner = f"{key}.handlers.{name}"
        kind = str(_mapping(handler, inner).get("class"))
        if kind not in _HANDLERS:
            raise _refusal(f"{inner}.class", kind, f"allowed are {', '.join(_HANDLERS)}")
        _check_keys(inner, handler, ("class", *_HANDLERS[kind]))
        for name, allowed in _HANDLERS[kind].items():
            if allowed is not None and name in handler and handler[name] not in allowed:
                raise _refusal(f"{inner}.{name}", handler[name], f"allowed are {', '.join(map(str, allowed))}")
            if not isinstance(handler.get(name, ""), str | int):
                raise _refusal(f"{inner}.{name}", handler[name], "give a name or a number")
        if kind == "logging.FileHandler" and "filename" not in handler:
            raise _refusal(f"{inner}.filename", None, f"allowed is {_LOG_FILE}")
    loggers = _mapping(settings.get("loggers"), f"{key}.loggers")
    _check_keys(f"{key}.root", settings.get("root"), _LOGGER_KEYS)
    for name, logger in loggers.items():
        _check_keys(f"{key}.loggers.{name}", logger, _LOGGER_KEYS)
    handlers = _mapping(settings.get("handlers"), f"{key}.handlers")
    for inner, logger in {
        "root": settings.get("root"),
        **{f"loggers.{name}": one for name, one in loggers.items()},
    }.items():
        named = _mapping(logger, f"{key}.{inner}").get("handlers") or []
        if unknown := [one for one in named if one not in handlers]:
            raise ConfigError(f"{key}.{inner}.handlers={unknown[0]!s:.100}: known are {', '.join(map(str, handlers))}")
    for inner, text in _strings(settings, key):
        if inner.endswith(".level") and text not in _LEVELS:
            raise ConfigError(f"{inner}={text[:100]}: allowed are {', '.join(_LEVELS)}")
        is_known = inner.endswith((".stream", ".filename"))
        if not is_known and (re.match(r"\w+://", text) or "${" in text):  # would be imported or looked up
            raise _refusal(inner, text, "write it out")


def _check_formatter(key: str, formatter: Mapping[str, Any]) -> None:
    """Refuse a formatter that would fail on each line, or make a line larger than the memory."""
    pattern, date, style = (formatter.get(name) for name in ("format", "datefmt", "style"))
    record = logging.LogRecord("name", logging.INFO, "path", 1, "message", None, None)
    try:
        if re.search(r"\d{4}", f"{pattern} {date}"):
            raise ValueError("a width of more than three digits")
        logging.Formatter(pattern, date, style or "%").format(record)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{key}: this format cannot write a line ({error!s:.100}); use {_LINE}") from None


def _check_keys(key: str, node: Any, known: tuple[str, ...]) -> None:
    for name, value in _mapping(node, key).items():
        if name not in known:
            raise _refusal(f"{key}.{name}", value, f"allowed are {', '.join(known)}")


def _mapping(node: Any, key: str) -> Mapping[Any, Any]:
    """Return a node as a mapping, an absent node as an empty mapping.

    Raises:
        ConfigError: the node is something else, such as an interpolation, whose content was not checked.
    """
    if node is None or node == "???":
        return {}
    if not isinstance(node, Mapping):
        raise _refusal(key, node, "it must be written out, as a mapping")
    return node


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the key and value of everything that Hydra's `instantiate` follows or resolves, at any depth."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name in ("_target_", "_args_", "_partial_"):
                yield f"{key}.{name}", value
            yield from _targets(value, f"{key}.{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{key}[{index}]")
    elif isinstance(node, str) and "${" in _LEAVES.sub("", node):
        yield key, node  # an interpolation may stand for a whole node


def _strings(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _strings(value, f"{key}.{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _strings(value, f"{key}[{index}]")
    elif isinstance(node, str):
        yield key, node


def _refusal(key: str, value: Any, way_out: str) -> ConfigError:
    shown = repr(value) if not isinstance(value, str) else value
    return ConfigError(f"{key}={shown[:200]} is refused, because it could run code or write files: {way_out}")
