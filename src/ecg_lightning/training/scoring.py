"""Scores of the validation and the test folds, and all that follows from their predictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from ecg_lightning.checkpoints.io import save_checkpoint
from ecg_lightning.checkpoints.loading import members_of, read_checkpoint, save_classifier
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation import cohort, report
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.headline import macro_intervals
from ecg_lightning.evaluation.metrics import nested_metrics
from ecg_lightning.evaluation.predictions import Predictions, predictions_of
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.results.ledger import record_scoring
from ecg_lightning.results.results import RunResult
from ecg_lightning.system.long_steps import long_step
from ecg_lightning.training.preparing import Prepared
from ecg_lightning.training.schema import TrainingSettings
from ecg_lightning.training.trainer import make_evaluator

log = logging.getLogger(__name__)

_NOT_CALIBRATED = (
    "the checkpoint holds no temperature and no conformal sets of a validation fold, so raw probabilities are scored, "
    "with the checkpoint's thresholds"
)


def score(settings: TrainingSettings, prepared: Prepared, result: RunResult) -> dict[str, Predictions]:
    """Score the chosen epoch, and describe its predictions with the choices of the validation fold.

    Args:
        settings: of the run.
        prepared: device, model and data.
        result: is told the scores.

    Returns:
        Predictions by split.
    """
    classifier, datamodule = prepared.classifier, prepared.datamodule
    evaluator = make_evaluator(settings, prepared.device)
    if settings.train:
        _validate(settings, evaluator, classifier, datamodule, result)
    if settings.test:
        is_new = settings.train and prepared.resume is None
        _test(settings, evaluator, classifier, datamodule, result, is_new=is_new)
    # What was evaluated, where trainer.limit_* leaves records out.
    result.data |= {f"n_{phase}": len(classifier.scored[phase].targets) for phase in result.metrics}
    predictions, chosen = _predictions(classifier, datamodule), classifier.choices
    assert chosen is not None  # from its validation, or from its checkpoint
    for split, one in predictions.items():
        result.metrics[split]["ci95"] = macro_intervals(chosen.apply_raw(one), one.targets_NC, one.patient_ids)
    result.chosen = chosen.as_dict()
    if not chosen.is_calibrated:
        result.notes.append(_NOT_CALIBRATED)
    train_folds = classifier.description["folds"]["train"]
    result.evaluation = evaluate_predictions(chosen, predictions, train_folds, datamodule, result)
    return predictions


def _validate(
    settings: TrainingSettings,
    evaluator: L.Trainer,
    classifier: ECGClassifier,
    datamodule: ECGDataModule,
    result: RunResult,
) -> None:
    """Score the validation folds, and keep what they choose in the checkpoint."""
    checkpoint = Path(settings.paths.output_dir) / "checkpoints" / "best.ckpt"
    evaluator.validate(classifier, datamodule=datamodule, verbose=False)
    if classifier.trainable:
        _keep_choices(classifier, checkpoint)
    else:
        assert classifier.choices is not None
        save_classifier(classifier, checkpoint, classifier.choices)
    result.metrics["val"] = _metrics(evaluator, "val")
    result.score = float(evaluator.callback_metrics[settings.monitor])


def _test(
    settings: TrainingSettings,
    evaluator: L.Trainer,
    classifier: ECGClassifier,
    datamodule: ECGDataModule,
    result: RunResult,
    *,
    is_new: bool,
) -> None:
    """Score the test folds, once, and write down that it was done: with this checkpoint, and an ensemble's members."""
    folds = datamodule.folds["test"]
    log.info("scoring the test folds %s with the chosen checkpoint", list(folds))
    evaluator.test(classifier, datamodule=datamodule, verbose=False)
    result.metrics["test"] = _metrics(evaluator, "test")
    output_dir = Path(settings.paths.output_dir)
    scored = output_dir / "checkpoints" / "best.ckpt" if settings.train else Path(str(settings.ckpt_path)).expanduser()
    if scored.is_file():  # trainer.fast_dev_run writes none
        n_records, members = len(classifier.scored["test"].targets), members_of(classifier.description)
        record_scoring(scored, folds, n_records, output_dir, members, is_new=is_new)


def _predictions(classifier: ECGClassifier, datamodule: ECGDataModule) -> dict[str, Predictions]:
    """Return the predictions of the validation and test records, which are read in the table's order."""
    splits = {}
    for split, scored in classifier.scored.items():
        if split != "train":
            spreads_NC = None if scored.spreads is None else scored.spreads.double().numpy()
            logits_NC = scored.logits.double().numpy()
            dataset = datamodule.datasets[split]
            splits[split] = predictions_of(classifier.classes, classifier.link, dataset, logits_NC, spreads_NC)
    return splits


def evaluate_predictions(
    choices: Choices,
    predictions: Mapping[str, Predictions],
    train_folds: Sequence[int],
    datamodule: ECGDataModule,
    result: RunResult,
) -> dict[str, Any]:
    """Return by split all that `ecg-lightning evaluate` says.

    Args:
        choices: of the model.
        predictions: by split.
        train_folds: of the model.
        datamodule: whose table knows the records.
        result: is told what cannot be said.
    """
    with long_step(log, "computing intervals, calibration and subgroups"):
        return _evaluated(choices, predictions, train_folds, datamodule, result)


def _evaluated(
    choices: Choices,
    predictions: Mapping[str, Predictions],
    train_folds: Sequence[int],
    datamodule: ECGDataModule,
    result: RunResult,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split, one in predictions.items():
        found[split] = report.evaluate(choices, one).as_dict()
        try:
            found[split] |= cohort.describe(choices, one, datamodule.source.cohort(), train_folds)
        except DataError as error:  # a table without ages, say: no reason to lose the training's result
            result.notes.append(f"{split}: subgroups are left out: {error}")
    return found


def _keep_choices(classifier: ECGClassifier, path: Path) -> None:
    """Write the choices of the last validation into the checkpoint that was validated.

    Its own thresholds may be of other weights: of those before they were averaged, or of the last epoch that was
    validated.
    """
    if not path.is_file():  # trainer.fast_dev_run writes none
        return
    assert classifier.choices is not None
    checkpoint = read_checkpoint(path)
    checkpoint["state_dict"]["thresholds"] = classifier.thresholds.cpu()
    checkpoint["ecg_lightning"]["chosen"] = classifier.choices.as_dict()
    save_checkpoint(checkpoint, path)


def _metrics(trainer: L.Trainer, phase: str) -> dict[str, Any]:
    prefix = f"{phase}/"
    found = {
        name.removeprefix(prefix): float(v) for name, v in trainer.callback_metrics.items() if name.startswith(prefix)
    }
    return nested_metrics(found)
