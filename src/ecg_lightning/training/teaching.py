"""Teachers that `model.teacher` names: a checkpoint, or the held-out predictions of cross-validations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.folds import fold_groups, folder_name
from ecg_lightning.data.source import OWN
from ecg_lightning.data.sources import has_own_labels
from ecg_lightning.errors import ConfigError
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, Predictions, read_predictions
from ecg_lightning.learning.held_out import HeldOutTeacher
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import NetworkConfig
from ecg_lightning.results.results import read_config
from ecg_lightning.training.leakage import check_taught, dataset_of, learned_from


def load_teacher(model: NetworkConfig, datamodule: ECGDataModule) -> ECGClassifier | HeldOutTeacher:
    """Return the teacher that a model's settings name.

    Args:
        model: node whose `teacher` is a checkpoint, a folder of a cross-validation, or a list of such folders.
        datamodule: this run's data module. A teacher must not have seen its validation and test folds.

    Raises:
        ConfigError: the teacher is neither, has other labels, or has seen folds that this run holds out.
    """
    named = model.teacher
    paths = [Path(path).expanduser() for path in ([named] if isinstance(named, str) else named)]
    if any(path.is_dir() for path in paths):
        held_out = [_held_out(path, datamodule) for path in paths]
        if model.teacher_sees != "record":
            raise ConfigError(
                f"model.teacher={named} is a cross-validation, which has no predictions for augmented records. "
                "Set model.teacher_sees=record"
            )
        seen = learned_from(described for _, described in held_out)
        return HeldOutTeacher(
            [predictions for predictions, _ in held_out],
            {"folds": seen[0], "dataset": seen[0]["dataset"], "learned_from": seen[1:]},
        )
    if len(paths) > 1:
        raise ConfigError(
            f"model.teacher={named}: a list may only name folders of cross-validations. To use several "
            "checkpoints as the teacher, average them with model=ensemble"
        )
    teacher = load_classifier(paths[0])
    check_taught(f"model.teacher={paths[0]}", teacher.description, datamodule)
    return teacher


def _held_out(folder: Path, datamodule: ECGDataModule) -> tuple[Predictions, dict[str, Any]]:
    """Return the held-out predictions of a cross-validation, and the description of the data that its models saw."""
    what = f"model.teacher={folder}"
    config = read_config(folder)
    data = config.get("data") or {}
    if has_own_labels(data):
        data = {"task": OWN, "label_rule": OWN, **data}
    if not config.get("cross_validation") or not {"train_folds", "task", "label_rule"} <= data.keys():
        raise ConfigError(
            f"{what} is not the folder of a finished cross-validation (cross_validation=[1,2,3,4,5,6,7,8]). For a "
            "single teacher, name its checkpoint, such as RUN/checkpoints/best.ckpt"
        )
    if config.get("scored_epoch") != "last" or config["callbacks"]["early_stopping"]:
        raise ConfigError(
            f"{what}: its epochs were chosen on the folds that it would teach. Run the cross-validation with "
            "scored_epoch=last callbacks.early_stopping=null"
        )
    described = {
        **data,
        "folds": {"train": data["train_folds"], "val": []},
        "sampling_rate": datamodule.sampling_rate,  # predictions at another rate are as good
    }
    trainings = [folder / folder_name(folds) for folds in fold_groups(config["cross_validation"])]
    models = [read_checkpoint(one / "checkpoints" / "best.ckpt")["ecg_lightning"] for one in trainings]
    described["dataset"] = dataset_of(models[0])
    described["learned_from"] = [seen for found in models for seen in found.get("learned_from", [])]
    check_taught(what, described, datamodule)
    predictions = read_predictions(folder / PREDICTIONS_FILE)["val"]
    if predictions.link != "sigmoid" or predictions.classes != datamodule.classes:
        raise ConfigError(
            f"{what}: its models have a {predictions.link} over {', '.join(predictions.classes)}, but this run "
            f"needs independent classes (sigmoid) {', '.join(datamodule.classes)}. Use another teacher"
        )
    return predictions, described
