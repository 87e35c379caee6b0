"""Settings of a training: Lightning's Trainer, callbacks and folders; without PyTorch."""

from __future__ import annotations

from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol

from ecg_lightning.components.setting import MISSING, setting
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.evaluation.metric_table import monitored
from ecg_lightning.frontend.schema import FrontendConfig
from ecg_lightning.hardware.schema import HardwareConfig
from ecg_lightning.models.schema import ModelConfig

MONITORED = monitored()


@dataclass
class TrainerConfig:
    """The arguments of Lightning's Trainer that are commonly set."""

    max_epochs: int = setting(30, "number of epochs, at most", min=1)
    max_time: str | None = setting(
        None, "longest time of the training, DD:HH:MM:SS", pattern=(r"\d+:\d\d:\d\d:\d\d", "DD:HH:MM:SS")
    )
    gradient_clip_val: float | None = setting(1.0, "largest norm of the gradient; null: not clipped", min=0.0)
    accumulate_grad_batches: int = setting(1, "batches whose gradients are added before a step", min=1)
    limit_train_batches: Any = setting(None, "batches of an epoch, or share of them; null: all", batches=True)
    limit_val_batches: Any = setting(None, "batches of a validation, or share of them; null: all", batches=True)
    limit_test_batches: Any = setting(None, "batches of the test, or share of them; null: all", batches=True)
    overfit_batches: Any = setting(0, "batches to learn by heart, or share of them; 0: off", batches=True)
    fast_dev_run: Any = setting(False, "whether a single batch of each split is run, or how many", batches=True)
    log_every_n_steps: int = setting(25, "steps from one logged loss to the next", min=1)
    profiler: str | None = setting(None, "Lightning's profiler", choices=("simple", "advanced", "pytorch"))
    detect_anomaly: bool = setting(False, "whether PyTorch looks for the operation that gave NaN")
    deterministic: bool = setting(False, "whether PyTorch refuses operations whose results vary")
    extra: dict[str, Any] = setting({}, "any other argument of Lightning's Trainer, +trainer.extra.NAME=VALUE")


@dataclass
class EarlyStoppingConfig:
    """Stop when the monitored metric no longer improves."""

    monitor: str = setting("${monitor}", "metric that must improve", choices=(*MONITORED, "val/loss"))
    mode: str = setting("max", "whether more or less is better", choices=("min", "max"))
    patience: int = setting(10, "validations without improvement before the training stops", min=0)
    min_delta: float = setting(0.0, "smallest change that counts as an improvement")


@dataclass
class CallbacksConfig:
    """Lightning's callbacks."""

    early_stopping: EarlyStoppingConfig | None = setting(None, "null: train all epochs")
    collapse_guard: bool = setting(True, "whether a network that predicts one class is reported")
    figures: bool = setting(True, "whether figures are drawn at the end")
    snapshots: int = setting(0, "checkpoints to keep during the training, evenly spaced, for model=ensemble", min=0)
    extra: dict[str, Any] = setting({}, "further callbacks of Lightning by name, each with a _target_")


@dataclass
class PathsConfig:
    """Folders of a run."""

    output_dir: str = setting(MISSING, "the run's folder; set it with hydra.run.dir=DIR")


class FitSettings(Protocol):
    """Settings that every fit has: where it runs and how long, its checkpoints and its logs."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    monitor: str
    scored_epoch: str
    hardware: HardwareConfig
    trainer: TrainerConfig
    callbacks: CallbacksConfig
    logger: dict[str, Any]
    paths: PathsConfig


class TrainingSettings(FitSettings, Protocol):
    """Settings of a training and its evaluation: those of `config.schema.TrainConfig`."""

    train: bool
    test: bool
    ckpt_path: str | None
    seed: int
    cross_validation: list[Any] | None
    data: DataConfig
    frontend: FrontendConfig
    model: ModelConfig


@dataclass
class Fit:
    """The settings of one fit."""

    monitor: str
    scored_epoch: str
    hardware: HardwareConfig
    trainer: TrainerConfig
    callbacks: CallbacksConfig
    logger: dict[str, Any]
    paths: PathsConfig
