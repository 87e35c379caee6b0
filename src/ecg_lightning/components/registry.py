"""Components by name: the schema of each kind of data set, front end, model and stage, and the class it configures.

Checkpoints and `config.yaml` hold names, so that classes can move. Nothing here imports PyTorch.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Mapping, Set
from typing import Any

from ecg_lightning.components.entry_points import offered, why_absent
from ecg_lightning.components.setting import from_plain
from ecg_lightning.errors import ConfigError, ForeignCodeError, did_you_mean

_SCHEMAS = {
    "data": "ecg_lightning.data.schema",
    "frontend": "ecg_lightning.frontend.schema",
    "model": "ecg_lightning.models.schema",
    "stage": "ecg_lightning.compression.schema",
}
"""The module of each group's schemas, by name, because a low room may not import a higher one."""

_BASES = {"frontend": "FrontendConfig", "model": "ModelConfig", "stage": "StageConfig"}
"""The schema that other packages inherit from, for each group. Packages cannot offer data sets."""

_FORMER = {
    "ecg_lightning.models.vit.ViT": "vit",
    "ecg_lightning.models.deit.DeiT": "deit",
    "ecg_lightning.models.effnetv2.EffNetV2": "effnetv2",
    "ecg_lightning.models.convnext.ConvNeXt": "convnext",
    "ecg_lightning.models.convnet.ConvNet": "convnet",
    "ecg_lightning.models.resnet1d.ResNet1d": "resnet1d",
    "ecg_lightning.models.resnet1d_wang.ResNet1dWang": "resnet1d_wang",
    "ecg_lightning.models.xresnet1d.XResNet1d": "xresnet1d",
    "ecg_lightning.models.inception1d.Inception1d": "inception1d",
    "ecg_lightning.models.lstm.LSTM": "lstm",
    "ecg_lightning.models.s4d.S4D": "s4d",
    "ecg_lightning.models.vit1d.ViT1d": "vit1d",
    "ecg_lightning.models.ensemble.Ensemble": "ensemble",
    "ecg_lightning.frontend.frontend.SignalFrontend": "signal",
    "ecg_lightning.frontend.frontend.MatrixFrontend": "matrix",
    "ecg_lightning.frontend.frontend.StripsFrontend": "strips",
    "ecg_lightning.data.datamodule.PTBXLDataModule": "ptbxl",
    "ecg_lightning.data.datamodule.SyntheticPTBXLDataModule": "synthetic",
    "ecg_lightning.compression.bf16.BF16": "bf16",
    "ecg_lightning.compression.prune_l1.PruneL1": "prune_l1",
    "ecg_lightning.compression.prune_structured.PruneStructured": "prune_structured",
    "ecg_lightning.compression.act_swap.ActSwap": "act_swap",
    "ecg_lightning.compression.distill.Distill": "distill",
    "ecg_lightning.compression.ptq.PTQ": "ptq",
    "ecg_lightning.compression.qat.QAT": "qat",
    "ecg_lightning.compression.fx.FxQAT": "fx_qat",
    "ecg_lightning.compression.fx.FxStatic": "fx_static",
    "ecg_lightning.compression.fx.FxDynamic": "fx_dynamic",
}
"""The name of each class that versions up to 0.2 wrote into checkpoints and `config.yaml`."""

_MOVED = {
    "ecg_lightning.runs.callbacks.StochasticWeightAverage": "ecg_lightning.training.callbacks.StochasticWeightAverage",
}
"""The present class paths of callbacks that versions up to 0.2 wrote into `config.yaml`."""

_KEPT = {"ensemble": ("members", "mc_dropout", "stride_s", "aggregate")}
"""The settings of versions up to 0.2 that are kept; the others had no effect."""


@functools.cache
def options(group: str) -> Mapping[str, type[Any]]:
    """Return the schemas of a group by `kind`: the project's in their module's order, then trusted packages'."""
    own = _own(group)
    return own if group not in _BASES else {**own, **offered(group, _base_of(group), own)}


def others(group: str) -> Mapping[str, type[Any]]:
    """Return the schemas of a group that trusted packages offer, by `kind`."""
    own = _own(group)
    return {kind: schema for kind, schema in options(group).items() if kind not in own}


def why_not_offered(group: str, name: str) -> str | None:
    """Return why an installed package's component cannot be used, or None if no package offers the name."""
    return why_absent(group, name, _base_of(group), _own(group)) if group in _BASES else None


def _own(group: str) -> dict[str, type[Any]]:
    declared: list[type[Any]] = [
        one for one in vars(importlib.import_module(_SCHEMAS[group])).values() if _is_named(one)
    ]
    return {schema.kind: schema for schema in declared}


def _base_of(group: str) -> type[Any]:
    base: type[Any] = getattr(importlib.import_module(_SCHEMAS[group]), _BASES[group])
    return base


def _is_named(declared: Any) -> bool:
    return isinstance(declared, type) and dataclasses.is_dataclass(declared) and "target" in vars(declared)


def targets_of(kinds: Set[str]) -> set[str]:
    """Return the class paths of the components of these kinds, over all groups."""
    return {schema.target for group in _SCHEMAS for kind, schema in options(group).items() if kind in kinds}


def schema_of(group: str, node: Mapping[str, Any], key: str) -> type[Any]:
    """Return the schema that a node's `kind` names.

    Args:
        group: `data`, `frontend`, `model` or `stage`.
        node: the plain settings.
        key: the node's key, for the message.

    Raises:
        ConfigError: the node names no known kind.
        ForeignCodeError: an installed package offers this kind, but it cannot be used.
    """
    known, name = options(group), renamed(node).get("kind") if isinstance(node, Mapping) else None
    if isinstance(name, str) and name not in known and (why := why_not_offered(group, name)):
        raise ForeignCodeError(f"{key}.kind={name:.100}: {why}")
    if not isinstance(name, str) or name not in known:
        raise ConfigError(
            f"{key}.kind={name!s:.100}: there is no such {group}; known are {', '.join(known)}."
            f"{did_you_mean(str(name)[:100], [*known])}"
        )
    return known[name]


def settings_of(group: str, node: Any, key: str) -> Any:
    """Return the typed settings of a node: those of a run are typed, those of a checkpoint or a file are plain.

    Args:
        group: `data`, `frontend`, `model` or `stage`.
        node: settings as a dataclass, which are returned as they are, or as a mapping.
        key: the node's own key, for the message.

    Raises:
        ConfigError: plain settings are of no known kind, or a value does not fit.
    """
    if dataclasses.is_dataclass(node):
        return node
    return from_plain(schema_of(group, node, key), renamed(node), key)


def moved(target: str) -> str:
    """Return the present class path of a callback or logger."""
    return _MOVED.get(target, target)


def renamed(node: Any) -> Any:
    """Return plain settings in which component names replace former class paths, at any depth."""
    if isinstance(node, list):
        return [renamed(one) for one in node]
    if not isinstance(node, Mapping):
        return node
    settings = {name: renamed(value) for name, value in node.items()}
    name = _FORMER.get(node["_target_"]) if isinstance(node.get("_target_"), str) else None
    if name is None:
        return settings
    kept = _KEPT.get(name, settings)
    return {"kind": name, **{key: value for key, value in settings.items() if key in kept and key != "_target_"}}
