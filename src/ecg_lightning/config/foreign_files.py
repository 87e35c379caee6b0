"""Checks of one configuration file: keys that no file may set, and folders that no foreign file may choose.

Only the command line and the program's own files may choose where a run, a sweep or a search is written. A file from
`--config-dir` or `hydra.searchpath` may be a stranger's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_lightning.config import conf_folder
from ecg_lightning.errors import ConfigError

_OF_NO_FILE = {
    "hydra.runtime": "Hydra fills it in",
    "hydra.overrides": "it holds what was typed",
    "hydra.job.env_copy": "a variable may be a secret, and it is written to the run's folder. Set it in the shell",
}
_NODES = ("hydra", "hydra.job", "hydra.help", "hydra.hydra_help")
_SEARCHPATH = "hydra.searchpath"
_OF_NO_FOREIGN_FILE = {
    "hydra.run": "hydra.run.dir=DIR",
    "hydra.sweep": "hydra.sweep.dir=DIR",
    "hydra.job.config": "hydra.job.config.override_dirname.kv_sep=TEXT",
    "hydra.sweeper.storage": "hydra.sweeper.storage='\"sqlite:///FILE\"'",
    "hydra.launcher.submitit_folder": "hydra.launcher.submitit_folder=DIR",
    "hydra.launcher.temp_folder": "hydra.launcher.temp_folder=DIR",
    "paths": "hydra.run.dir=DIR",
    "data.cache_dir": "data.cache_dir=DIR",
}
"""Keys of folders and files that are written to, and how to set them."""

ROOT = "data.root"
"""Folder that is read, and also written to if the data are synthetic; see `sets_root`."""


def is_foreign(source: str) -> bool:
    """Return whether a configuration's source, as in `file:///DIR`, is another folder than the program's own."""
    scheme, _, folder = source.partition("://")
    return scheme == "file" and Path(folder).resolve() != conf_folder.config_dir().resolve()


def check_file(content: Any, name: str, *, foreign: bool, primary: bool) -> None:
    """Refuse keys that no file may set, and keys that no foreign file may set.

    Args:
        content: content of the file at its place in the configuration, with unresolved interpolations.
        name: path of the file below the configuration's folders, for the message.
        foreign: whether the file is not the program's own.
        primary: whether the file is the root, which alone may name further folders.

    Raises:
        ConfigError: names the file, the key and how to fix it.
    """
    for key in _NODES:
        if _holds(content, key) and not isinstance(node := _at(content, key), Mapping):
            raise ConfigError(f"{name}.yaml: {key}={str(node)[:100]}: it must be a mapping, as in {key}: {{}}")
    for key, why in _OF_NO_FILE.items():
        if _holds(content, key):
            raise ConfigError(f"{name}.yaml: {key} is refused in a file: {why}")
    if _holds(content, _SEARCHPATH) and not primary:
        raise ConfigError(
            f"{name}.yaml: {_SEARCHPATH} is refused here. Name the folder on the command line: "
            f"{_SEARCHPATH}=[file:///DIR]"
        )
    swept = {str(name).lstrip("+") for name in _at(content, "hydra.sweeper.params") or ()}
    for key, way_out in {**_OF_NO_FOREIGN_FILE, ROOT: f"{ROOT}=DIR"}.items() if foreign else ():
        if key in swept or (key != ROOT and _holds(content, key)):
            raise ConfigError(
                f"{name}.yaml: {key} is refused in a file from outside conf/, because it decides where files are "
                f"written. Set it on the command line: {way_out}"
            )


def sets_root(content: Any) -> bool:
    """Return whether a file's content, at its place in the configuration, chooses the folder of the data."""
    return _at(content, ROOT) is not None


def _holds(content: Any, key: str) -> bool:
    above, _, name = key.rpartition(".")
    node = _at(content, above) if above else content
    return isinstance(node, Mapping) and name in node


def _at(content: Any, key: str) -> Any:
    """Return the node at a key; None if there is none."""
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return None
        content = content[part]
    return content
