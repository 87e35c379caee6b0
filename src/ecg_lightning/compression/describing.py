"""The last step of a compression: its variants, predictions, figures, tables and `result.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecg_lightning.checkpoints.building import build_loggers
from ecg_lightning.compression.preparing import Prepared
from ecg_lightning.compression.schema import CompressionConfig, CompressionSettings
from ecg_lightning.compression.study.comparison import compare
from ecg_lightning.compression.study.measurement import slower_than
from ecg_lightning.compression.study.variant import Variant
from ecg_lightning.data.datamodule import SignalDataset
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, write_predictions
from ecg_lightning.evaluation.splits import evaluate_splits
from ecg_lightning.reports import run_files
from ecg_lightning.reports.pareto import write_pareto
from ecg_lightning.results.results import RunResult


def describe(settings: CompressionSettings, prepared: Prepared, variants: Sequence[Variant], result: RunResult) -> None:
    """Write the result with its figures, tables and model card. Its scores are the last variant's.

    Args:
        settings: settings of the run.
        prepared: model and data.
        variants: scored and timed variants, the model as trained first.
        result: the run's result, which gets its variants, scores and files.

    Raises:
        DiskFullError: the files do not fit on the disk.
    """
    output_dir, last = Path(settings.paths.output_dir), variants[-1].evaluation
    _add_variants(settings, prepared, variants, result)
    _score_by_last(prepared, variants, output_dir, result)
    loggers = build_loggers(settings.logger, str(output_dir))
    result.artifacts["pareto"] = write_pareto(dataclasses.asdict(result), output_dir, loggers)
    result.write(output_dir)
    drawn = {}
    if settings.callbacks.figures:
        drawn = run_files.draw_headline(last.predictions, last.choices, prepared.datamodule, output_dir)
    run_files.write_run_files(result, output_dir, drawn)


def describe_unfinished(
    settings: CompressionSettings, prepared: Prepared, variants: Sequence[Variant], result: RunResult
) -> RunResult:
    """Return the result with the finished variants, but without scores: the model as trained must not stand for it.

    Args:
        settings: settings of the run.
        prepared: model and data.
        variants: finished variants.
        result: the run's result, which gets its variants.
    """
    _add_variants(settings, prepared, variants, result)
    result.score, result.metrics, result.chosen, result.evaluation = None, {}, {}, {}
    result.artifacts.pop("predictions", None)
    return result


def _add_variants(
    settings: CompressionSettings, prepared: Prepared, variants: Sequence[Variant], result: RunResult
) -> None:
    """Put the variants into the result, and each variant's predictions beside its files."""
    output_dir, test = Path(settings.paths.output_dir), prepared.datamodule.datasets["test"]
    rows = [_row(variant, variants[0], test, settings.compression) for variant in variants]
    rows[0]["timing"] = result.timing or rows[0]["timing"]  # the time of the training
    result.variants = [row | {"checkpoint": prepared.sha256} for row in rows]
    for variant in variants:
        predictions = variant.evaluation.predictions
        write_predictions(output_dir / "variants" / variant.name / PREDICTIONS_FILE, predictions)
    result.notes += [f"{variant.name}: {note}" for variant in variants for note in variant.notes]
    result.artifacts |= {
        f"{variant.name}/{path.name}": str(path.relative_to(output_dir))
        for variant in variants
        for path in (*(one.path for one in variant.deployments if one.path), *variant.files)
    }


def _score_by_last(prepared: Prepared, variants: Sequence[Variant], output_dir: Path, result: RunResult) -> None:
    """Give the run the last variant's scores and predictions, and the time of all stages together."""
    last = variants[-1].evaluation
    write_predictions(output_dir / PREDICTIONS_FILE, last.predictions)
    result.score = last.metrics["val"]["f1_macro_tuned"]
    result.metrics = last.metrics
    result.chosen = last.choices.as_dict()
    train_folds = prepared.trained.description["folds"]["train"]
    source = prepared.datamodule.source
    result.evaluation, notes = evaluate_splits(last.choices, last.predictions, source, train_folds)
    result.notes += notes
    if stages := variants[1:]:
        result.timing = {key: sum(one.fine_tuning[key] for one in stages) for key in ("fit_s", "epochs")}


def _row(variant: Variant, baseline: Variant, test: SignalDataset, settings: CompressionConfig) -> dict[str, Any]:
    """Return the row of a variant in `result.json`. Each deployment is compared with the model as trained."""
    differences = {
        one.runs_in: compare(
            evaluation.decided, baseline.evaluation.decided, test, settings.margin, settings.n_resamples
        )
        for one, evaluation in variant.evaluations.items()
        if one != baseline.own or variant is not baseline
    }
    for row in variant.runtimes:
        row["delta"] = differences.get((row["runtime"], row["precision"]))
    return {
        "name": variant.name,
        "stage": type(variant.stage).__name__ if variant.stage else None,
        "runtime": variant.own.runtime,
        "precision": variant.own.precision,
        "metrics": variant.evaluation.metrics,
        "chosen": variant.evaluation.choices.as_dict(),
        "delta": differences.get(variant.own.runs_in),
        "size": variant.size,
        "slower_than": slower_than(variant, baseline),
        "runtimes": variant.runtimes,
        "timing": variant.fine_tuning,
        "notes": variant.notes,
    }
