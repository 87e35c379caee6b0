"""What TensorBoard gets beyond the curves: hyper-parameters with the final score, and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig

from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.wfdb import MILLIVOLTS_PER_UNIT
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.runs.figures import log_figures
from ecg_lightning.runs.results import RunResult

_FINAL = "hp/score"


def log_hyperparameters(
    loggers: Sequence[Logger], cfg: DictConfig, choices: Mapping[str, str], host: Mapping[str, Any]
) -> None:
    """Open the HParams row of this run: a few settings, and a score that is filled in at the end."""
    settings = {
        **{name: choices[name] for name in ("data", "frontend", "model", "compression", "hardware") if name in choices},
        "seed": cfg.seed,
        "batch_size": cfg.data.batch_size,
        "sampling_rate": cfg.data.sampling_rate,
        "image_size": str(cfg.frontend.get("size", "")),
        "optimizer": cfg.model.optimizer.name,
        "lr": cfg.model.optimizer.lr,
        "weight_decay": cfg.model.optimizer.weight_decay,
        "dropout": cfg.model.dropout,
        "max_epochs": cfg.trainer.max_epochs,
        "precision": host["precision"],
    }
    for logger in _tensorboards(loggers):
        logger.log_hyperparams(settings, metrics={_FINAL: float("nan")})


def log_final(
    loggers: Sequence[Logger],
    trainer: L.Trainer,
    classifier: ECGClassifier,
    datamodule: PTBXLDataModule,
    phase: str,
    result: RunResult,
) -> None:
    """The best checkpoint's scores and figures of one phase."""
    probabilities, targets = classifier.predictions[phase]
    dataset = datamodule.datasets[phase]

    def signal_of(index: int) -> npt.NDArray[np.float32]:
        return (dataset[index].signals.float() * MILLIVOLTS_PER_UNIT).numpy()

    final = {f"best/{phase}_{name}": value for name, value in result.metrics[phase].items() if isinstance(value, float)}
    for logger in _tensorboards(loggers):
        logger.log_metrics(final, step=trainer.global_step)
        if phase == "val" and result.score is not None:
            logger.log_metrics({_FINAL: result.score}, step=trainer.global_step)
        log_figures(
            logger.experiment,
            trainer.global_step,
            f"best_{phase}",
            signal_of=signal_of,
            sampling_rate=datamodule.sampling_rate,
            classes=classifier.classes,
            probabilities_NC=probabilities.numpy(),
            targets_NC=targets.numpy(),
            thresholds_C=classifier.thresholds.cpu().numpy(),
        )
        logger.finalize("success")


def _tensorboards(loggers: Sequence[Logger]) -> list[TensorBoardLogger]:
    return [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
