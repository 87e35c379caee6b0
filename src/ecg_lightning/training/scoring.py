"""Scores of the validation and the test folds with the chosen checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L

from ecg_lightning.checkpoints.io import save_checkpoint
from ecg_lightning.checkpoints.loading import members_of, read_checkpoint
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.learning.module import ECGModule, Outcome
from ecg_lightning.results.ledger import record_scoring
from ecg_lightning.results.results import RunResult
from ecg_lightning.training.preparing import Prepared
from ecg_lightning.training.schema import TrainingConfig
from ecg_lightning.training.trainer import make_evaluator

log = logging.getLogger(__name__)


def score(settings: TrainingConfig, prepared: Prepared, result: RunResult) -> Outcome:
    """Score the chosen epoch, and return the module's report of the scores.

    Args:
        settings: settings of the run.
        prepared: device, model and data.
        result: the run's result, which gets the scores.
    """
    module, datamodule = prepared.module, prepared.datamodule
    evaluator = make_evaluator(settings, prepared.device)
    metrics = {}
    if settings.train:
        metrics["val"] = _validate(settings, evaluator, module, datamodule)
        result.score = float(evaluator.callback_metrics[settings.monitor])
    if settings.test:
        is_new = settings.train and prepared.resume is None
        metrics["test"] = _test(settings, evaluator, module, datamodule, is_new=is_new)
    # The number of evaluated records, because trainer.limit_* may leave records out.
    result.data |= {f"n_{split}": module.n_scored[split] for split in metrics}
    outcome = module.outcome(metrics, datamodule)
    result.metrics, result.evaluation = outcome.metrics, outcome.evaluation
    result.chosen = outcome.choices.as_dict() if outcome.choices else {}
    result.notes += outcome.notes
    return outcome


def _validate(
    settings: TrainingConfig, evaluator: L.Trainer, module: ECGModule, datamodule: ECGDataModule
) -> dict[str, float]:
    """Return the scores of the validation folds, and store their choices in the checkpoint."""
    evaluator.validate(module, datamodule=datamodule, verbose=False)
    path = Path(settings.paths.output_dir) / "checkpoints" / "best.ckpt"
    if not module.trainable:
        checkpoint = {"state_dict": module.state_dict(), "ecg_lightning": dict(module.description)}
    elif path.is_file():
        checkpoint = read_checkpoint(path)
    else:  # trainer.fast_dev_run writes none
        return _metrics(evaluator, "val")
    module.keep_found(checkpoint)
    save_checkpoint(checkpoint, path)
    return _metrics(evaluator, "val")


def _test(
    settings: TrainingConfig, evaluator: L.Trainer, module: ECGModule, datamodule: ECGDataModule, *, is_new: bool
) -> dict[str, float]:
    """Return the scores of the test folds, and record the scoring for this checkpoint and an ensemble's members."""
    folds = datamodule.folds["test"]
    log.info("scoring the test folds %s with the chosen checkpoint", list(folds))
    evaluator.test(module, datamodule=datamodule, verbose=False)
    output_dir = Path(settings.paths.output_dir)
    scored = output_dir / "checkpoints" / "best.ckpt" if settings.train else Path(str(settings.ckpt_path)).expanduser()
    if scored.is_file():  # trainer.fast_dev_run writes none
        n_records, members = module.n_scored["test"], members_of(module.description)
        record_scoring(scored, folds, n_records, output_dir, members, is_new=is_new)
    return _metrics(evaluator, "test")


def _metrics(trainer: L.Trainer, split: str) -> dict[str, float]:
    prefix = f"{split}/"
    return {
        name.removeprefix(prefix): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix)
    }
