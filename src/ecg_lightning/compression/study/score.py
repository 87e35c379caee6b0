"""The scores of a variant: every figure comes from a file, in the runtime that will run it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ecg_lightning.compression.study.deploy import remove_unused
from ecg_lightning.compression.study.parity import agree, differences, disagreement
from ecg_lightning.compression.study.variant import Evaluation, Variant
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.wfdb import MILLIVOLTS_PER_UNIT
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import Runtime
from ecg_lightning.errors import ExportError, HardwareUnavailableError, MissingPackageError, ModelFileError
from ecg_lightning.evaluation.calibration import expected_calibration_error
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.headline import macro_intervals
from ecg_lightning.evaluation.metrics import nested_metrics, superclass_metrics
from ecg_lightning.evaluation.predictions import Predictions, predictions_of
from ecg_lightning.models.classifier import ECGClassifier

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_BATCH = 64


def score(
    variant: Variant,
    classifier: ECGClassifier,
    datamodule: ECGDataModule,
    threads: int,
    reference_NC: Array,
    n_resamples: int,
) -> None:
    """Run every deployment over the validation and test folds, and compare each with PyTorch.

    A file that its runtime cannot open or run is skipped with the reason. So is a file in low precision that computes
    something else than PyTorch does.

    Args:
        variant: the deployed variant, which gets its evaluations and its parity.
        classifier: classifier that the variant was exported from.
        datamodule: data module with its splits loaded.
        threads: number of threads of the runtimes.
        reference_NC: (N, C) probabilities from `parity.reference_probabilities`.
        n_resamples: number of resamples of the bootstrap.

    Raises:
        ExportError: a file computes something else in float32, or no file is left of those that PyTorch simulates.
    """
    told, exported = [], [*variant.deployments]
    for number, deployment in enumerate(variant.deployments):
        if deployment.path is None:
            continue
        try:
            runtime = open_runtime(deployment.path, deployment.runtime, deployment.precision, threads)
            predicted = {split: _predictions(runtime, classifier, datamodule, split) for split in ("val", "test")}
        except (ModelFileError, HardwareUnavailableError, MissingPackageError) as error:
            variant.deployments[number] = _skipped(deployment, str(error), variant)
            continue
        found = predicted["val"].probabilities()[: len(reference_NC)]
        variant.parity[deployment] = said = differences(reference_NC, found, datamodule)
        if deployment.simulated and not agree(reference_NC, found, deployment.precision):
            reason = f"{' '.join(deployment.runs_in)} {disagreement(said, len(found), deployment.precision)}"
            if deployment.precision == "fp32":  # no rounding explains the difference
                raise ExportError(f"{variant.name}: {reason}")
            variant.deployments[number] = _skipped(deployment, reason, variant)
            continue
        told.append(f"{' '.join(deployment.runs_in)} {said['max']:.1g} ({said['f1_macro']:+.3f})")
        variant.evaluations[deployment] = _evaluation(predicted, n_resamples)
    remove_unused(exported, variant.deployments)
    log.info(
        "%s compared with PyTorch on %d validation records, largest difference of a probability (difference of "
        "macro F1): %s",
        *(variant.name, len(reference_NC), ", ".join(told)),
    )
    if not any(one.simulated for one in variant.evaluations):  # another tool's model must not stand in for this one
        raise ExportError("; ".join(f"{variant.name}: {one.skipped}" for one in variant.deployments if one.skipped))


def to_millivolts(signals_BCT: torch.Tensor) -> npt.NDArray[np.float32]:
    """Convert int16 units to float32 mV, the input of a deployed file."""
    return np.asarray(signals_BCT.numpy() * np.float32(MILLIVOLTS_PER_UNIT), dtype=np.float32)


def _predictions(runtime: Runtime, classifier: ECGClassifier, datamodule: ECGDataModule, split: str) -> Predictions:
    """Return a runtime's predictions for the records of a split."""
    dataset = datamodule.datasets[split]
    batches = [
        runtime.logits(to_millivolts(dataset.__getitems__(range(first, min(first + _BATCH, len(dataset)))).signals))
        for first in range(0, len(dataset), _BATCH)
    ]
    logits_NC = np.concatenate(batches).astype(np.float64)
    return predictions_of(classifier.classes, classifier.link, dataset, logits_NC)


def _skipped(deployment: Deployment, reason: str, variant: Variant) -> Deployment:
    """Return a deployment as skipped, and add the reason to the variant's notes."""
    log.warning("%s: %s", variant.name, reason)
    variant.notes.append(reason)
    return deployment._replace(path=None, skipped=reason)


def _evaluation(predictions: dict[str, Predictions], n_resamples: int) -> Evaluation:
    choices = Choices.fit(predictions["val"])
    metrics: dict[str, dict[str, Any]] = {}
    for split, one in predictions.items():
        decided = choices.apply_raw(one)
        flat = superclass_metrics(
            torch.from_numpy(decided.probabilities_NC),
            torch.from_numpy(one.targets_NC),
            one.classes,
            torch.from_numpy(decided.thresholds_C),
        )
        metrics[split] = nested_metrics(flat) | {
            "ece_raw": expected_calibration_error(decided.probabilities_NC, one.targets_NC),
            "ece_calibrated": expected_calibration_error(choices.apply(one).probabilities_NC, one.targets_NC),
        }
    test = predictions["test"]
    metrics["test"]["ci95"] = macro_intervals(choices.apply_raw(test), test.targets_NC, test.patient_ids, n_resamples)
    return Evaluation(choices, metrics, predictions)
