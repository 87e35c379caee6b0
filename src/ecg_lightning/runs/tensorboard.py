"""What TensorBoard gets beyond the curves: hyper-parameters with the final score, and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig

from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.runs.results import RunResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    step: int,
    result: RunResult,
    predictions: Mapping[str, Predictions],
    figures: Mapping[str, Mapping[str, Figure]],
) -> None:
    """Log the scored checkpoint's scores and, where they were drawn, the figures of each split that was evaluated."""
    for logger in _tensorboards(loggers):
        if result.score is not None:
            logger.log_metrics({_FINAL: result.score}, step)
        for phase, metrics in result.metrics.items():
            logger.log_metrics({f"best/{phase}_{k}": v for k, v in metrics.items() if isinstance(v, float)}, step)
            if phase in figures:
                from ecg_lightning.runs.figures import log_figures, log_pr_curves  # matplotlib

                log_figures(logger.experiment, step, f"best_{phase}", figures[phase])
                log_pr_curves(logger.experiment, step, f"best_{phase}", predictions[phase])
        logger.finalize("success")


def is_used(loggers: Sequence[Logger]) -> bool:
    """Return whether a run logs to TensorBoard."""
    return bool(_tensorboards(loggers))


def _tensorboards(loggers: Sequence[Logger]) -> list[TensorBoardLogger]:
    return [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
