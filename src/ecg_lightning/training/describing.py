"""The output at the end of a run: predictions, figures, tables, TensorBoard's last points and `result.json`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, write_predictions
from ecg_lightning.learning.module import ECGModule, Outcome
from ecg_lightning.models.structure import measure_network
from ecg_lightning.reports import run_files
from ecg_lightning.results.results import RunResult
from ecg_lightning.system.long_steps import long_step
from ecg_lightning.training import tensorboard
from ecg_lightning.training.fitting import Fitted
from ecg_lightning.training.learning_curves import learning_section
from ecg_lightning.training.preparing import Prepared
from ecg_lightning.training.schema import TrainingConfig

log = logging.getLogger(__name__)


def describe(
    settings: TrainingConfig,
    prepared: Prepared,
    outcome: Outcome,
    fitted: Fitted,
    loggers: list[Logger],
    result: RunResult,
    result_file: str,
) -> None:
    """Write the result, with its figures, tables and model card.

    Args:
        settings: settings of the run.
        prepared: device, model and data.
        outcome: report of the scored splits.
        fitted: steps and epochs of the training; an evaluation has none.
        loggers: loggers of the curves.
        result: the run's result, which gets its files.
        result_file: file name of the result.

    Raises:
        DiskFullError: the files do not fit on the disk.
    """
    output_dir, module = Path(settings.paths.output_dir), prepared.module
    predictions, followed, figures = outcome.predictions, module.followed(), {}
    if settings.callbacks.figures and outcome.choices:
        with long_step(log, "drawing the figures"):
            figures = run_files.draw_headline(predictions, outcome.choices, prepared.datamodule, output_dir)
    if settings.train:
        shown = {run_files.headline(predictions): figures} if figures else {}
        tensorboard.log_final(loggers, fitted.n_steps, result, followed, predictions, shown)
    if predictions:
        write_predictions(output_dir / PREDICTIONS_FILE, predictions)
    result.variants = [_baseline(module, result)]
    result.artifacts = _artifacts(output_dir)
    result.write(output_dir, result_file)
    best_epoch, with_figure = result.timing.get("best_epoch"), settings.callbacks.figures
    learned = learning_section(fitted.epochs, best_epoch, followed, with_figure=with_figure)
    run_files.write_run_files(result, output_dir, figures, [learned] if fitted.epochs else [], result_file)


def _baseline(module: ECGModule, result: RunResult) -> dict[str, Any]:
    """Return the uncompressed model as the first variant."""
    size = measure_network(module.network)  # no file is deployed yet, so it has no bytes
    return {"name": "baseline", "stage": None, "metrics": result.metrics, "delta": None, "size": size, "runtimes": []}


def _artifacts(output_dir: Path) -> dict[str, str]:
    found = {name: output_dir / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")}
    found |= {"config": output_dir / "config.yaml", "predictions": output_dir / PREDICTIONS_FILE}
    return {name: str(path.relative_to(output_dir)) for name, path in found.items() if path.is_file()}
