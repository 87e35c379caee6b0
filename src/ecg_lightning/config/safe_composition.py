"""Safe composition of configurations that may hold a stranger's files. Hydra's own node is checked before its use.

From the node `hydra`, Hydra instantiates callbacks, the sweeper and the launcher, sets up logging and sets environment
variables, before this program runs. Any YAML file of a group, such as an experiment, can change that node. Each
composition of a run, of a sweep and of each of its cells passes through `CheckedConfigLoader`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, MutableSequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, cast

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Sweep
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ecg_lightning.config.foreign_files import ROOT, check_file, is_foreign, sets_root
from ecg_lightning.config.hydra_node import MAX_CELLS, check_hydra_node, check_resolved, count_values
from ecg_lightning.config.keys_below import prepare_overrides
from ecg_lightning.errors import ConfigError
from ecg_lightning.system import bounded_yaml
from ecg_lightning.system.interpolations import check_interpolations, check_override

_OWN_PACKAGES = ("hydra", "hydra_plugins", "ecg_lightning")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed
_MAX_FILES = 500
"""Most files of one composition, counted each time that one is named. Our compositions name less than a hundred."""


def install() -> None:
    """Make Hydra compose with these checks and bounds, on the command line and in its `compose`."""
    bounded_yaml.install()
    hydra._internal.hydra.ConfigLoaderImpl = CheckedConfigLoader  # type: ignore[attr-defined]


class ConfigFileError(ConfigCompositionException):
    """A file of the configuration that does not fit. The exception's cause gives the reason.

    Args:
        config_path: path of the file below the configuration's folders, without `.yaml`.
    """

    def __init__(self, config_path: str) -> None:
        super().__init__(config_path)
        self.config_path = config_path


class SweepError(ConfigError):
    """Several values for a setting that needs one.

    Args:
        override: the setting as typed.
    """

    def __init__(self, override: str) -> None:
        super().__init__(f"{override}: several values need a sweep. Add -m")
        self.override = override


class CheckedConfigLoader(ConfigLoaderImpl):
    """Hydra's loader with a check. It refuses a composition whose own node would run code or write elsewhere."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Return the composed and checked configuration.

        Raises:
            ConfigError: a key would run code, write outside of the run's folder, or hold a control character.
        """
        self._setting_root: list[str] = []
        self._files: dict[str, Any] = {}
        cfg = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        written: Any = OmegaConf.to_container(cfg, resolve=False)
        check_control_characters(written)
        check_interpolations(written)
        check_hydra_node(written["hydra"])
        with as_hydras(cfg):
            for key in ("callbacks", "launcher", "sweeper"):
                node = OmegaConf.select(cfg.hydra, key)
                check_resolved(f"hydra.{key}", OmegaConf.to_container(node, resolve=True) if node else node)
            _check_task_name(cfg)
            if self._setting_root:
                _check_root(cfg, overrides, self._setting_root[0])
        return cfg

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """Return the names in a group, without Hydra's copy of all schemas for each of them."""
        if config_name is None and not overrides:
            return self.repository.get_group_options(group_name, results_filter)
        return super().get_group_options(group_name, results_filter, config_name, overrides)

    @staticmethod
    def validate_sweep_overrides_legal(overrides: list[Override], run_mode: RunMode, from_shell: bool) -> None:
        """Refuse several values for a setting that needs one.

        Raises:
            ConfigError: names the override.
        """
        for override in overrides:
            if override.is_sweep_override() and run_mode == RunMode.RUN:
                raise SweepError(str(override.input_line))
            if override.is_sweep_override() and not 0 < count_values(override.value()) <= MAX_CELLS:
                raise ConfigError(f"{override.input_line}: give from one to {MAX_CELLS:,} values")
            if override.is_sweep_override() and override.is_hydra_override():
                raise ConfigError(f"{override.input_line}: Hydra's own settings cannot be swept. Give one value")

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        try:
            composed = super()._compose_config_from_defaults_list(defaults, repo)
        except ConfigCompositionException as error:
            raise ConfigFileError(self._loading) from error
        prepare_overrides(self._parsed, composed, self._files)
        return composed

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        name = self._loading = str(default.config_path)
        loaded = repo.load_config(name)
        if loaded is not None and loaded.path.startswith("file://"):
            foreign = is_foreign(loaded.path)
            if foreign and _is_in_the_store(name):
                raise ConfigError(f"{name}.yaml: the program has a built-in option with this name. Rename the file")
            placed = self._embed_result_config(loaded, default.package).config
            content = OmegaConf.to_container(placed, resolve=False)
            check_file(content, name, foreign=foreign, primary=bool(default.primary))
            self._files[name] = content
            if foreign and sets_root(content):
                self._setting_root.append(name)
        return super()._load_single_config(default, repo)

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed = self._parsed = [_parse(override) for override in overrides]
        repository = _BoundedRepository(self.repository)
        self._process_config_searchpath(config_name, parsed, repository)
        for override in parsed:
            if override.key_or_group.startswith("hydra.job.env_copy"):
                raise ConfigError("hydra.job.env_copy is refused: a variable may be a secret. Set it in the shell")
            is_name = override.is_delete() or isinstance(override.value(), str | list | Sweep)
            if not is_name and repository.group_exists(override.key_or_group):
                raise ConfigError(f"{override.input_line}: name an option, as in model=vit, or leave it out")
        return parsed, repository

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: list[Override], repo: CachingConfigRepository
    ) -> None:
        """Refuse packages, because a look into a package imports it and runs its code."""
        loaded = repo.load_config(config_name) if config_name else None
        named = [OmegaConf.select(loaded.config, "hydra.searchpath")] if loaded else []
        named += [one.value() for one in parsed_overrides if one.get_key_element() == "hydra.searchpath"]
        for path in (path for paths in named if isinstance(paths, MutableSequence) for path in paths):
            scheme, separator, package = str(path).partition("://")
            if separator and scheme != "file" and not (scheme == "pkg" and _is_own(package)):
                raise ConfigError(
                    f"hydra.searchpath={path}: only folders are searched, because a package could run code. Name "
                    "a folder, as in hydra.searchpath=[file:///DIR]"
                )
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


class _BoundedRepository(CachingConfigRepository):
    """The files of one composition, each read once, up to a limit.

    The limit is needed, because their lists of defaults may name each other endlessly.
    """

    def __init__(self, delegate: ConfigRepository) -> None:
        self.delegate = copy.copy(delegate)  # Hydra's own copies the whole store of schemas, which is slow
        self.cache = {}
        self._named = 0

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path.startswith("/") or ".." in config_path.split("/"):
            raise ConfigError(
                f"{config_path[:200]}: this file is outside the configuration's folders. Move it into one of them"
            )
        self._named += 1
        if self._named > _MAX_FILES:
            raise ConfigError(f"{config_path}: the defaults lists name more than {_MAX_FILES:,} files. Remove some")
        try:
            return super().load_config(config_path)
        except UnicodeDecodeError:
            raise ConfigError(f"{config_path}.yaml is not UTF-8. Save it with this encoding") from None


def _parse(override: str) -> Override:
    if problem := check_override(override):
        raise ConfigError(f"{override[:80]}: it holds {problem}")
    try:
        return OverridesParser.create().parse_overrides([override])[0]
    except ValueError:  # raised by Python's integers
        raise ConfigError(f"{override[:80]}: this number has too many digits") from None


def _is_own(package: str) -> bool:
    return re.split(r"[./]", package)[0] in _OWN_PACKAGES


def _is_in_the_store(name: str) -> bool:
    """Return whether a schema has this name. A file would replace the schema and lose its types."""
    *groups, option = f"{name}.yaml".split("/")
    node: Any = ConfigStore.instance().repo
    for group in groups:
        node = node.get(group)
        if not isinstance(node, dict):
            return False
    return option in node


def _check_task_name(cfg: DictConfig) -> None:
    """Refuse a name that leads out of `outputs/`, or that has a further line for a scheduler's script."""
    name = str(OmegaConf.select(cfg, "task_name"))
    if ".." in PurePosixPath(name).parts or "\n" in name:
        raise ConfigError(f"task_name={name[:100]!r}: it names a folder of outputs/. Write it on one line, without ..")


def _check_root(cfg: DictConfig, overrides: list[str], name: str) -> None:
    """Refuse a foreign file of this name that chooses the folder of synthetic data, because they are written there."""
    is_synthetic = OmegaConf.select(cfg, "data.kind") == "synthetic"
    if is_synthetic and not any(override.lstrip("+").startswith(f"{ROOT}=") for override in overrides):
        raise ConfigError(
            f"{name}.yaml: {ROOT} is refused in a file from outside conf/, because synthetic data are written "
            f"there. Set it on the command line: {ROOT}=DIR"
        )


@contextmanager
def as_hydras(composed: DictConfig) -> Iterator[None]:
    """Resolve `${hydra:…}` from this configuration within the context."""
    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, cast("HydraConf", composed)
    try:
        yield
    finally:
        instance.cfg = before


def check_control_characters(node: Any, key: str = "") -> None:
    """Refuse keys and values with control characters for a terminal. They are printed, logged and used as file names.

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
