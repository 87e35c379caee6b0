"""The fit inside a stage: a real Lightning fit with the run's data, metrics, early stopping and logging."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer

from ecg_lightning.checkpoints.building import build_loggers
from ecg_lightning.checkpoints.loading import read_checkpoint
from ecg_lightning.compression.schema import CompressionSettings
from ecg_lightning.compression.tools.masks import KeepZeros
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.hardware.device import to_channels_last
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.schema import OptimizerConfig, SchedulerConfig, TeachingConfig
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.training.announce import records_of_an_epoch
from ecg_lightning.training.schema import PathsConfig, TrainingConfig
from ecg_lightning.training.step_time import choose_threads, may_choose
from ecg_lightning.training.trainer import callbacks_of, make_evaluator, make_trainer

log = logging.getLogger(__name__)


class StageFit:
    """Fine-tunes one stage's classifier; see `stage.Fit`.

    Attributes:
        epochs: number of epochs of a fit, unless the stage asks for another number.
        timing: seconds and epochs of the fits so far. A fit whose start was kept counts no epochs.
        notes: sentences that a reader of the figures must know.

    Args:
        settings: the run's configuration.
        device: arguments from `hardware.device.prepare`.
        datamodule: data module with its splits loaded.
        teacher: the uncompressed model.
        folder: folder of this stage's logs.
        keep_zeros: whether weights were pruned, by this stage or one before it.
    """

    def __init__(
        self,
        settings: CompressionSettings,
        device: Mapping[str, Any],
        datamodule: ECGDataModule,
        teacher: ECGClassifier,
        folder: Path,
        keep_zeros: bool = False,
    ) -> None:
        self.settings = settings
        self.device = device
        self.datamodule = datamodule
        self.teacher = teacher
        self.folder = folder
        self.keep_zeros = keep_zeros
        self.epochs: int = settings.compression.fine_tune.epochs
        self.timing = {"fit_s": 0.0, "epochs": 0.0}
        self.notes: list[str] = []
        self._threads: int | None = None  # not chosen yet

    def __call__(
        self,
        classifier: ECGClassifier,
        epochs: int | None = None,
        lr: float | None = None,
        precision: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> ECGClassifier:
        """See `stage.Fit`."""
        epochs = self.epochs if epochs is None else epochs
        if epochs == 0:
            return classifier.eval()
        own_teacher = classifier.distillation
        self._prepare(classifier, lr)
        own = self._settings_of(epochs)
        device = dict(self.device) | ({"precision": precision} if precision else {})
        loggers = build_loggers(own.logger, str(self.folder))
        keeping = [KeepZeros()] if self.keep_zeros else []
        trainer = make_trainer(own, device, loggers, [*keeping, *callbacks])
        with self._faster_threads(classifier, device["precision"], epochs):
            before, start = self._score(classifier), copy.deepcopy(classifier.state_dict())
            classifier.train()  # Lightning leaves modules in the mode that it finds them in
            trainer.fit(classifier, datamodule=self.datamodule)
        self.timing["epochs"] += self._keep_best(classifier, trainer, before, start)
        self.timing["fit_s"] += callbacks_of(trainer, Timer)[0].time_elapsed()
        classifier.distillation = own_teacher
        classifier.to("cpu")
        # With channels_last weights, the exporter makes another PT2E graph, which runtimes round differently.
        classifier.network.to(memory_format=torch.contiguous_format)
        return classifier.eval()

    def _prepare(self, classifier: ECGClassifier, lr: float | None) -> None:
        """Give the classifier the recipe of a fine-tuning, and the teacher unless it has one."""
        fine_tune, own_teacher = self.settings.compression.fine_tune, classifier.distillation
        # A student is trained by its own recipe.
        decay = classifier.settings.optimizer.weight_decay if own_teacher else fine_tune.weight_decay
        classifier.settings = replace(
            classifier.settings,
            optimizer=OptimizerConfig("adamw", lr or fine_tune.lr, decay),
            scheduler=SchedulerConfig("cosine", fine_tune.warmup),
        )
        if own_teacher is None and fine_tune.alpha < 1:
            classifier.distillation = Distillation(
                copy.deepcopy(self.teacher), TeachingConfig(fine_tune.alpha, fine_tune.temperature)
            )
        if self.settings.hardware.channels_last:  # it speeds FX's training graphs up more than any other
            teacher = classifier.distillation.teacher if classifier.distillation else None
            for one in (classifier, teacher):
                if isinstance(one, ECGClassifier):
                    to_channels_last(one.network)

    def _keep_best(self, classifier: ECGClassifier, trainer: L.Trainer, before: float, start: dict[str, Any]) -> int:
        """Give the classifier the weights of the best epoch, or of the start if they were better.

        Returns:
            The number of epochs that the weights were trained for; 0 if the start was kept.
        """
        checkpoints, kept = self.folder / "checkpoints", trainer.current_epoch
        if (best := checkpoints / "best.ckpt").is_file():  # not under trainer.fast_dev_run
            after = _best_score(trainer)
            classifier.load_state_dict(start if before > after else read_checkpoint(best)["state_dict"])
            if before > after:
                kept = 0
                monitor = self.settings.compression.fine_tune.monitor
                scores = f"{monitor} {before:.3f} at the start, {after:.3f} after the best epoch"
                self._note(f"fine-tuning did not improve the network ({scores}), so its weights from before were kept")
        shutil.rmtree(checkpoints, ignore_errors=True)  # they hold a half-built model; the stage's own files follow
        return kept

    @contextmanager
    def _faster_threads(self, classifier: ECGClassifier, precision: str, epochs: int) -> Iterator[None]:
        """Train with the faster number of threads, as `train.py` does. The earlier number times the files."""
        before = torch.get_num_threads()
        if not may_choose(self.settings.hardware, self.settings.trainer):
            yield
            return
        if self._threads is None:
            n_records = records_of_an_epoch(self.settings.trainer, self.datamodule) * epochs
            self._threads, _ = choose_threads(classifier, self.datamodule, precision, n_records)
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _score(self, classifier: ECGClassifier) -> float:
        """Return the monitored metric before the fit."""
        evaluator = make_evaluator(self._settings_of(self.epochs), self.device)
        evaluator.validate(classifier, datamodule=self.datamodule, verbose=False)
        return float(evaluator.callback_metrics[self.settings.compression.fine_tune.monitor])

    def _note(self, text: str) -> None:
        self.notes.append(text)
        log.info(text)

    def _settings_of(self, epochs: int) -> TrainingConfig:
        whole, monitor = self.settings, self.settings.compression.fine_tune.monitor
        callbacks = copy.deepcopy(whole.callbacks)
        if callbacks.early_stopping and callbacks.early_stopping.monitor == whole.monitor:
            callbacks.early_stopping.monitor = monitor
        return TrainingConfig(
            monitor=monitor,
            hardware=whole.hardware,
            trainer=replace(whole.trainer, max_epochs=epochs),
            callbacks=callbacks,
            logger=whole.logger,
            paths=PathsConfig(str(self.folder)),
        )


def _best_score(trainer: L.Trainer) -> float:
    checkpoint = trainer.checkpoint_callback  # the first one, of the best epoch
    assert isinstance(checkpoint, ModelCheckpoint)
    assert checkpoint.best_model_score is not None
    return float(checkpoint.best_model_score)
