"""Cross-validation inside the training folds. It scores a recipe without the validation fold."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ecg_lightning.checkpoints.building import build_datamodule
from ecg_lightning.data.folds import fold_groups, folder_name
from ecg_lightning.errors import CheckpointError, DataError
from ecg_lightning.evaluation import cohort, report
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    pooled,
    read_predictions,
    write_predictions,
)
from ecg_lightning.reports import run_files
from ecg_lightning.results.recipes import changed_settings
from ecg_lightning.results.results import RunResult, read_config, read_training
from ecg_lightning.training.provenance import write_config
from ecg_lightning.training.run import run as train
from ecg_lightning.training.schema import TrainingConfig

log = logging.getLogger(__name__)

FOLD_FILE = "fold.json"
"""Result of one of the trainings. A sweep does not count it as a run."""


@dataclass(frozen=True)
class _Prepared:
    """The cross-validation's folder, the folds that each training holds out, and whether it is resumed."""

    output_dir: Path
    groups: list[list[int]]
    goes_on: bool
    config_hash: str | None


@dataclass(frozen=True)
class _Scored:
    """The scores of all held-out records together, and notes on the scores that are left out."""

    held_out: Predictions
    choices: Choices
    evaluation: dict[str, Any]
    left_out: list[str]


def run(settings: TrainingConfig, choices: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> RunResult:
    """Train once for each fold or group of folds of `cross_validation`, and return the result.

    Each training uses the other training folds, and is scored on the folds that it holds out.

    Args:
        settings: checked settings. `ckpt_path=last` or `auto` resumes it.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.

    Returns:
        The result, also written to `paths.output_dir`. Its score, validation metrics and number of training records are
        means over the trainings. Its evaluation and predictions are those of all held-out records together.

    Raises:
        UserError: an error that the user can correct.
    """
    prepared = _prepare(settings)
    trainings = _fit(settings, prepared, choices, overrides)
    scored = _score(settings, prepared)
    return _describe(settings, prepared, trainings, scored)


def _prepare(settings: TrainingConfig) -> _Prepared:
    """Return the folder and the folds of the trainings, after writing the configuration."""
    assert settings.cross_validation is not None
    output_dir = Path(settings.paths.output_dir)
    goes_on = settings.ckpt_path == "last" or (settings.ckpt_path == "auto" and (output_dir / "config.yaml").is_file())
    if goes_on:
        _check_same(settings, output_dir)
    begun = RunResult()
    write_config(asdict(settings) | {"ckpt_path": None}, output_dir, begun)
    return _Prepared(output_dir, fold_groups(settings.cross_validation), goes_on, begun.config_hash)


def _fit(
    settings: TrainingConfig, prepared: _Prepared, choices: Mapping[str, str] | None, overrides: Sequence[str]
) -> list[RunResult]:
    """Return the result of each training. Finished trainings are not repeated."""
    results = []
    for folds in prepared.groups:
        folder = prepared.output_dir / folder_name(folds)
        if prepared.goes_on and (folder / FOLD_FILE).is_file():
            log.info("cross-validation: the training without folds %s is finished already", folds)
            results.append(read_training(folder, FOLD_FILE))
            continue
        log.info("cross-validation: holding out folds %s (all: %s)", folds, prepared.groups)
        own = _without(settings, folds, folder, prepared.goes_on)
        results.append(train(own, choices, overrides, result_file=FOLD_FILE))
    return results


def _score(settings: TrainingConfig, prepared: _Prepared) -> _Scored:
    """Return the scores of all held-out records together, after writing their predictions."""
    folders = [prepared.output_dir / folder_name(folds) for folds in prepared.groups]
    held_out = pooled([read_predictions(folder / PREDICTIONS_FILE)["val"] for folder in folders])
    write_predictions(prepared.output_dir / PREDICTIONS_FILE, {"val": held_out})
    chosen = Choices.fit(held_out)
    evaluated, left_out = report.evaluate(chosen, held_out).as_dict(), []
    try:
        table = build_datamodule(settings.data, settings.seed).source.cohort()
        evaluated |= cohort.describe(chosen, held_out, table, settings.data.train_folds, held_out=prepared.groups)
    except DataError as error:  # for example a table without ages, which must not lose the trainings
        left_out.append(f"subgroups are left out: {error}")
    return _Scored(held_out, chosen, evaluated, left_out)


def _describe(
    settings: TrainingConfig, prepared: _Prepared, trainings: Sequence[RunResult], scored: _Scored
) -> RunResult:
    """Return the result of all trainings together, after writing it with its figures and tables."""
    result = dataclasses.replace(trainings[-1], config_hash=prepared.config_hash)
    scores = [one.score for one in trainings if one.score is not None]
    result.score = mean(scores) if scores else None
    result.metrics = {"val": _means([one.metrics["val"] for one in trainings])}
    result.timing = _means([one.timing for one in trainings])
    result.data["n_train"] = round(mean(one.data["n_train"] for one in trainings))
    result.data["n_val"] = sum(one.data["n_val"] for one in trainings)
    result.variants, result.artifacts = [], {"predictions": PREDICTIONS_FILE}
    result.chosen, result.evaluation = scored.choices.as_dict(), {"val": scored.evaluation}
    best = settings.scored_epoch == "best"
    counted = "one training" if len(trainings) == 1 else f"means of {len(trainings)} trainings"
    spread = f", standard deviation {stdev(scores):.3f}" if len(scores) > 1 else ""
    result.notes = [
        f"cross-validation over folds {settings.cross_validation}: {counted}{spread}",
        *(["scored_epoch=best: each epoch was chosen on the fold that scores it, so the scores are optimistic"] * best),
        *scored.left_out,
        *dict.fromkeys(note for one in trainings for note in one.notes),
    ]
    result.write(prepared.output_dir)
    drawn = {}
    if settings.callbacks.figures:
        drawn = run_files.draw_headline({"val": scored.held_out}, scored.choices, None, prepared.output_dir)
    run_files.write_run_files(result, prepared.output_dir, drawn)
    return result


def _check_same(settings: TrainingConfig, output_dir: Path) -> None:
    """Refuse to resume with other settings, because the trainings could not be pooled."""
    there = read_config(output_dir)
    if not there.get("cross_validation"):
        raise CheckpointError(
            f"ckpt_path={settings.ckpt_path}: {output_dir} does not hold an unfinished cross-validation. Name its "
            "folder with hydra.run.dir=DIR"
        )
    if changed := changed_settings(there, asdict(settings)):
        raise CheckpointError(
            f"{output_dir} holds a cross-validation with other settings ({', '.join(changed)}): use the settings "
            "in its config.yaml, or name another folder"
        )


def _without(settings: TrainingConfig, folds: Sequence[int], folder: Path, goes_on: bool) -> TrainingConfig:
    """Return the configuration that trains without some folds and validates on them. The test folds stay untouched."""
    own = copy.deepcopy(settings)
    own.cross_validation, own.test, own.ckpt_path = None, False, "auto" if goes_on else None
    own.data.train_folds = [other for other in settings.data.train_folds if other not in folds]
    own.data.val_folds = list(folds)
    own.paths.output_dir = str(folder)
    own.callbacks.figures = False  # only the figures of all held-out records together are drawn
    return own


def _means(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of nested numbers. Values that are not numbers, or missing in some, are left out."""
    shared = set.intersection(*(set(one) for one in values))
    means: dict[str, Any] = {}
    for name in (name for name in values[0] if name in shared):
        found = [one[name] for one in values]
        if all(isinstance(one, Mapping) for one in found):
            means[name] = _means(found)
        elif all(isinstance(one, int | float) for one in found):
            means[name] = mean(found)
    return means
