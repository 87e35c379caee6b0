"""Values for TensorBoard besides the curves: hyper-parameters with the final score, and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.results.results import RunResult
from ecg_lightning.training.schema import TrainingConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_hyperparameters(
    loggers: Sequence[Logger],
    settings: TrainingConfig,
    choices: Mapping[str, str],
    host: Mapping[str, Any],
    followed: Iterable[str],
) -> None:
    """Open the HParams row of this run with a few settings. The scores are filled in at the end."""
    phases = ["val", *(["test"] if settings.test else [])]
    unknown = {f"final/{phase}_{name}": float("nan") for phase in phases for name in followed}
    optimizer = getattr(settings.model, "optimizer", None)  # an ensemble has none
    values = {
        **{name: choices[name] for name in ("model",) if name in choices},
        "lr": optimizer.lr if optimizer else "",
        "seed": settings.seed,
        **{name: choices[name] for name in ("data", "frontend", "compression", "hardware") if name in choices},
        "batch_size": settings.data.batch_size,
        "sampling_rate": settings.data.sampling_rate,
        "image_size": str(getattr(settings.frontend, "size", "")),
        "optimizer": optimizer.name if optimizer else "",
        "weight_decay": optimizer.weight_decay if optimizer else "",
        "dropout": getattr(settings.model, "dropout", ""),
        "max_epochs": settings.trainer.max_epochs,
        "precision": host["precision"],
    }
    for logger in _tensorboards(loggers):
        logger.log_hyperparams(values, metrics=unknown)


def log_final(
    loggers: Sequence[Logger],
    step: int,
    result: RunResult,
    followed: Iterable[str],
    predictions: Mapping[str, Predictions],
    figures: Mapping[str, Mapping[str, Figure]],
) -> None:
    """Log the scored checkpoint's scores and the figures that were drawn of each evaluated split."""
    for logger in _tensorboards(loggers):
        for phase, metrics in result.metrics.items():
            # HParams metrics. TensorBoard reads them from scalars, so each is also a chart of one point.
            logger.log_metrics({f"final/{phase}_{name}": metrics[name] for name in followed if name in metrics}, step)
            if phase in figures:
                from ecg_lightning.reports.figures import log_figures, log_pr_curves  # matplotlib

                log_figures(logger.experiment, step, f"best_{phase}", figures[phase])
                log_pr_curves(logger.experiment, step, f"best_{phase}", predictions[phase])
        logger.finalize("success")


def _tensorboards(loggers: Sequence[Logger]) -> list[TensorBoardLogger]:
    return [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
