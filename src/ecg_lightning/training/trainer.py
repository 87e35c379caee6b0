"""Lightning's trainers: one that fits, with its checkpoints and callbacks, and one that evaluates."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    Timer,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler

from ecg_lightning.checkpoints.building import build_callbacks
from ecg_lightning.checkpoints.io import AtomicCheckpointIO
from ecg_lightning.errors import ConfigError, did_you_mean
from ecg_lightning.training.callbacks import CollapseGuard
from ecg_lightning.training.learning_curves import LearningCurves
from ecg_lightning.training.progress import ProgressLine
from ecg_lightning.training.schema import TrainerConfig, TrainingConfig

T = TypeVar("T")

_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
_BUILT = ("extra", "max_time", "profiler")  # settings that are not passed on to the Trainer unchanged

_OWN_TRAINER_ARGUMENTS = {
    *(entry.name for entry in fields(TrainerConfig)),
    "accelerator",
    "devices",
    "strategy",
    "precision",
    "callbacks",
    "logger",
    "plugins",
    "default_root_dir",
    "enable_progress_bar",
    "enable_model_summary",
    "num_sanity_val_steps",
    "gradient_clip_algorithm",
}
"""Arguments of Lightning's Trainer that this package sets itself."""

# Lightning's notices repeat in every run and advertise. Its warnings stay.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def make_trainer(
    settings: TrainingConfig, device: Mapping[str, Any], loggers: list[Logger], callbacks: Sequence[Callback] = ()
) -> L.Trainer:
    """Return the trainer that fits, with checkpoints, early stopping, progress, and the user's callbacks.

    Args:
        settings: the run's configuration.
        device: arguments from `hardware.device.prepare`.
        loggers: loggers from `building.build_loggers`.
        callbacks: further callbacks.
    """
    output_dir = Path(settings.paths.output_dir)
    return L.Trainer(
        **device,
        **{name: value for name, value in asdict(settings.trainer).items() if name not in _BUILT},
        **_extra_arguments(settings.trainer.extra),
        callbacks=[*_callbacks(settings, output_dir, logged=bool(loggers)), *callbacks],
        logger=loggers,
        profiler=_PROFILERS[settings.trainer.profiler](output_dir, "profile") if settings.trainer.profiler else None,
        # In SLURM's own environment Lightning would handle signals itself, and requeue the job.
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        default_root_dir=output_dir,
        enable_model_summary=False,  # `announce` logs it
        num_sanity_val_steps=0,
    )


def make_evaluator(settings: TrainingConfig, device: Mapping[str, Any]) -> L.Trainer:
    """Return a trainer without loggers, so that the best checkpoint's scores are not points of the training curves.

    Args:
        settings: the run's configuration.
        device: arguments from `hardware.device.prepare`.
    """
    limits = {
        name: getattr(settings.trainer, name) for name in ("limit_val_batches", "limit_test_batches", "fast_dev_run")
    }
    return L.Trainer(
        **device,
        **limits,
        logger=False,
        plugins=[LightningEnvironment()],
        enable_model_summary=False,
        callbacks=[ProgressLine()],
    )


def callbacks_of(trainer: L.Trainer, kind: type[T]) -> list[T]:
    """Return a trainer's callbacks of one class."""
    callbacks: list[Any] = cast(Any, trainer).callbacks
    return [callback for callback in callbacks if isinstance(callback, kind)]


def _extra_arguments(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `trainer.extra`, if Lightning's Trainer has them.

    Raises:
        ConfigError: Lightning's Trainer has no such argument, or this package sets it.
    """
    known = list(inspect.signature(L.Trainer).parameters)
    for name in extra:
        if name in _OWN_TRAINER_ARGUMENTS:
            raise ConfigError(f"trainer.extra.{name}: ecg_lightning sets this argument itself. Remove it")
        if name not in known:
            raise ConfigError(
                f"trainer.extra.{name}: Lightning's Trainer has no such argument.{did_you_mean(name, known)}"
            )
    return dict(extra)


def _callbacks(settings: TrainingConfig, output_dir: Path, logged: bool) -> list[Callback]:
    """Return the callbacks: best and last checkpoint, early stopping, guard, progress, and those of the user."""
    common: dict[str, Any] = {
        "dirpath": output_dir / "checkpoints",
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    every_epoch = {"every_n_epochs": 1, "save_on_train_epoch_end": True, **common}  # validated or not
    scored = {"monitor": settings.monitor, **common} if settings.scored_epoch == "best" else every_epoch
    callbacks: list[Callback] = [
        ModelCheckpoint(filename="best", mode="max", **scored),  # Lightning tells the two apart by the mode
        # A second callback, because `save_last` of the first is late until the metric improves.
        ModelCheckpoint(filename="last", **every_epoch),
        *_snapshots(settings, every_epoch),
        ProgressLine(),
        LearningCurves(),
        Timer(settings.trainer.max_time),  # the checkpoints hold its time
    ]
    if settings.callbacks.early_stopping is not None:
        callbacks.append(EarlyStopping(**asdict(settings.callbacks.early_stopping)))
    if settings.callbacks.collapse_guard:
        callbacks.append(CollapseGuard())
    if logged:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    return callbacks + build_callbacks(settings.callbacks.extra, output_dir)


def _snapshots(settings: TrainingConfig, every_epoch: Mapping[str, Any]) -> list[Callback]:
    """Return the callback that saves a snapshot ensemble's members (Huang et al. 2017, arXiv 1704.00109).

    The step is in each file's name.
    """
    if not settings.callbacks.snapshots:
        return []
    every = {"every_n_epochs": settings.trainer.max_epochs // settings.callbacks.snapshots, "save_top_k": -1}
    return [ModelCheckpoint(filename="snapshot{step:06d}", **{**every_epoch, **every})]
