"""What TensorBoard gets beyond the curves: hyper-parameters with the final score, and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig

from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.wfdb import MILLIVOLTS_PER_UNIT
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.evaluation.report import calibrated
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.runs.figures import log_figures
from ecg_lightning.runs.results import RunResult

_FINAL = ("f1_macro", "auroc_macro")
"""Scores that become HParams metrics. TensorBoard takes those from scalars, so each is also a chart of one point."""


def log_hyperparameters(
    loggers: Sequence[Logger], cfg: DictConfig, choices: Mapping[str, str], host: Mapping[str, Any]
) -> None:
    """Open the HParams row of this run: a few settings, and scores that are filled in at the end."""
    phases = ["val", *(["test"] if cfg.test else [])]
    unknown = {f"final/{phase}_{name}": float("nan") for phase in phases for name in _FINAL}
    settings = {
        **{name: choices[name] for name in ("model",) if name in choices},
        "lr": cfg.model.optimizer.lr,
        "seed": cfg.seed,
        **{name: choices[name] for name in ("data", "frontend", "compression", "hardware") if name in choices},
        "batch_size": cfg.data.batch_size,
        "sampling_rate": cfg.data.sampling_rate,
        "image_size": str(cfg.frontend.get("size", "")),
        "optimizer": cfg.model.optimizer.name,
        "weight_decay": cfg.model.optimizer.weight_decay,
        "dropout": cfg.model.dropout,
        "max_epochs": cfg.trainer.max_epochs,
        "precision": host["precision"],
    }
    for logger in _tensorboards(loggers):
        logger.log_hyperparams(settings, metrics=unknown)


def log_final(
    loggers: Sequence[Logger],
    step: int,
    classifier: ECGClassifier,
    datamodule: PTBXLDataModule,
    result: RunResult,
    predictions: Mapping[str, Predictions],
    figures: bool,
) -> None:
    """Log the scored checkpoint's scores and, where wanted, figures of each phase that was evaluated."""
    for logger in _tensorboards(loggers):
        for phase, metrics in result.metrics.items():
            logger.log_metrics({f"final/{phase}_{name}": metrics[name] for name in _FINAL if name in metrics}, step)
            if figures:
                _log_figures(
                    logger, step, phase, classifier, datamodule, calibrated(predictions["val"], predictions[phase])
                )
        logger.finalize("success")


def _log_figures(
    logger: TensorBoardLogger,
    step: int,
    phase: str,
    classifier: ECGClassifier,
    datamodule: PTBXLDataModule,
    probabilities_by_calibration: Mapping[str, npt.NDArray[np.float64]],
) -> None:
    scored = classifier.scored[phase]
    dataset = datamodule.datasets[phase]

    def signal_of(index: int) -> npt.NDArray[np.float32]:
        millivolts: npt.NDArray[np.float32] = (dataset[index].signals.float() * MILLIVOLTS_PER_UNIT).numpy()
        return millivolts

    log_figures(
        logger.experiment,
        step,
        f"best_{phase}",
        signal_of=signal_of,
        sampling_rate=datamodule.sampling_rate,
        classes=classifier.classes,
        probabilities_NC=scored.probabilities.numpy(),
        targets_NC=scored.targets.numpy(),
        thresholds_C=classifier.thresholds.cpu().numpy(),
        calibrated=probabilities_by_calibration,
    )


def _tensorboards(loggers: Sequence[Logger]) -> list[TensorBoardLogger]:
    return [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
