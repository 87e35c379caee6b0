"""Compression: stage by stage from a trained checkpoint, each result deployed, evaluated and timed the same way."""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf

from ecg_lightning import hardware, training
from ecg_lightning.building import build_datamodule, build_loggers, build_stage
from ecg_lightning.checkpoints import load_classifier, read_checkpoint
from ecg_lightning.compression.comparison import compare
from ecg_lightning.compression.distill import Distill
from ecg_lightning.compression.measurement import fastest_ms, measure_variants
from ecg_lightning.compression.stage import CompressionStage, StageContext, plain_classifier
from ecg_lightning.compression.stage_fit import StageFit
from ecg_lightning.compression.variant import Variant, deploy, describe_files, evaluate
from ecg_lightning.config import LatencyConfig, plain
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.deployment.export import sha256_of
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.errors import ConfigError
from ecg_lightning.runs.announce import announce_synthetic
from ecg_lightning.runs.pareto import write_pareto
from ecg_lightning.runs.results import (
    TRAINING_FILE,
    RunResult,
    git_revision,
    hash_config,
    package_versions,
    read_training,
)

log = logging.getLogger(__name__)

_NOT_OF_THE_TRAINING = ("compression", "paths", "hardware", "task_name")


def run(cfg: DictConfig, choices: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> RunResult:
    """Compress a checkpoint, as a checked configuration (`config.CompressConfig`) says.

    Args:
        cfg: the composed configuration.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.

    Returns:
        The result, also written to `paths.output_dir`; its score is the last variant's tuned macro F1 on the
        validation fold.

    Raises:
        UserError: something that the user can mend; before anything is trained where possible.
    """
    device = hardware.prepare(cfg.hardware)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    stages = _stages(cfg)
    description = read_checkpoint(cfg.ckpt_path)["ecg_lightning"]
    if any(build_stage(node, "stage").quantizes for node in description.get("stages", [])):
        raise ConfigError(
            f"ckpt_path={cfg.ckpt_path} is int8 already and cannot be changed any more: name the checkpoint that it "
            "was made from"
        )
    result = RunResult(
        status="ok",
        choices=dict(choices or {}) | description["choices"] | _data_choice(cfg, description),
        overrides=list(overrides),
        seed=cfg.seed,
        git=git_revision(),
        versions=package_versions(),
        host=hardware.describe_host() | {"threads": torch.get_num_threads(), "precision": device["precision"]},
    )
    datamodule = build_datamodule(_data_settings(cfg, description), cfg.seed)
    output_dir = Path(cfg.paths.output_dir)
    result.config_hash = hash_config(plain(cfg))
    output_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(plain(cfg)), output_dir / "config.yaml")
    return _compress(cfg, device, Path(cfg.ckpt_path), datamodule, stages, result)


def run_after_training(
    cfg: DictConfig,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    shared_dir: Path | None = None,
) -> RunResult:
    """Train, then compress what was trained.

    Args:
        cfg: the composed configuration, `config.TrainConfig`.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.
        shared_dir: in a sweep, the folder of the trainings that its cells share: what differs in its compression or
            hardware alone is trained once.

    Returns:
        The result; its score is the last variant's tuned macro F1 on the validation fold.
    """
    device = hardware.prepare(cfg.hardware)
    stages = _stages(cfg)
    output_dir = Path(cfg.paths.output_dir)
    if shared_dir is None:
        result, trained = training.run(cfg, choices, overrides), output_dir
    else:
        result, trained = _train_once(cfg, choices, overrides, shared_dir)
    datamodule = build_datamodule(plain(cfg.data), cfg.seed)
    return _compress(cfg, device, trained / "checkpoints" / "best.ckpt", datamodule, stages, result)


def _stages(cfg: DictConfig) -> dict[str, CompressionStage]:
    """The stages, each asked whether it can run here, before anything is trained."""
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):  # every variant is exported and run
        import_extra(package)
    stages: dict[str, CompressionStage] = {}
    quantized: str | None = None
    for name, node in plain(cfg.compression.stages).items():
        stages[name] = stage = build_stage(node, f"compression.stages.{name}")
        if quantized:
            raise ConfigError(
                f"compression.stages.{name} comes after {quantized}, whose int8 network cannot be changed any more: "
                f"put {name} before it"
            )
        stage.check(cfg.hardware.accelerator)
        quantized = name if stage.quantizes else None
    return stages


def _train_once(
    cfg: DictConfig, choices: Mapping[str, str] | None, overrides: Sequence[str], shared_dir: Path
) -> tuple[RunResult, Path]:
    """The training that this cell shares with others: found, or run by whichever cell comes first."""
    content = {key: value for key, value in plain(cfg).items() if key not in _NOT_OF_THE_TRAINING}
    content["precision"] = cfg.hardware.precision
    folder = shared_dir / hash_config(content)[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        if not (folder / TRAINING_FILE).is_file():
            own = OmegaConf.create(plain(cfg))
            assert isinstance(own, DictConfig)
            own.paths.output_dir = str(folder)
            training.run(own, choices, overrides, result_file=TRAINING_FILE)
        else:
            log.info("the training of %s is taken from %s", cfg.model._target_.rpartition(".")[2], folder)
        result = read_training(folder)
    output_dir = Path(cfg.paths.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(plain(cfg)), output_dir / "config.yaml")
    result.choices, result.overrides = dict(choices or {}), list(overrides)
    result.config_hash = hash_config(plain(cfg))
    checkpoints = {name: path for name, path in result.artifacts.items() if name != "config"}
    result.artifacts = {"config": "config.yaml"} | {
        name: os.path.relpath(folder / path, output_dir) for name, path in checkpoints.items()
    }
    return result, folder


def _data_choice(cfg: DictConfig, description: Mapping[str, Any]) -> dict[str, str]:
    """The data's own name in the place of `checkpoint`."""
    if "_target_" in cfg.data or "data" not in description:
        return {}
    return {"data": "synthetic" if "Synthetic" in description["data"]["_target_"] else "ptbxl"}


def _data_settings(cfg: DictConfig, description: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's own data; what the command line names wins where it does not change the task."""
    asked = plain(cfg.data)
    if "_target_" in asked:  # data=ptbxl or data=synthetic
        for name in ("sampling_rate", "label_rule"):
            if asked[name] != description[name]:
                log.info("data.%s=%s is taken from the checkpoint", name, description[name])
                asked[name] = description[name]
        return asked
    own = description.get("data")
    if own is None:
        raise ConfigError(
            f"{cfg.ckpt_path} does not say which data it was trained on: name it with data=ptbxl data.root=DIR"
        )
    return {**own, **{name: value for name, value in asked.items() if value is not None}}


def _compress(
    cfg: DictConfig,
    device: Mapping[str, Any],
    checkpoint: Path,
    datamodule: PTBXLDataModule,
    stages: Mapping[str, CompressionStage],
    result: RunResult,
) -> RunResult:
    """Apply the stages; deploy and measure the model as trained and what every stage makes of it."""
    output_dir = Path(cfg.paths.output_dir)
    trained, sha256 = load_classifier(checkpoint), sha256_of(checkpoint)
    datamodule.load(("train", "val", "test"))
    announce_synthetic(datamodule)
    result.data = training.describe_data(datamodule)
    result.notes += training.fold_notes(trained.description, datamodule)
    training.check_held_out(trained.description, datamodule, f"ckpt_path={checkpoint}")
    threads = torch.get_num_threads()
    variants: list[Variant] = []
    classifier = plain_classifier(copy.deepcopy(trained))
    trained_on = {*trained.description["folds"]["train"], *datamodule.folds["train"]}  # a stage may add some
    pruned = any(build_stage(node, "stage").zeroes for node in classifier.description.get("stages", []))
    for name, stage in {"baseline": None, **stages}.items():
        pruned = (pruned or (stage is not None and stage.zeroes)) and not isinstance(stage, Distill)
        fit = StageFit(cfg, device, datamodule, trained, output_dir / "stages" / name, keep_zeros=pruned)
        context = StageContext(datamodule, cfg.hardware.accelerator, trained, fit, fit.notes)
        torch.set_num_threads(threads)  # a runtime may have changed it
        if stage is not None:
            log.info("stage %s: %s", name, type(stage).__name__)
            classifier = plain_classifier(stage.apply(classifier, context))
            node = plain(cfg.compression.stages[name]) | stage.found
            classifier.description["stages"] = [*classifier.description.get("stages", []), node]
            classifier.description["folds"] = {
                **{split: list(folds) for split, folds in datamodule.folds.items()},
                "train": sorted(trained_on),
            }
        before = variants[-1] if variants else None
        variant = deploy(name, stage, classifier, output_dir / "variants" / name, context, before)
        variant.fine_tuning = fit.timing
        evaluate(variant, classifier, datamodule, threads)
        describe_files(variant, classifier, list(stages)[: len(variants)], sha256)
        variants.append(variant)
    measure_variants(variants, datamodule, LatencyConfig(**plain(cfg.compression.latency)), threads)
    result.variants = [_row(variant, variants[0], datamodule, cfg.compression) for variant in variants]
    last = variants[-1].evaluation
    result.score = last.metrics["val"]["f1_macro_tuned"]
    result.metrics = last.metrics
    result.thresholds = dict(zip(classifier.classes, last.thresholds_C.tolist(), strict=True))
    result.notes += [f"{variant.name}: {note}" for variant in variants for note in variant.notes]
    result.artifacts |= _artifacts(variants, output_dir)
    result.artifacts["pareto"] = write_pareto(
        dataclasses.asdict(result), output_dir, build_loggers(plain(cfg.logger), str(output_dir))
    )
    result.write(output_dir)
    return result


def _row(variant: Variant, baseline: Variant, datamodule: PTBXLDataModule, settings: DictConfig) -> dict[str, Any]:
    """A variant as `result.json` holds it."""
    own, bf16 = fastest_ms(variant), fastest_ms(baseline, "bf16")
    dataset, differences = datamodule.datasets["test"], {}
    for one, evaluation in variant.evaluations.items():
        if one != baseline.own or variant is not baseline:
            differences[one.runs_in] = compare(
                evaluation.decided, baseline.evaluation.decided, dataset, settings.margin, settings.n_resamples
            )
    for row in variant.runtimes:
        row["delta"] = differences.get((row["runtime"], row["precision"]))
    compared = variant is not baseline
    return {
        "name": variant.name,
        "stage": variant.stage,
        "runtime": variant.own.runtime,
        "precision": variant.own.precision,
        "metrics": variant.evaluation.metrics,
        "thresholds": variant.evaluation.thresholds_C.tolist(),
        "temperature": variant.evaluation.temperature,
        "delta": differences.get(variant.own.runs_in),
        "size": variant.size,
        # A few per cent are noise.
        "slower_than_bf16": own > 1.05 * bf16 if compared and own and bf16 else None,
        "runtimes": variant.runtimes,
        "timing": variant.fine_tuning,
        "notes": variant.notes,
    }


def _artifacts(variants: Sequence[Variant], output_dir: Path) -> dict[str, str]:
    return {
        f"{variant.name}/{one.path.name}": str(one.path.relative_to(output_dir))
        for variant in variants
        for one in variant.deployments
        if one.path
    }
