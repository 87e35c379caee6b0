"""The preparation of a compression: check its stages and data, and load its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ecg_lightning.checkpoints.building import build_datamodule
from ecg_lightning.checkpoints.loading import check_classes, data_option, load_classifier, members_of, read_checkpoint
from ecg_lightning.compression.checkpoint_data import data_settings
from ecg_lightning.compression.schema import CompressionSettings
from ecg_lightning.compression.stage import CompressionStage, build_stage, stages_of
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.deployment.checksum import sha256_of
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.errors import ConfigError, UnsupportedModelError
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.results.ledger import record_scoring
from ecg_lightning.results.results import RunResult
from ecg_lightning.training.announce import announce_synthetic
from ecg_lightning.training.leakage import check_held_out, data_notes
from ecg_lightning.training.provenance import describe_data, write_config


@dataclass(frozen=True)
class Prepared:
    """The checked input of a compression.

    Attributes:
        device: arguments of Lightning's Trainer, see `hardware.device.prepare`.
        trained: the model as trained; it is not changed.
        sha256: SHA-256 of its checkpoint.
        datamodule: data module with its splits loaded.
        stages: stages by name, in order.
        threads: number of threads for scoring the files. Latency is measured with it and with one thread.
    """

    device: Mapping[str, Any]
    trained: ECGClassifier
    sha256: str
    datamodule: ECGDataModule
    stages: Mapping[str, CompressionStage]
    threads: int


def build_stages(settings: CompressionSettings) -> dict[str, CompressionStage]:
    """Build the stages. Each one checks that it can run here, before anything is trained.

    Raises:
        UserError: a stage cannot run here, or follows a stage whose int8 network cannot be changed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):  # every variant is exported and run
        import_extra(package)
    stages: dict[str, CompressionStage] = {}
    quantized: str | None = None
    for name, node in settings.compression.stages.items():
        stages[name] = stage = build_stage(node, f"compression.stages.{name}")
        if quantized:
            raise ConfigError(
                f"compression.stages.{name} comes after {quantized}, whose int8 network cannot be changed any more: "
                f"put {name} before it"
            )
        stage.check(settings.hardware.accelerator)
        quantized = name if stage.quantizes else None
    return stages


def take_over(settings: CompressionSettings, result: RunResult) -> ECGDataModule:
    """Give the result the checkpoint's seed and choices, and return the data module of the compression.

    Args:
        settings: settings of the run.
        result: the run's result, which gets the checkpoint's seed and choices, and the configuration.

    Raises:
        ConfigError: the checkpoint is int8 already, or does not know its data.
    """
    description = read_checkpoint(str(settings.ckpt_path))["ecg_lightning"]
    if any(build_stage(node, "stage").quantizes for node in description.get("stages", [])):
        raise ConfigError(
            f"ckpt_path={settings.ckpt_path} is already int8 and cannot be compressed again. Name the checkpoint that "
            "it was made from"
        )
    result.seed = description["seed"]  # of the model's training; config.yaml has the seed of the fine-tuning
    own_data = data_option(description) if not isinstance(settings.data, DataConfig) else None
    result.choices |= description["choices"] | ({"data": own_data} if own_data else {})
    data = data_settings(settings, description)
    datamodule = build_datamodule(data, settings.seed)
    write_config(asdict(settings) | {"data": data}, Path(settings.paths.output_dir), result)
    return datamodule


def prepare(
    settings: CompressionSettings,
    device: Mapping[str, Any],
    checkpoint: Path,
    datamodule: ECGDataModule,
    stages: Mapping[str, CompressionStage],
    result: RunResult,
) -> Prepared:
    """Load the checkpoint and the data, and refuse a model that cannot be compressed or judged here.

    Args:
        settings: settings of the run.
        device: arguments from `hardware.device.prepare`.
        checkpoint: checkpoint of the model as trained.
        datamodule: data module, whose splits are loaded here.
        stages: stages by name, in order.
        result: the run's result, which gets the data and notes on the model.

    Raises:
        UserError: an error that the user can correct.
    """
    what = f"ckpt_path={checkpoint}"
    check_classes(what, read_checkpoint(checkpoint)["ecg_lightning"]["classes"], datamodule)
    datamodule.load(("train", "val", "test"))
    announce_synthetic(datamodule)
    trained = load_classifier(checkpoint)
    described = trained.description
    result.data = describe_data(datamodule)
    result.notes += [*datamodule.source.notes(), *data_notes(described, datamodule)]
    if described["model"].get("mc_dropout"):
        raise UnsupportedModelError(
            f"{checkpoint} draws new dropout in every pass (model.mc_dropout), which an exported file cannot do. "
            "Compress the ensemble without it"
        )
    if earlier := stages_of(described):
        result.notes.append(f"baseline is not uncompressed: the checkpoint went through {', '.join(earlier)}")
    check_held_out(described, datamodule, what)
    if "test" not in result.metrics:  # otherwise this command's training has scored the test fold, and counted it
        folds, n_records = datamodule.folds["test"], len(datamodule.datasets["test"])
        record_scoring(checkpoint, folds, n_records, Path(settings.paths.output_dir), members_of(described))
    return Prepared(device, trained, sha256_of(checkpoint), datamodule, stages, torch.get_num_threads())
