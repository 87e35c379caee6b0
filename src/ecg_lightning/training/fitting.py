"""The fit: start or resume it, choose the faster number of threads, and return to the scored epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger

from ecg_lightning.checkpoints.loading import read_checkpoint
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.errors import CheckpointError, ConfigError
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.results.results import RunResult
from ecg_lightning.system import stopping
from ecg_lightning.training import tensorboard
from ecg_lightning.training.announce import announce, records_of_an_epoch
from ecg_lightning.training.callbacks import CollapseGuard
from ecg_lightning.training.learning_curves import LearningCurves
from ecg_lightning.training.longer_schedule import LongerSchedule
from ecg_lightning.training.preparing import Prepared
from ecg_lightning.training.resume import Place, Resume
from ecg_lightning.training.schema import TrainingConfig
from ecg_lightning.training.step_time import choose_threads, may_choose
from ecg_lightning.training.stop_guard import StopGuard
from ecg_lightning.training.trainer import callbacks_of, make_trainer


@dataclass
class Fitted:
    """Values that a fit leaves besides the weights.

    Attributes:
        n_steps: number of optimizer steps.
        epochs: losses and scores of the epochs, see `LearningCurves`.
    """

    n_steps: int = 0
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)


def fit(settings: TrainingConfig, prepared: Prepared, loggers: list[Logger], result: RunResult) -> Fitted:
    """Train, return to the scored epoch, and return the fit's steps and epochs.

    Args:
        settings: settings of the run.
        prepared: device, model and data.
        loggers: loggers of the curves.
        result: the run's result, which gets times and notes.

    Raises:
        CheckpointError: the training cannot be resumed.
        ConfigError: the training ended before an epoch was finished.
    """
    device, resume = prepared.device, prepared.resume
    module, datamodule = prepared.module, prepared.datamodule
    guard = StopGuard(Path(settings.paths.output_dir) / "checkpoints" / "last.ckpt")
    is_longer = resume and (resume.max_epochs is None or resume.max_epochs < settings.trainer.max_epochs)
    longer = [LongerSchedule(resume.max_epochs)] if resume and is_longer else []
    trainer = make_trainer(settings, device, loggers, [*longer, guard])
    precision, step_s = device["precision"], None
    if resume is None:
        step_s = _choose_threads(settings, module, datamodule, precision, result)
    module.prepare_teacher(trainer, datamodule.datasets["train"])  # before a step is timed
    announce(
        settings,
        module,
        datamodule,
        precision,
        resume.place.epoch if resume else 0,
        seconds_per_record=None if module.distillation else step_s,
    )
    tensorboard.log_hyperparameters(loggers, settings, result.choices, result.host, module.followed())
    if not module.trainable:
        return Fitted()
    _train(trainer, module, datamodule, resume, guard)
    result.timing = _timing(trainer, datamodule.batch_size)
    if module.distillation:
        result.timing["teacher_s"] = module.distillation.prepared_in_s
    if not settings.trainer.fast_dev_run:  # fast_dev_run writes no checkpoint
        _back_to_best(module, Path(settings.paths.output_dir), result)
    best_epoch = result.timing.get("best_epoch")
    result.notes += [note for guard in callbacks_of(trainer, CollapseGuard) for note in guard.notes(best_epoch)]
    return Fitted(trainer.global_step, callbacks_of(trainer, LearningCurves)[0].epochs)


def _train(
    trainer: L.Trainer, module: ECGModule, datamodule: ECGDataModule, resume: Resume | None, guard: StopGuard
) -> None:
    """Start or resume the training."""
    datamodule.start_at(*(resume.place if resume else Place()))
    with stopping.held():  # the guard stops it where nothing is lost
        try:
            path = str(resume.path) if resume else None
            trainer.fit(module, datamodule=datamodule, ckpt_path=path, weights_only=True)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if resume is None or guard.has_started:
                raise
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{resume.path} cannot be resumed: {reason}. Use another checkpoint") from error


def _choose_threads(
    settings: TrainingConfig, module: ECGModule, datamodule: ECGDataModule, precision: str, result: RunResult
) -> float | None:
    """Use the faster number of threads, and store it in the result and the checkpoints, unless the user set a number.

    Returns:
        Seconds of a step for one record, without a teacher; None if nothing was measured.
    """
    is_free = may_choose(settings.hardware, settings.trainer)
    # A compiled network is compiled again for each number of threads, which takes longer than it gains.
    if not is_free or settings.hardware.compile or not module.trainable:
        return None
    n_records = records_of_an_epoch(settings.trainer, datamodule) * settings.trainer.max_epochs
    threads, step_s = choose_threads(module, datamodule, precision, n_records)
    result.host["threads"] = module.description["training"]["threads"] = threads
    return step_s


def _timing(trainer: L.Trainer, batch_size: int) -> dict[str, float]:
    """Return the times of the whole fit, with the parts before a resumption."""
    timer = callbacks_of(trainer, Timer)[0]
    timing = {"fit_s": timer.time_elapsed(), "epochs": trainer.current_epoch}
    if timing["fit_s"]:
        n_batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        timing["samples_per_s"] = n_batches * batch_size / timing["fit_s"]
    return timing


def _back_to_best(module: ECGModule, output_dir: Path, result: RunResult) -> None:
    """Load the best checkpoint into the module, because it is evaluated, compressed and scored."""
    path = output_dir / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise ConfigError(
            "training ended before an epoch was finished, so there is no checkpoint to score. Allow more "
            "trainer.max_time, or more trainer.max_epochs than the resumed checkpoint has"
        )
    checkpoint = read_checkpoint(path)
    module.load_state_dict(checkpoint["state_dict"])
    result.timing["best_epoch"] = checkpoint["epoch"] + 1
    if checkpoint.get("averaging_state", {}).get("n_averaged", 2) <= 1:
        result.notes.append(
            f"the scored epoch {checkpoint['epoch'] + 1} ended before the averaging began, so its weights are not "
            "averaged. Set scored_epoch=last"
        )
