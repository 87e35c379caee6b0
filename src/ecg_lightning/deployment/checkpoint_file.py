"""Metadata and calibration of a checkpoint, in the same form as in an exported file."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.checkpoints.loading import load_classifier
from ecg_lightning.deployment.checksum import sha256_of
from ecg_lightning.deployment.metadata import Metadata, parse
from ecg_lightning.deployment.runtimes.runtime import Runtime, check_length
from ecg_lightning.deployment.runtimes.torch_runtime import TorchRuntime
from ecg_lightning.errors import CheckpointError
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, read_predictions
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.results.finished import is_finished
from ecg_lightning.results.recorded_choices import recorded_choices

_NOT_CALIBRATED = (
    "the probabilities are not calibrated and undecided classes are not marked, because this checkpoint was not "
    "scored at the end of a run. Use the best.ckpt of a finished run"
)


def open_checkpoint(path: Path, threads: int) -> tuple[Metadata, Runtime, tuple[str, ...]]:
    """Return a checkpoint's description, its opened network, and notes for readers of its predictions.

    Raises:
        CheckpointError: see `checkpoints.loading.load_classifier`; or the description does not fit.
        DataError: the run's predictions cannot be read.
    """
    classifier = load_classifier(path)
    runtime = TorchRuntime(
        classifier, check_length(path, classifier.description["n_samples"]), "fp32", threads, source=path
    )
    metadata, notes = _describe(classifier, path)
    return metadata, runtime, notes


def _describe(classifier: ECGClassifier, path: Path) -> tuple[Metadata, tuple[str, ...]]:
    """Return the metadata of a checkpoint, with the choices made on its validation fold, and the notes.

    A compressed variant's checkpoint holds the description of its exported file.
    """
    described = classifier.description
    if "deployed" in described:
        try:
            return parse(described["deployed"]), ()
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: its description of the exported file is damaged ({error})") from None
    choices = classifier.choices
    assert choices is not None  # a loaded classifier has them
    if not choices.is_calibrated and (run := _run_of(path)):  # of earlier versions only the run holds the choices
        val = read_predictions(run / PREDICTIONS_FILE).get("val")
        if val and val.classes == choices.classes:
            choices = recorded_choices(run, val, val)
    metadata = Metadata(
        choices=choices,
        sampling_rate=described["sampling_rate"],
        n_samples=described["n_samples"],
        label_rule=described["label_rule"],
        checkpoint_sha256=sha256_of(path),
        model=described["choices"].get("model", ""),
        precision="fp32",
        runtime="torch",
    )
    return metadata, () if choices.is_calibrated else (_NOT_CALIBRATED,)


def _run_of(path: Path) -> Path | None:
    """Return the finished run that a checkpoint was scored in, if it holds predictions."""
    run = path.absolute().parents[1]
    if path.name != "best.ckpt" or path.absolute().parent.name != "checkpoints" or not is_finished(run):
        return None
    return run if (run / PREDICTIONS_FILE).is_file() else None
