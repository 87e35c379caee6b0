"""Typed configuration: all schemas, their registration with Hydra, and their keys. `validation` checks the values.

Each room declares its components' settings in a `schema.py`, see `setting`. Nothing here imports PyTorch, so a wrong
key, type or value is refused in under a second.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import typing
from collections.abc import Iterator
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ecg_lightning.components.registry import options, others
from ecg_lightning.compression.schema import CompressConfig, TrainConfig
from ecg_lightning.data.schema import CheckpointDataConfig
from ecg_lightning.frontend.schema import DEFAULT_FRONTENDS, FrontendConfig

log = logging.getLogger(__name__)

SCHEMAS: dict[str, dict[str, type]] = {
    "data": {**options("data"), "checkpoint": CheckpointDataConfig},
    **{group: {**options(group)} for group in ("frontend", "model", "stage")},
}
"""Schemas of the groups whose options differ in shape. An option's YAML names its own under `/schema/GROUP`."""


@functools.cache
def register() -> None:
    """Register the schemas with Hydra, and make it compose with the checks of `safe_composition`."""
    from hydra.core.config_store import ConfigStore

    from ecg_lightning.config import conf_folder, safe_composition

    safe_composition.install()
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="compress_schema", node=CompressConfig)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)
    for group, name, defaults in _options_of_others():
        if (conf_folder.config_dir() / group / f"{name}.yaml").is_file():
            log.warning("entry point %s: this program has an option %s=%s. It is left out", name, group, name)
        else:
            store.store(group=group, name=name, node={"defaults": [*defaults, "_self_"]})


def _options_of_others() -> Iterator[tuple[str, str, list[Any]]]:
    """Yield the group, the name and the list of defaults of each option from a trusted package's component."""
    for name, schema in others("model").items():
        frontend = DEFAULT_FRONTENDS.get(schema.takes, FrontendConfig).kind
        yield "model", name, [f"/schema/model/{name}@_here_", {"/frontend@_global_.frontend": frontend}]
    for name in others("frontend"):
        yield "frontend", name, [f"/schema/frontend/{name}@_here_"]
    for name in others("stage"):
        yield "compression", name, [f"/schema/stage/{name}@stages.{name}"]


def settings_of(cfg: DictConfig) -> Any:
    """Return a checked configuration as `TrainConfig` or `CompressConfig`, which the rest of the program reads."""
    return OmegaConf.to_object(cfg)


def plain(node: Any) -> dict[str, Any]:
    """Return a configuration node as Python's own types, with resolved interpolations."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def leaf_keys() -> list[str]:
    """Return the dotted keys of all settings of a training, for any choice of options."""
    keys: dict[str, None] = {}
    for entry in dataclasses.fields(TrainConfig):
        for schema in SCHEMAS.get(entry.name, {"": typing.get_type_hints(TrainConfig)[entry.name]}).values():
            keys |= dict.fromkeys(keys_in(schema, entry.name))
    return [*keys]


def keys_in(schema: Any, key: str) -> Iterator[str]:
    """Yield the dotted keys of all settings of a schema, those of its own schemas included."""
    kinds = [one for one in (schema, *typing.get_args(schema)) if dataclasses.is_dataclass(one)]
    if not kinds:
        yield key
        return
    hints = typing.get_type_hints(kinds[0])
    for entry in dataclasses.fields(kinds[0]):
        if entry.name != "kind":
            yield from keys_in(hints[entry.name], f"{key}.{entry.name}")
