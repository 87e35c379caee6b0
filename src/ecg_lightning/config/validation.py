"""Checks that types cannot express. An error is one sentence with the key, its value and how to fix it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ecg_lightning.components.registry import settings_of
from ecg_lightning.components.setting import check_value
from ecg_lightning.config.schema import plain
from ecg_lightning.data.folds import fold_groups
from ecg_lightning.data.schema import FolderConfig, PTBXLConfig, SyntheticConfig
from ecg_lightning.errors import ConfigError, did_you_mean
from ecg_lightning.frontend.schema import DEFAULT_FRONTENDS, FrontendConfig
from ecg_lightning.models.schema import ModelConfig
from ecg_lightning.training.schema import TrainerConfig

RENAMED_EXPERIMENTS = {
    f"seed_{name}": f"original_{name}" for name in ("vit", "deit", "effnetv2", "effnetv2_no_early_stopping", "convnext")
}
"""New name of each experiment whose old name still works in this version."""


def validate(cfg: DictConfig) -> None:
    """Check a training's settings beyond their types, before anything slow is imported or anything is written.

    Raises:
        ConfigError: names the key, its value and what is allowed.
    """
    _check_values(cfg)
    _check_stages(cfg)
    if cfg.train:  # otherwise the checkpoint has the model and its front end
        _check_frontend(cfg)
        cast(ModelConfig, OmegaConf.to_object(cfg.model)).check("model")
    _check_folds(cfg)
    _check_callbacks(cfg)
    _check_cross_validation(cfg)
    if not (cfg.train or cfg.test):
        raise ConfigError("train=false test=false leaves nothing to do. Set one of them to true")
    if not cfg.train and not cfg.ckpt_path:
        raise ConfigError("train=false needs a model to evaluate. Set ckpt_path=FILE to a checkpoint of ecg_lightning")
    if not cfg.train and cfg.ckpt_path in ("last", "auto"):
        raise ConfigError(
            f"train=false ckpt_path={cfg.ckpt_path}: only a training can be resumed. Name the checkpoint to "
            "evaluate, such as ckpt_path=RUN/checkpoints/best.ckpt"
        )
    if cfg.compression.deploy and not (cfg.train and cfg.test):
        raise ConfigError(
            "compression needs a training and a test. Set train=true test=true, or compress a checkpoint with "
            "python compress.py ckpt_path=FILE"
        )
    if cfg.compression.stages and not cfg.compression.deploy:
        raise ConfigError(
            f"compression.deploy=false skips compression.stages.{next(iter(cfg.compression.stages))}. Set "
            "compression.deploy=true, or choose compression=off"
        )
    _check_limits(cfg, [*(("train", "val") if cfg.train else ()), *(("test",) if cfg.test else ())])
    _check_devices(cfg)
    _check_root(cfg.data)
    _check_class_map(cfg)


def check_experiment(for_model: str | None, choices: Mapping[str, str]) -> None:
    """Refuse an experiment for one model with another model, which would silently get its rate and clipping.

    Args:
        for_model: model of the experiment, from its file; None for any model.
        choices: option chosen in each config group.

    Raises:
        ConfigError: another model was chosen.
    """
    model = choices.get("model")
    if for_model is not None and model != for_model:
        raise ConfigError(
            f"`experiment={choices.get('experiment')}` configures `model={for_model}` and cannot be combined with "
            f"`model={model}`. Drop `model=`, or choose another experiment"
        )


def check_without_effect(overrides: Sequence[str]) -> None:
    """Refuse settings of the model in an evaluation, which uses the checkpoint's windows, front end and thresholds.

    Args:
        overrides: the command line's settings.

    Raises:
        ConfigError: one of them would have no effect.
    """
    for override in overrides:
        if re.match(r"[+~]*(model|frontend)[./=]", override):
            recut = ""
            if re.search("stride_s|aggregate", override):
                recut = (
                    ". To test with other windows, use model=ensemble model.members=[FILE] model.stride_s=0.5 "
                    "model.aggregate=mean, which also chooses new thresholds"
                )
            raise ConfigError(
                f"{override} has no effect with train=false, which evaluates the checkpoint's model and front "
                f"end. Remove it{recut}"
            )


def validate_compression(cfg: DictConfig) -> None:
    """Check the settings of a compression beyond their types.

    Raises:
        ConfigError: names the key, its value and what is allowed.
    """
    _check_values(cfg)
    _check_stages(cfg)
    _check_limits(cfg, ("train", "val", "test"))
    for key, value, instead in (
        ("trainer.max_epochs", cfg.trainer.max_epochs != TrainerConfig.max_epochs, "compression.fine_tune.epochs"),
        ("monitor", cfg.monitor != cfg.compression.fine_tune.monitor, "compression.fine_tune.monitor"),
        ("hardware.compile", cfg.hardware.compile, None),
    ):
        if value:
            way_out = f"Set {instead}" if instead else "Remove it"
            raise ConfigError(f"{key} has no effect in compress.py, which only fine-tunes its stages. {way_out}")
    if not cfg.compression.deploy:
        raise ConfigError(
            "compression.deploy=false leaves compress.py nothing to do. Choose compression=none to export and time the "
            "model as it is"
        )
    if not cfg.ckpt_path:
        raise ConfigError("compress.py needs a trained model. Set ckpt_path=FILE, such as RUN/checkpoints/best.ckpt")
    _check_devices(cfg)
    if "kind" in cfg.data:
        _check_root(cfg.data)


def _check_values(cfg: DictConfig) -> None:
    for key, value, metadata in _fields(cfg):
        check_value(key, value, metadata)


def _check_limits(cfg: DictConfig, phases: Iterable[str]) -> None:
    for phase in phases:
        if cfg.trainer[f"limit_{phase}_batches"] == 0:
            raise ConfigError(f"trainer.limit_{phase}_batches=0 leaves nothing to do. Set at least 1 batch")


def _check_callbacks(cfg: DictConfig) -> None:
    n_snapshots, n_epochs = cfg.callbacks.snapshots, cfg.trainer.max_epochs
    if n_snapshots and (n_epochs % n_snapshots or n_epochs == n_snapshots):
        raise ConfigError(
            f"callbacks.snapshots={n_snapshots}: trainer.max_epochs={n_epochs} must be a multiple of it, at least "
            "twice, to space the snapshots evenly. Change one of them"
        )
    stopping = cfg.callbacks.early_stopping
    if stopping is not None and stopping.mode != (wanted := "min" if stopping.monitor == "val/loss" else "max"):
        raise ConfigError(
            f"callbacks.early_stopping.monitor={stopping.monitor} with mode={stopping.mode} would stop when the "
            f"model improves. Set callbacks.early_stopping.mode={wanted}"
        )


def _check_stages(cfg: DictConfig) -> None:
    for name, stage in cfg.compression.stages.items():
        if name == "baseline" or not re.fullmatch(r"\w+", str(name)):
            raise ConfigError(
                f"compression.stages.{name}: this name is not allowed. Use letters and digits, and any name but "
                "baseline"
            )
        if not isinstance(stage, DictConfig) or "kind" not in stage:
            raise ConfigError(
                f"compression.stages.{name}: this is not a stage. Choose compression=NAME, such as prune_qat"
            )
        key = f"compression.stages.{name}"
        settings_of("stage", OmegaConf.to_object(stage), key).check(key)
    batches = list(cfg.compression.latency.batches)
    if 1 not in batches or any(batch < 1 for batch in batches):
        raise ConfigError(
            f"compression.latency.batches={batches}: include 1, which the comparison of variants uses, and only "
            "positive numbers"
        )


def _check_cross_validation(cfg: DictConfig) -> None:
    if cfg.cross_validation is None:
        return
    groups, train = fold_groups(cfg.cross_validation), list(cfg.data.train_folds)
    folds = [fold for group in groups for fold in group]
    if (
        not (groups and all(groups))
        or not all(type(fold) is int for fold in folds)  # True would count as 1
        or len({*folds}) < len(folds)
        or not {*folds} <= {*train}
        or any({*group} == {*train} for group in groups)
    ):
        raise ConfigError(
            f"cross_validation={plain(cfg)['cross_validation']}: give distinct folds of data.train_folds={train}, "
            "as numbers or as lists of folds to hold out together, and leave at least one to train on"
        )
    if not cfg.train or cfg.ckpt_path not in (None, "last", "auto") or cfg.compression.deploy:
        raise ConfigError(
            "cross_validation trains a model for each fold. Keep train=true and compression=off, and set "
            "ckpt_path only to last or auto, which resume an interrupted cross-validation"
        )


def _check_devices(cfg: DictConfig) -> None:
    if cfg.hardware.devices > 1:
        raise ConfigError(
            f"hardware.devices={cfg.hardware.devices}: this version trains on one device. Set it to 1, and run "
            "cells of a sweep in parallel to use several"
        )


def _check_root(data: DictConfig) -> None:
    if "task" in data and data.task in ("form", "rhythm", "all") and data.label_rule != "benchmark":
        raise ConfigError(
            f"data.task={data.task} data.label_rule={data.label_rule}: form and rhythm have no likelihood in "
            "PTB-XL (it is always 0), so this rule would drop them. Use data.label_rule=benchmark"
        )
    schema = cast(type, OmegaConf.get_type(data))
    if issubclass(schema, FolderConfig):
        _check_folder(data)
    elif issubclass(schema, SyntheticConfig):
        if data.root and _holds_real_data(Path(data.root).expanduser()):
            raise ConfigError(f"data.root={data.root} holds real data. Add data=ptbxl to read it")
    elif issubclass(schema, PTBXLConfig):
        if data.root is None:
            raise ConfigError(
                "data=ptbxl needs data.root=DIR, the folder that holds ptbxl_database.csv. Set it, or use "
                "data=synthetic"
            )
        from ecg_lightning.data.ptbxl import check_root  # pandas, but not PyTorch

        check_root(Path(data.root).expanduser())


def _check_class_map(cfg: DictConfig) -> None:
    class_map = cfg.data.get("class_map")
    if class_map is None:
        return
    if cfg.train:
        raise ConfigError(
            "data.class_map names the columns of a checkpoint's classes, so it only applies with train=false. Remove it"
        )
    if not isinstance(class_map, DictConfig) or not all(isinstance(one, str) for one in class_map.values()):
        raise ConfigError(
            f"data.class_map={class_map}: give the table's column of each class, as in 'data.class_map={{MI: infarct}}'"
        )


def _check_folder(data: DictConfig) -> None:
    if data.root is None or data.table is None:
        raise ConfigError(
            "data=folder needs data.root=DIR, the folder of the records, and data.table=FILE, the CSV table with their "
            "labels. Set both"
        )
    from ecg_lightning.data.folder import FolderSource, check_folder  # pandas, but not PyTorch

    source = FolderSource(FolderConfig(root=data.root, table=data.table))
    check_folder(source.root, source.file)


def _holds_real_data(root: Path) -> bool:
    from ecg_lightning.data.ptbxl import SYNTHETIC_MARKER, TABLES  # pandas, but not PyTorch

    return (root / TABLES[0]).exists() and not (root / SYNTHETIC_MARKER).exists()


def _fields(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield key, value and metadata of every field of every dataclass in the tree."""
    schema = OmegaConf.get_type(node)
    if dataclasses.is_dataclass(schema):  # `+key=` may have added keys
        names = [entry.name for entry in dataclasses.fields(schema)]
        if unknown := [str(name) for name in node if name not in names]:
            raise ConfigError(f"{prefix}{unknown[0]}: there is no such key.{did_you_mean(unknown[0], names)}")
    else:  # a dictionary, such as the stages
        for name, value in node.items():
            if isinstance(value, DictConfig):
                yield from _fields(value, f"{prefix}{name!s}.")
    for entry in dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else ():
        key = f"{prefix}{entry.name}"
        if OmegaConf.is_missing(node, entry.name):
            if entry.name != "output_dir":
                raise ConfigError(f"{key} is not set. Add {key}=VALUE")
            continue
        value = node[entry.name]
        if isinstance(value, DictConfig):
            yield from _fields(value, f"{key}.")
        elif value is not None:
            yield key, value, dict(entry.metadata)


def _check_frontend(cfg: DictConfig) -> None:
    model, frontend = (cast(Any, OmegaConf.get_type(node)) for node in (cfg.model, cfg.frontend))
    if model.takes not in ("any", frontend.gives):
        way_out = f"frontend={DEFAULT_FRONTENDS[model.takes].kind}"
        if model.takes == "image":
            raise ConfigError(f"frontend={frontend.kind} makes no image, but this model needs one. Use {way_out}")
        raise ConfigError(
            f"model={model.kind} needs the signal, but frontend={frontend.kind} makes an image. Remove the frontend "
            f"setting, or use {way_out}"
        )
    cast(FrontendConfig, OmegaConf.to_object(cfg.frontend)).check(cfg.model.get("patch_size", 1))


def _check_folds(cfg: DictConfig) -> None:
    used = [*(("train", "val") if cfg.train else ()), *(("test",) if cfg.test else ())]
    splits = {name: list(cfg.data[f"{name}_folds"]) for name in used}
    for name, folds in splits.items():
        if not folds or any(not 1 <= fold <= 10 for fold in folds):
            raise ConfigError(f"data.{name}_folds={folds}: give at least one fold, each from 1 to 10")
    for one, other in itertools.combinations(used, 2):
        if shared := sorted(set(splits[one]) & set(splits[other])):
            raise ConfigError(
                f"data.{one}_folds and data.{other}_folds share fold {shared[0]}. Give each fold to one split"
            )
