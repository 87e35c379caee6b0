"""Settings of a training: Lightning's Trainer, callbacks and folders; without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ecg_lightning.components.setting import MISSING, setting
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.evaluation.metric_table import monitored
from ecg_lightning.frontend.schema import FrontendConfig
from ecg_lightning.hardware.schema import HardwareConfig
from ecg_lightning.models.schema import ModelConfig

MONITORED = monitored()
SEEDS = {"min": 0, "max": 2**32 - 1}


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


@dataclass
class TrainingConfig:
    """Settings of a training and its evaluation. The fit inside a compression stage has them too."""

    task_name: str = setting("train", "folder below outputs/")
    train: bool = setting(True, "whether to train")
    test: bool = setting(True, "whether to score the test folds")
    for_model: str | None = setting(None, "of an experiment: the only model that its settings are for")
    ckpt_path: str | None = setting(
        None, "FILE: a checkpoint; auto: start or resume the run in hydra.run.dir; last: resume it"
    )
    seed: int = setting(0, "random seed of the weights, the records' order, dropout and augmentation", **SEEDS)
    monitor: str = setting(
        "val/f1_macro", "metric of early stopping, of the best checkpoint and of a search", choices=MONITORED
    )
    scored_epoch: str = setting(
        "best", "best: the epoch of the best monitored metric; last: no epoch is chosen", choices=("best", "last")
    )
    n_tried: int = setting(1, "configurations that this one was chosen from; cells of a sweep are counted", min=1)
    cross_validation: list[Any] | None = setting(
        None, "training folds, or groups of them, to hold out once each: [7,8] or [[5,6],[7,8]]"
    )
    data: DataConfig = field(default_factory=DataConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: dict[str, Any] = setting({}, "Lightning's loggers by name, each with a _target_")
    paths: PathsConfig = field(default_factory=PathsConfig)
