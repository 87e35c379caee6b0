"""Compression: stage by stage from a trained checkpoint, each result deployed, evaluated and timed the same way."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import filelock

from ecg_lightning.checkpoints.building import build_datamodule, build_loggers
from ecg_lightning.checkpoints.loading import check_classes, data_option, members_of, read_checkpoint
from ecg_lightning.compression.comparison import compare
from ecg_lightning.compression.measurement import measure_variants, slower_than
from ecg_lightning.compression.pipeline import Pipeline
from ecg_lightning.compression.schema import CompressionConfig, CompressionSettings
from ecg_lightning.compression.stage import CompressionStage, build_stage
from ecg_lightning.compression.variant import Evaluation, Variant, stages_of
from ecg_lightning.data.datamodule import ECGDataModule, SyntheticPTBXLDataModule
from ecg_lightning.data.schema import DataConfig, PTBXLConfig
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.errors import CheckpointError, ConfigError, DataError, UnsupportedModelError, UserError
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, write_predictions
from ecg_lightning.evaluation.splits import evaluate_splits
from ecg_lightning.hardware import device as hardware
from ecg_lightning.reports import handin
from ecg_lightning.reports.pareto import write_pareto
from ecg_lightning.results.ledger import record_scoring
from ecg_lightning.results.results import TRAINING_FILE, RunResult, UnfinishedError, hash_config, read_training
from ecg_lightning.system.run_lock import remove_half_written
from ecg_lightning.text import counted
from ecg_lightning.training.announce import announce_synthetic
from ecg_lightning.training.leakage import check_held_out, fold_notes
from ecg_lightning.training.preparing import of_its_task
from ecg_lightning.training.provenance import begin, describe_data, describe_run_host, write_config
from ecg_lightning.training.run import run as train
from ecg_lightning.training.schema import TrainingSettings
from ecg_lightning.training.shared import keep_refused, raise_refused, start_or_go_on

log = logging.getLogger(__name__)


class TrainThenCompress(CompressionSettings, TrainingSettings, Protocol):
    """Settings of a training that is followed by its compression."""


_KEPT = ("train_folds", "val_folds", "test_folds", "keep_unlabelled", "labels", "batch_size")
"""Settings of a checkpoint's data that another folder (data=ptbxl data.root=DIR) does not change."""

_NOT_OF_THE_TRAINING = ("compression", "paths", "hardware", "task_name")


def run(
    settings: CompressionSettings, choices: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> RunResult:
    """Compress a checkpoint, as a checked configuration (`config.CompressConfig`) says.

    Args:
        settings: the composed configuration.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.

    Returns:
        The result, also written to `paths.output_dir`; its score is the last variant's tuned macro F1 on the
        validation fold.

    Raises:
        UserError: something that the user can mend; before anything is trained where possible.
    """
    device, result = begin(settings.hardware, settings.seed, choices, overrides)
    description = read_checkpoint(str(settings.ckpt_path))["ecg_lightning"]
    result.seed = description["seed"]  # the model's; its fine-tuning's is in config.yaml
    stages = _stages(settings)
    if any(build_stage(node, "stage").quantizes for node in description.get("stages", [])):
        raise ConfigError(
            f"ckpt_path={settings.ckpt_path} is already int8 and cannot be compressed again. Name the checkpoint that "
            "it was made from"
        )
    own_data = data_option(description) if not isinstance(settings.data, DataConfig) else None
    result.choices |= description["choices"] | ({"data": own_data} if own_data else {})
    data = _data_settings(settings, description)
    datamodule = build_datamodule(data, settings.seed)
    write_config(asdict(settings) | {"data": data}, Path(settings.paths.output_dir), result)
    return _compress(settings, device, Path(str(settings.ckpt_path)).expanduser(), datamodule, stages, result)


def run_after_training(
    settings: TrainThenCompress,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    shared_dir: Path | None = None,
) -> RunResult:
    """Train, then compress what was trained.

    Args:
        settings: the composed configuration, `config.TrainConfig`.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.
        shared_dir: in a sweep, the folder of the trainings that its cells share: what differs in its compression or
            hardware alone is trained once.

    Returns:
        The result; its score is the last variant's tuned macro F1 on the validation fold.
    """
    if not (settings.train and settings.test):
        raise ConfigError("a sweep over compressions trains and scores its cells. Keep train=true and test=true")
    device = hardware.prepare(settings.hardware)
    stages = _stages(settings)
    output_dir = Path(settings.paths.output_dir)
    if shared_dir is None:
        result, trained = train(settings, choices, overrides, result_file=TRAINING_FILE), output_dir
    else:
        result, trained = _train_once(settings, choices, overrides, shared_dir)
    hardware.prepare(settings.hardware)  # latencies are measured with all threads, whatever the training has chosen
    own = describe_run_host(device)
    if own != result.host:
        result.notes.append(f"trained with {counted(result.host['threads'], 'thread')} in {result.host['precision']}")
    result.host = own
    datamodule = build_datamodule(asdict(settings.data), settings.seed)
    return _compress(settings, device, trained / "checkpoints" / "best.ckpt", datamodule, stages, result)


def _stages(settings: CompressionSettings) -> dict[str, CompressionStage]:
    """The stages, each asked whether it can run here, before anything is trained."""
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):  # every variant is exported and run
        import_extra(package)
    stages: dict[str, CompressionStage] = {}
    quantized: str | None = None
    for name, node in settings.compression.stages.items():
        stages[name] = stage = build_stage(asdict(node), f"compression.stages.{name}")
        if quantized:
            raise ConfigError(
                f"compression.stages.{name} comes after {quantized}, whose int8 network cannot be changed any more: "
                f"put {name} before it"
            )
        stage.check(settings.hardware.accelerator)
        quantized = name if stage.quantizes else None
    return stages


def _train_once(
    settings: TrainThenCompress, choices: Mapping[str, str] | None, overrides: Sequence[str], shared_dir: Path
) -> tuple[RunResult, Path]:
    """The training that this cell shares with others: found, or run by whichever cell comes first."""
    content = {key: value for key, value in asdict(settings).items() if key not in _NOT_OF_THE_TRAINING}
    content["precision"] = settings.hardware.precision
    folder = (shared_dir / hash_config(content)[:12]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):  # held by the cell that trains, while those beside it wait
        if not (folder / TRAINING_FILE).is_file():
            raise_refused(folder)
            remove_half_written(folder)
            own = copy.deepcopy(settings)
            own.paths.output_dir, own.ckpt_path = str(folder), start_or_go_on(folder)
            try:
                train(own, choices, overrides, result_file=TRAINING_FILE)
            except UserError as error:  # which it would be in every other cell, too
                keep_refused(folder, error)
                raise
        else:
            log.info("using the training of %s in %s", settings.model.kind, folder)
        result = read_training(folder)
    output_dir = Path(settings.paths.output_dir)
    write_config(asdict(settings), output_dir, result)
    result.choices, result.overrides = dict(choices or {}), list(overrides)
    checkpoints = {name: path for name, path in result.artifacts.items() if name != "config"}
    result.artifacts = {"config": "config.yaml"} | {
        name: os.path.relpath(folder / path, output_dir) for name, path in checkpoints.items()
    }
    return result, folder


def _data_settings(settings: CompressionSettings, description: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's own data; a setting that is not the default wins where it does not change the task."""
    asked, own = asdict(settings.data), description.get("data")
    if isinstance(settings.data, DataConfig):  # data=ptbxl, data=synthetic or data=folder
        default = asdict(PTBXLConfig()) | {"labels": None}
        kept = {
            name: value
            for name, value in (own or {}).items()
            if name in _KEPT and name in asked and asked[name] == default[name]
        }
        return of_its_task(asked | kept, description)
    if own is None:
        raise ConfigError(
            f"{settings.ckpt_path} does not say which data it was trained on: name it with data=ptbxl data.root=DIR"
        )
    return of_the_checkpoint({**own, "cache_dir": None}, asked, f"ckpt_path={settings.ckpt_path}")


def of_the_checkpoint(own: Mapping[str, Any], asked: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a checkpoint's own data settings, made safe: what a stranger's file names is read and never written.

    Args:
        own: the checkpoint's settings of its data.
        asked: those of the command line, which win where they are not None.
        what: key and value that name the checkpoint.

    Raises:
        DataError: its synthetic data are not there.
    """
    settings = {**own, **{name: value for name, value in asked.items() if value is not None}}
    try:
        datamodule = build_datamodule(settings, seed=0)
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{what} has data settings that cannot be used: {error}") from None
    log.info("reading the data from %s, as %s says", datamodule.root, what)
    if isinstance(datamodule, SyntheticPTBXLDataModule):
        try:
            is_there = datamodule.source.is_written()
        except DataError:  # something else is there
            is_there = False
        if not is_there:
            raise DataError(
                f"{what} was trained on synthetic data in {datamodule.root}, which are not there as it describes them, "
                "and a folder that a checkpoint names is only read: add data=synthetic to make such data anew, or "
                "data=ptbxl data.root=DIR"
            )
    return settings


def _compress(
    settings: CompressionSettings,
    device: Mapping[str, Any],
    checkpoint: Path,
    datamodule: ECGDataModule,
    stages: Mapping[str, CompressionStage],
    result: RunResult,
) -> RunResult:
    """Apply the stages; deploy and measure the model as trained and what every stage makes of it."""
    output_dir = Path(settings.paths.output_dir)
    check_classes(f"ckpt_path={checkpoint}", read_checkpoint(checkpoint)["ecg_lightning"]["classes"], datamodule)
    datamodule.load(("train", "val", "test"))
    announce_synthetic(datamodule)
    pipeline = Pipeline(settings, device, checkpoint, datamodule)
    described = pipeline.trained.description
    result.data = describe_data(datamodule)
    result.notes += [*datamodule.source.notes(), *fold_notes(described, datamodule)]
    if described["model"].get("mc_dropout"):
        raise UnsupportedModelError(
            f"{checkpoint} draws new dropout in every pass (model.mc_dropout), which an exported file cannot do. "
            "Compress the ensemble without it"
        )
    if earlier := stages_of(described):
        result.notes.append(f"baseline is not uncompressed: the checkpoint went through {', '.join(earlier)}")
    check_held_out(described, datamodule, f"ckpt_path={checkpoint}")
    if "test" not in result.metrics:  # else the training of the same command has scored them, and kept count
        n_records = len(datamodule.datasets["test"])
        record_scoring(checkpoint, datamodule.folds["test"], n_records, output_dir, members_of(described))
    variants: list[Variant] = []
    try:
        for variant in pipeline.variants(stages):
            variants.append(variant)
        measure_variants(variants, datamodule, settings.compression.latency, pipeline.threads)
    except (Exception, KeyboardInterrupt, SystemExit) as stop:  # hours of fine-tuning may be behind it
        (output_dir / PREDICTIONS_FILE).unlink(missing_ok=True)  # of a training before it
        if not variants:
            raise
        if isinstance(stop, Exception) and not any(variant.runtimes for variant in variants):
            with contextlib.suppress(Exception):  # what stopped it is what is told
                measure_variants(variants, datamodule, settings.compression.latency, pipeline.threads)
        raise UnfinishedError(_without_scores(_with_variants(result, variants, pipeline)), stop) from stop
    _with_variants(result, variants, pipeline)
    last = _scored_by(variants, result, pipeline)
    result.artifacts["pareto"] = write_pareto(
        dataclasses.asdict(result), output_dir, build_loggers(settings.logger, str(output_dir))
    )
    result.write(output_dir)
    figures = settings.callbacks.figures
    drawn = handin.draw_headline(last.predictions, last.choices, datamodule, output_dir) if figures else {}
    handin.leave(result, output_dir, drawn)
    return result


def _with_variants(result: RunResult, variants: Sequence[Variant], pipeline: Pipeline) -> RunResult:
    """The result with what was made so far, and each variant's predictions beside its files."""
    rows = [_row(variant, variants[0], pipeline.datamodule, pipeline.settings.compression) for variant in variants]
    rows[0]["timing"] = result.timing or rows[0]["timing"]  # of the training
    result.variants = [row | {"checkpoint": pipeline.sha256} for row in rows]
    for variant in variants:
        write_predictions(
            pipeline.folder / "variants" / variant.name / PREDICTIONS_FILE, variant.evaluation.predictions
        )
    result.notes += [f"{variant.name}: {note}" for variant in variants for note in variant.notes]
    result.artifacts |= {
        f"{variant.name}/{path.name}": str(path.relative_to(pipeline.folder))
        for variant in variants
        for path in (*(one.path for one in variant.deployments if one.path), *variant.files)
    }
    return result


def _scored_by(variants: Sequence[Variant], result: RunResult, pipeline: Pipeline) -> Evaluation:
    """Make the last variant's scores and predictions the run's, and return them.

    The run's time is that of all the stages.
    """
    last = variants[-1].evaluation
    predicted = last.predictions
    write_predictions(pipeline.folder / PREDICTIONS_FILE, predicted)
    result.score = last.metrics["val"]["f1_macro_tuned"]
    result.metrics = last.metrics
    result.chosen = last.choices.as_dict()
    train_folds = pipeline.trained.description["folds"]["train"]
    result.evaluation, notes = evaluate_splits(last.choices, predicted, pipeline.datamodule.source, train_folds)
    result.notes += notes
    if stages := variants[1:]:
        result.timing = {key: sum(one.fine_tuning[key] for one in stages) for key in ("fit_s", "epochs")}
    return last


def _without_scores(result: RunResult) -> RunResult:
    """Of a compression that did not come to its end: the model that it started from must not stand for it."""
    result.score, result.metrics, result.chosen, result.evaluation = None, {}, {}, {}
    result.artifacts.pop("predictions", None)
    return result


def _row(variant: Variant, baseline: Variant, datamodule: ECGDataModule, settings: CompressionConfig) -> dict[str, Any]:
    """A variant as `result.json` holds it."""
    dataset, differences = datamodule.datasets["test"], {}
    for one, evaluation in variant.evaluations.items():
        if one != baseline.own or variant is not baseline:
            differences[one.runs_in] = compare(
                evaluation.decided, baseline.evaluation.decided, dataset, settings.margin, settings.n_resamples
            )
    for row in variant.runtimes:
        row["delta"] = differences.get((row["runtime"], row["precision"]))
    return {
        "name": variant.name,
        "stage": variant.stage,
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
