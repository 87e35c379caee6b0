"""Hydra's composition of configurations that may hold a stranger's files: its own node is checked before it is used.

Hydra instantiates callbacks, the sweeper and the launcher, sets up logging and sets environment variables from the
node `hydra`, before the program is asked. Any YAML file of a group, such as an experiment, can change that node. Each
composition passes through `CheckedConfigLoader`, of a run, of a sweep and of each of its cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override, Sweep
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ecg_lightning import bounded_yaml
from ecg_lightning.errors import ConfigError
from ecg_lightning.interpolations import check_interpolations
from ecg_lightning.quoting import quoted

_CALLBACKS = {"sweep_report": {"_target_": "ecg_lightning.runs.sweep.SweepReport"}}
_LAUNCHERS = {
    "process": "hydra_plugins.ecg_lightning_process_launcher.ProcessLauncher",
    "basic": "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "joblib": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "ray": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
    "ray_aws": "hydra_plugins.hydra_ray_launcher.ray_aws_launcher.RayAWSLauncher",
}
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
_LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
_LOGGING_KEYS = ("version", "formatters", "handlers", "root", "loggers", "disable_existing_loggers")
_LOGGER_KEYS = ("level", "handlers", "propagate")
_FORMATTER_KEYS = ("format", "datefmt", "style", "validate")
_HANDLERS: dict[str, dict[str, tuple[Any, ...] | None]] = {  # by class: its keys, and their values unless any will do
    "logging.StreamHandler": {"stream": ("ext://sys.stdout", "ext://sys.stderr"), "formatter": None, "level": None},
    "logging.FileHandler": {
        "filename": (_LOG_FILE,),
        "mode": ("a", "w"),
        "encoding": ("utf-8",),
        "delay": (True, False),
        "formatter": None,
        "level": None,
    },
}
_ENVIRONMENT = re.compile(r"(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS|CUDA_VISIBLE_DEVICES")
_TEXT = re.compile(r"\$\{(hydra[.:](job|sweep|run|runtime)\.|oc\.env:|now:)")
"""Interpolations that stand for text, whatever they are."""

_OWN_PACKAGES = ("hydra", "hydra_plugins", "ecg_lightning")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed
_MAX_FILES = 2_000
"""Files of one composition, each time that one is named; ours take less than a hundred."""


def install() -> None:
    """Make Hydra compose with the checks and the bounds, on the command line as by its `compose`."""
    bounded_yaml.install()
    hydra._internal.hydra.ConfigLoaderImpl = CheckedConfigLoader  # type: ignore[misc]


class ConfigFileError(ConfigCompositionException):
    """A file of the configuration that does not fit; its cause says why.

    Args:
        config_path: its path below the configuration's folders, without `.yaml`.
    """

    def __init__(self, config_path: str) -> None:
        super().__init__(config_path)
        self.config_path = config_path


class CheckedConfigLoader(ConfigLoaderImpl):
    """Hydra's loader, which refuses a composition whose own node would run code or write elsewhere."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose and check.

        Raises:
            ConfigError: a key would run code, write outside of the run's folder, or hold a control character.
        """
        cfg = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        written: Any = OmegaConf.to_container(cfg, resolve=False)
        check_control_characters(written)
        check_interpolations(written)
        check_hydra_node(written["hydra"])
        return cfg

    @staticmethod
    def validate_sweep_overrides_legal(overrides: list[Override], run_mode: RunMode, from_shell: bool) -> None:
        """Refuse several values where one is needed.

        Raises:
            ConfigError: names the override.
        """
        for override in overrides:
            if override.is_sweep_override() and run_mode == RunMode.RUN:
                is_path = str(override.key_or_group).endswith(("path", "dir", "root"))
                text = f"; or write a path as {quoted(str(override.input_line))}" if is_path else ""
                raise ConfigError(f"{override.input_line}: several values are a sweep: add -m{text}")
            if override.is_sweep_override() and override.is_hydra_override():
                raise ConfigError(f"{override.input_line}: Hydra's own settings cannot be swept. Give one value")

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        try:
            return super()._compose_config_from_defaults_list(defaults, repo)
        except ConfigCompositionException as error:
            raise ConfigFileError(self._loading) from error

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        self._loading = str(default.config_path)
        return super()._load_single_config(default, repo)

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed, _ = super()._parse_overrides_and_create_caching_repo(None, overrides)
        repository = _BoundedRepository(self.repository)
        self._process_config_searchpath(config_name, parsed, repository)
        for override in parsed:
            is_name = override.is_delete() or isinstance(override.value(), str | list | Sweep)
            if not is_name and repository.group_exists(override.key_or_group):
                raise ConfigError(f"{override.input_line}: name an option, as in model=vit, or leave it out")
        return parsed, repository

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: list[Override], repo: CachingConfigRepository
    ) -> None:
        """Refuse packages: to look into one imports it, which runs its code."""
        loaded = repo.load_config(config_name) if config_name else None
        named = OmegaConf.select(loaded.config, "hydra.searchpath") if loaded else None
        for override in parsed_overrides:
            if override.get_key_element() == "hydra.searchpath":
                named = override.value()
        for path in named if isinstance(named, list) or OmegaConf.is_list(named) else ():
            scheme, separator, package = str(path).partition("://")
            if separator and scheme != "file" and not (scheme == "pkg" and _is_own(package)):
                raise ConfigError(
                    f"hydra.searchpath={path}: only folders are searched, since a package would be run. "
                    "Name a folder, as in hydra.searchpath=[file:///DIR]"
                )
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


class _BoundedRepository(CachingConfigRepository):
    """The files of one composition, each read once; their lists of defaults may name each other without end."""

    def __init__(self, delegate: Any) -> None:
        super().__init__(delegate)
        self._named = 0

    def load_config(self, config_path: str) -> ConfigResult | None:
        self._named += 1
        if self._named > _MAX_FILES:
            raise ConfigError(f"{config_path}: the lists of defaults name more than {_MAX_FILES:,} files")
        try:
            return super().load_config(config_path)
        except UnicodeDecodeError:
            raise ConfigError(f"{config_path}.yaml is not UTF-8. Save it with this encoding") from None


def _is_own(package: str) -> bool:
    return re.split(r"[./]", package)[0] in _OWN_PACKAGES


def check_control_characters(node: Any, key: str = "") -> None:
    """Refuse keys and values that a terminal would obey; they are printed, logged and used as file names.

    Raises:
        ConfigError: names the key.
    """
    if isinstance(node, str) and _CONTROL.search(node):
        raise ConfigError(f"{key}={node[:80]!r} holds a control character. Remove it")
    parts: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(node, Mapping):
        parts = iter(node.items())
    elif isinstance(node, list):
        parts = iter(enumerate(node))
    for name, value in parts:
        inner = f"{key}.{name}" if key else str(name)
        check_control_characters(str(name), inner)
        check_control_characters(value, inner)


def check_hydra_node(node: Mapping[str, Any]) -> None:
    """Refuse what Hydra's own node could do beyond running this program: by each key's text, nothing is imported.

    Args:
        node: `hydra` of a composed configuration, its interpolations as they are written.

    Raises:
        ConfigError: names the key, its value and the way out.
    """
    for name, callback in _mapping(node.get("callbacks"), "hydra.callbacks").items():
        if _CALLBACKS.get(name) != callback:
            raise _refusal(f"hydra.callbacks.{name}", callback, "the only callback of Hydra is sweep_report")
    _check_plugin("hydra.launcher", node.get("launcher"), _LAUNCHERS)
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
                "only OMP_NUM_THREADS and the like, and CUDA_VISIBLE_DEVICES, may be set here; set it in the shell",
            )
    subdir = node.get("output_subdir")
    if subdir is not None and not re.fullmatch(r"[\w.-]*[\w-][\w.-]*", str(subdir)):
        raise _refusal("hydra.output_subdir", subdir, "it is a folder inside the run's; name it without slashes")


def _check_plugin(key: str, node: Any, known: Mapping[str, str], inside: tuple[str, ...] = ()) -> None:
    """Refuse a plugin that is none of the known ones, and anything that is built inside of it."""
    target = _mapping(node, key).get("_target_")
    if node is not None and target not in known.values():
        raise _refusal(f"{key}._target_", target, f"known are {', '.join(known)}: choose one as {_group(key)}=NAME")
    for found, value in _targets(node, key):
        if found not in (f"{key}._target_", *inside):
            raise _refusal(found, value, "nothing is built there, and nothing is looked up")


def _check_sweeper(node: Any) -> None:
    sampler_key = "hydra.sweeper.sampler"
    _check_plugin(
        "hydra.sweeper", node, _SWEEPERS, inside=(f"{sampler_key}._target_", f"{sampler_key}._partial_")
    )
    sweeper = _mapping(node, "hydra.sweeper")
    sampler = sweeper.get("sampler")
    _check_plugin(sampler_key, sampler, _SAMPLERS, inside=(f"{sampler_key}._partial_",))
    if (extender := sweeper.get("custom_search_space")) is not None:
        raise _refusal("hydra.sweeper.custom_search_space", extender, "it would be run; use hydra.sweeper.params")
    storage = sweeper.get("storage")
    if storage is not None and not str(storage).startswith("sqlite:///"):
        raise _refusal("hydra.sweeper.storage", storage, 'only a file is used, as in "sqlite:///FILE"')
    if storage is not None and sampler is not None and sampler["_target_"] == _CMA_ES:
        raise _refusal("hydra.sweeper.storage", storage, "sampler=cmaes would unpickle it; choose sampler=tpe")


def _check_logging(key: str, node: Any) -> None:
    """Refuse handlers, formatters, filters and factories that are not Python's own, and files elsewhere."""
    settings = _mapping(node, key)
    _check_keys(key, settings, _LOGGING_KEYS)
    for name, formatter in _mapping(settings.get("formatters"), f"{key}.formatters").items():
        _check_keys(f"{key}.formatters.{name}", formatter, _FORMATTER_KEYS)
    for name, handler in _mapping(settings.get("handlers"), f"{key}.handlers").items():
        inner = f"{key}.handlers.{name}"
        kind = _mapping(handler, inner).get("class")
        if kind not in _HANDLERS:
            raise _refusal(f"{inner}.class", kind, f"allowed are {', '.join(_HANDLERS)}")
        _check_keys(inner, handler, ("class", *_HANDLERS[kind]))
        for name, allowed in _HANDLERS[kind].items():
            if allowed is not None and name in handler and handler[name] not in allowed:
                raise _refusal(f"{inner}.{name}", handler[name], f"allowed are {', '.join(map(str, allowed))}")
        if kind == "logging.FileHandler" and "filename" not in handler:
            raise _refusal(f"{inner}.filename", None, f"allowed is {_LOG_FILE}")
    loggers = _mapping(settings.get("loggers"), f"{key}.loggers")
    for inner, logger in ((f"{key}.root", settings.get("root")), *((f"{key}.loggers.{n}", v) for n, v in loggers.items())):
        _check_keys(inner, logger, _LOGGER_KEYS)
    for inner, text in _strings(settings, key):
        is_known = inner.endswith((".stream", ".filename"))
        if not is_known and (re.match(r"\w+://", text) or "${" in text):  # which would be looked up, and imported
            raise _refusal(inner, text, "write it out")


def _check_keys(key: str, node: Any, known: tuple[str, ...]) -> None:
    for name, value in _mapping(node, key).items():
        if name not in known:
            raise _refusal(f"{key}.{name}", value, f"allowed are {', '.join(known)}")


def _mapping(node: Any, key: str) -> Mapping[Any, Any]:
    """Return a node as a mapping, an absent one as an empty one.

    Raises:
        ConfigError: it is something else, such as an interpolation, which would bring in what was not checked.
    """
    if node is None or node == "???":
        return {}
    if not isinstance(node, Mapping):
        raise _refusal(key, node, "it must be written out, as a mapping")
    return node


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the key and value of everything that Hydra's `instantiate` obeys or looks up, at any depth."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name in ("_target_", "_args_", "_partial_"):
                yield f"{key}.{name}", value
            yield from _targets(value, f"{key}.{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{key}[{index}]")
    elif isinstance(node, str) and re.match(r"\s*\$\{", node) and not _TEXT.match(node):
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


def _group(key: str) -> str:
    return key.replace(".", "/")


def _refusal(key: str, value: Any, way_out: str) -> ConfigError:
    shown = repr(value) if not isinstance(value, str) else value
    return ConfigError(f"{key}={shown[:200]} is refused, since it could run code or write files: {way_out}")
