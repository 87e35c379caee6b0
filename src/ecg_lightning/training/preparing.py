"""Preparation of a training or an evaluation: read the data, build the model, and refuse wrong settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ecg_lightning.checkpoints.building import build_datamodule, build_module
from ecg_lightning.checkpoints.loading import check_classes, describe, described_in, load_classifier, load_module
from ecg_lightning.data.datamodule import TASK_KEYS, ECGDataModule
from ecg_lightning.data.source import OWN
from ecg_lightning.data.sources import has_own_labels
from ecg_lightning.errors import ConfigError
from ecg_lightning.hardware import device as hardware
from ecg_lightning.learning.held_out import HeldOutTeacher
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import EnsembleConfig, ModelConfig, NetworkConfig
from ecg_lightning.results.results import RunResult
from ecg_lightning.training.leakage import check_taught, check_unseen, data_notes, learned_from
from ecg_lightning.training.provenance import describe_data, limits, resolved, write_config
from ecg_lightning.training.resume import Resume, find_resume, training_settings
from ecg_lightning.training.schema import TrainingConfig
from ecg_lightning.training.teaching import load_teacher

log = logging.getLogger(__name__)


@dataclass
class Prepared:
    """The parts that a run works with.

    Attributes:
        device: arguments of Lightning's Trainer, see `hardware.device.prepare`.
        module: module to be trained or scored.
        datamodule: data module with its splits loaded.
        resume: checkpoint to resume from; None for a new training and for an evaluation.
    """

    device: dict[str, Any]
    module: ECGModule
    datamodule: ECGDataModule
    resume: Resume | None


@dataclass(frozen=True)
class _Sources:
    """The models that a model learns from besides the data.

    Attributes:
        teacher: the teacher, if there is one.
        members: members of an ensemble.
        weights: description of the checkpoint of its first weights; None if there is none.
    """

    teacher: ECGClassifier | HeldOutTeacher | None
    members: list[ECGClassifier]
    weights: dict[str, Any] | None

    def descriptions(self) -> list[Mapping[str, Any]]:
        """Return the descriptions of all these models."""
        models = [*self.members, *([self.teacher] if self.teacher else [])]
        return [*(model.description for model in models), *([self.weights] if self.weights else [])]


def prepare(settings: TrainingConfig, device: dict[str, Any], result: RunResult) -> Prepared:
    """Read the data and build the model, and write the configuration once it is known to fit the run's folder.

    Args:
        settings: settings of the run.
        device: see `hardware.device.prepare`.
        result: the run's result, which gets the data and notes about the settings.

    Raises:
        UserError: an error that the user can correct.
    """
    output_dir, max_epochs = Path(settings.paths.output_dir), settings.trainer.max_epochs
    resume = find_resume(settings.ckpt_path, output_dir) if settings.train else None
    if resume:
        _use_threads(settings, resume, result)
    if settings.train:
        module, datamodule = _prepare_training(settings, device["precision"], result.choices, resume)
    else:
        module, datamodule = _prepare_evaluation(settings)
        _take_over(module, datamodule, result)
    if resume:
        _note_lengths(resume.earlier_lengths(max_epochs), max_epochs, module, result)
    result.data = describe_data(datamodule)
    result.notes += [*datamodule.source.notes(), *limits(settings)]
    write_config(resolved(settings, module), output_dir, result)
    if settings.hardware.channels_last:
        hardware.to_channels_last(module.network)
    if settings.hardware.compile:
        module.compile_network()
    return Prepared(device, module, datamodule, resume)


def _use_threads(settings: TrainingConfig, resume: Resume, result: RunResult) -> None:
    """Resume with the training's first number of threads, because the order of sums changes their rounding."""
    there = resume.threads
    if there is None or there == torch.get_num_threads():
        return
    if settings.hardware.threads:
        note = (
            f"the training was resumed with hardware.threads={settings.hardware.threads} instead of {there}, so its "
            "result may differ in the last digits from an uninterrupted training"
        )
        result.notes.append(note)
        log.warning("%s", note)
    else:
        log.info("the training resumes with %d threads, as it began", there)
        torch.set_num_threads(there)
        result.host["threads"] = there


def _note_lengths(earlier: list[int], max_epochs: int, module: ECGModule, result: RunResult) -> None:
    """Store an extension of the training in its checkpoints and its result."""
    module.description["training"]["earlier_lengths"] = result.earlier_lengths = earlier
    if earlier:
        lengths = ", then ".join(str(length) for length in (*earlier, max_epochs))
        result.notes.append(
            f"the training was extended ({lengths} epochs). Its learning rate differs from a training of "
            f"{max_epochs} epochs from the start, so compare treats the two as different recipes"
        )


def _take_over(module: ECGModule, datamodule: ECGDataModule, result: RunResult) -> None:
    """Set the result's choices and seed to the checkpoint's, because the checkpoint is what is evaluated."""
    result.choices |= module.description["choices"]
    result.seed = module.description["seed"]
    result.notes = data_notes(module.description, datamodule)
    for text in result.notes:
        log.warning("%s", text)


def _prepare_training(
    settings: TrainingConfig, precision: str, choices: Mapping[str, str], resume: Resume | None
) -> tuple[ECGModule, ECGDataModule]:
    """Return the model and its data, checked and with the normalisation fitted, before anything is trained."""
    datamodule = build_datamodule(settings.data, settings.seed)
    sources = _load_sources(settings.model, datamodule)
    module = build_module(
        settings.model,
        settings.frontend,
        n_samples=datamodule.n_samples,
        duration_s=datamodule.n_samples / datamodule.sampling_rate,
        seed=settings.seed,
        classes=datamodule.classes,
        teacher=sources.teacher,
        members=sources.members,
    )
    described = describe(settings.model, settings.frontend, settings.data, datamodule, choices, settings.seed)
    module.description = described | {"training": training_settings(settings, precision)}
    if sources.members:  # so that a checkpoint does not need the members' files
        module.description["members"] = [member.description for member in sources.members]
    begun = resume.description.get("learned_from", []) if resume else []  # from earlier weights
    module.description["learned_from"] = learned_from(sources.descriptions(), begun)
    if resume:
        resume.check_fits(module.description)
    datamodule.load(("train", "val", "test") if settings.test else ("train", "val"))
    records = {"n_train": len(datamodule.datasets["train"]), "root_hash": datamodule.root_hash}
    if resume:
        resume.check_records(records)
        resume.announce(settings.trainer.max_epochs)
    module.description["training"] |= records
    module.fit_to(datamodule.datasets["train"])
    return module, datamodule


def _load_sources(model: ModelConfig, datamodule: ECGDataModule) -> _Sources:
    """Return the models that a model learns from, unless they have seen folds that this run holds out."""
    network = model if isinstance(model, NetworkConfig) else NetworkConfig()
    teacher = load_teacher(network, datamodule) if network.teacher else None
    weights = described_in(network.weights) if network.weights else None
    if weights:
        check_unseen(f"model.weights={network.weights}", weights, datamodule)
    members_named = model.members if isinstance(model, EnsembleConfig) else []
    named = [Path(path).expanduser().resolve() for path in members_named]
    if again := [path for path in dict.fromkeys(named) if named.count(path) > 1]:
        raise ConfigError(f"model.members: {again[0]} is named {named.count(again[0])} times. Name each member once")
    members = [load_classifier(path) for path in members_named]
    for path, member in zip(members_named, members, strict=True):
        check_taught(f"model.members={path}", member.description, datamodule)
    return _Sources(teacher, members, weights)


def _prepare_evaluation(settings: TrainingConfig) -> tuple[ECGModule, ECGDataModule]:
    """Return a checkpoint's model, and the test split at the checkpoint's sampling rate and label rule."""
    assert settings.ckpt_path is not None
    module = load_module(settings.ckpt_path)
    datamodule = build_datamodule(of_its_task(asdict(settings.data), module.description), settings.seed)
    module.match_labels(datamodule)
    if module.classes:
        check_classes(f"ckpt_path={settings.ckpt_path}", module.classes, datamodule)
    datamodule.load(("test",))
    return module, datamodule


def of_its_task(data: dict[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Return data settings with the sampling rate, length, task and label rule that a checkpoint was trained with."""
    own: dict[str, Any] = {name: described[name] for name in TASK_KEYS if name in data}
    if "duration_s" in data:
        own["duration_s"] = described["n_samples"] / described["sampling_rate"]
    if not has_own_labels(data) and described["task"] == OWN:
        raise ConfigError(
            f"the checkpoint predicts the classes {', '.join(described['classes'][:10])} of its own table. Name a "
            "table with these labels: data=folder data.root=DIR data.table=FILE"
        )
    for name, value in own.items():
        if data[name] != value:
            log.info("data.%s=%s is set by the checkpoint", name, value)
    return data | own
