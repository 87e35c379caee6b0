"""One variant of a model, evaluated as it is deployed: every figure comes from a file in the runtime that takes it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecg_lightning.checkpoints.loading import licence_of, save_classifier
from ecg_lightning.compression.parity import agree, differences, disagreement
from ecg_lightning.compression.schema import StageConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.wfdb import LEADS, MILLIVOLTS_PER_UNIT
from ecg_lightning.deployment.checksum import write_checksum
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.metadata import Metadata, chosen_fields, write_metadata
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import CUDA_SUFFIXES, Runtime, barely_int8, files_of, sizes_of
from ecg_lightning.errors import (
    ExportError,
    HardwareUnavailableError,
    MissingPackageError,
    ModelFileError,
    UnsupportedModelError,
)
from ecg_lightning.evaluation.calibration import expected_calibration_error
from ecg_lightning.evaluation.choices import Choices, Decided
from ecg_lightning.evaluation.headline import macro_intervals
from ecg_lightning.evaluation.metrics import nested_metrics, superclass_metrics
from ecg_lightning.evaluation.predictions import Predictions, predictions_of
from ecg_lightning.hardware.processor import processor_has_int8
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.models.structure import measure_network
from ecg_lightning.registry import schema_of

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_BATCH = 64


@dataclass
class Evaluation:
    """The scores of one deployment.

    Attributes:
        choices: made on the validation fold, as the file predicts it.
        metrics: by split, as in `result.json`.
        predictions: by split, as the file predicts it.
    """

    choices: Choices
    metrics: dict[str, dict[str, Any]]
    predictions: dict[str, Predictions]

    @property
    def decided(self) -> Decided:
        """Raw probabilities of the test fold, and the thresholds on them."""
        return self.choices.apply_raw(self.predictions["test"])


@dataclass
class Variant:
    """A model at one point of a compression.

    Attributes:
        name: `baseline`, or the stage's.
        stage: class of the stage, or None.
        deployments: ways to run it, its own first.
        evaluations: of the deployments that are not skipped.
        parity: differences to PyTorch, by deployment.
        size: bytes and counts.
        fine_tuning: seconds and epochs of the stage's fits.
        notes: what a reader must know.
        runtimes: measured rows, filled by the latency measurement.
        files: others that were written, and are not deployed here.
    """

    name: str
    stage: str | None
    deployments: list[Deployment]
    size: dict[str, Any]
    evaluations: dict[Deployment, Evaluation] = field(default_factory=dict)
    parity: dict[Deployment, dict[str, float]] = field(default_factory=dict)
    fine_tuning: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    runtimes: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def own(self) -> Deployment:
        """The deployment whose figures are the variant's."""
        for deployment in self.deployments:
            if deployment.skipped is None:
                return deployment
        reasons = "; ".join(f"{one.runtime}: {one.skipped}" for one in self.deployments)
        raise HardwareUnavailableError(f"no runtime on this machine can run {self.name} ({reasons})")

    @property
    def evaluation(self) -> Evaluation:
        """Of its own deployment."""
        return self.evaluations[self.own]


def deploy(
    name: str,
    stage: CompressionStage | None,
    classifier: ECGClassifier,
    folder: Path,
    context: StageContext,
    before: Variant | None,
) -> Variant:
    """Export what a stage gave, the uncompressed model where there is none.

    Args:
        name: the variant's.
        stage: what it came out of.
        classifier: what came out.
        folder: for its files.
        context: the stage's.
        before: the variant that it was made of.

    Raises:
        UnsupportedModelError: no runtime takes it, or none computes it in its precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exported = (stage or CompressionStage(StageConfig())).export(classifier, folder, context)
    deployments = [_checked(deployment) for deployment in exported]
    _remove_unused(exported, deployments)
    if not any(one.simulated and one.skipped is None for one in deployments):
        reasons = "; ".join(f"{one.runtime}: {one.skipped}" for one in deployments if one.skipped)
        raise UnsupportedModelError(f"{name}: no runtime on this machine runs it in its intended precision ({reasons})")
    if stage is None or not stage.quantizes:
        network = reparameterize(classifier.network)  # as it is exported
        example = next(context.network_inputs(classifier, 1))
        counts = measure_network(classifier.network) | {"macs": count_macs(network, example)}
    else:  # as many as before: a quantized network hides them
        assert before is not None
        counts = measure_network(classifier.network) | {name: before.size[name] for name in ("parameters", "macs")}
    return Variant(name, type(stage).__name__ if stage else None, deployments, counts, notes=context.notes)


def _checked(deployment: Deployment) -> Deployment:
    """Skip what cannot be run here, and what a runtime would compute in float, which cannot be called its int8."""
    on_device = deployment.runtime in CUDA_SUFFIXES
    if deployment.path is None or not (deployment.precision == "int8" or on_device):
        return deployment
    try:
        # As it is timed: compiled for single records, OpenVINO may choose other kernels than for any number.
        runtime = open_runtime(deployment.path, deployment.runtime, deployment.precision, batch=1)
        if on_device:  # compilers work at the first call
            runtime.logits(np.zeros((1, len(LEADS), runtime.n_samples), dtype=np.float32))
        reason = barely_int8(runtime)
    except (ModelFileError, HardwareUnavailableError, MissingPackageError) as error:
        return deployment._replace(path=None, skipped=str(error))
    except RuntimeError as error:
        if not on_device:
            raise
        return deployment._replace(path=None, skipped=" ".join(str(error).split())[:200])
    return deployment._replace(path=None, skipped=reason) if reason else deployment


def evaluate(
    variant: Variant,
    classifier: ECGClassifier,
    datamodule: ECGDataModule,
    threads: int,
    reference_NC: Array,
    n_resamples: int,
) -> None:
    """Run every deployment over the validation and test folds, and compare each with PyTorch.

    A low-precision runtime that computes something else than PyTorch does is skipped, with the difference as the
    reason.

    Args:
        variant: deployed.
        classifier: what it is made of.
        datamodule: with its splits loaded.
        threads: of the runtimes.
        reference_NC: `parity.reference_probabilities`.
        n_resamples: of the bootstrap.

    Raises:
        ExportError: one does in float32, or all do that ought to compute the same.
    """
    link = classifier.link
    told = []
    for number, deployment in enumerate(variant.deployments):
        if deployment.path is None:
            continue
        runtime = open_runtime(deployment.path, deployment.runtime, deployment.precision, threads)
        predicted = {
            split: predictions_of(
                classifier.classes, link, datamodule.datasets[split], run_over(runtime, datamodule, split)
            )
            for split in ("val", "test")
        }
        found = predicted["val"].probabilities()[: len(reference_NC)]
        variant.parity[deployment] = said = differences(reference_NC, found, datamodule)
        if deployment.simulated and not agree(reference_NC, found, deployment.precision):
            wrong = disagreement(said, len(found), deployment.precision)
            reason = f"{' '.join(deployment.runs_in)} {wrong}"
            if deployment.precision == "fp32":  # no rounding explains it
                raise ExportError(f"{variant.name}: {reason}")
            log.warning("%s: %s", variant.name, reason)
            variant.deployments[number] = deployment._replace(path=None, skipped=reason)
            variant.notes.append(reason)
            continue
        told.append(f"{' '.join(deployment.runs_in)} {said['max']:.1g} ({said['f1_macro']:+.3f})")
        variant.evaluations[deployment] = _score(predicted, n_resamples)
    _remove_unused([*variant.parity], variant.deployments)
    log.info(
        "%s compared with PyTorch on %d validation records, largest difference of a probability (difference of "
        "macro F1): %s",
        variant.name,
        len(reference_NC),
        ", ".join(told),
    )
    if not any(one.simulated for one in variant.evaluations):  # another tool's model must not stand in for this one
        raise ExportError("; ".join(f"{variant.name}: {one.skipped}" for one in variant.deployments if one.skipped))


def _remove_unused(before: Sequence[Deployment], after: Sequence[Deployment]) -> None:
    """Files that no runtime is left to run must not be mistaken for the variant's."""
    kept = {file for one in after if one.path for file in files_of(one.path)}
    for one in before:
        for file in files_of(one.path) if one.path else []:
            if file not in kept:
                file.unlink(missing_ok=True)


def run_over(runtime: Runtime, datamodule: ECGDataModule, split: str) -> Array:
    """(N, C) logits of a split's records, through a runtime."""
    dataset = datamodule.datasets[split]
    batches = [
        runtime.logits(to_millivolts(dataset.__getitems__(range(first, min(first + _BATCH, len(dataset)))).signals))
        for first in range(0, len(dataset), _BATCH)
    ]
    return np.concatenate(batches).astype(np.float64)


def to_millivolts(signals_BCT: torch.Tensor) -> npt.NDArray[np.float32]:
    """Int16 units → float32 mV, as a deployed file takes them."""
    return np.asarray(signals_BCT.numpy() * np.float32(MILLIVOLTS_PER_UNIT), dtype=np.float32)


def count_macs(network: nn.Module, example: torch.Tensor) -> int | None:
    """Multiply–accumulates of a network for one record: convolutions, linear layers, attention products and LSTMs.

    None for a network with Fourier transforms, which are no products and most of its work.
    """
    transforms: list[Any] = []

    def note_transform(*_: Any, **__: Any) -> int:
        transforms.append(1)
        return 0

    known = {  # besides the counter's own
        torch.ops.aten.mkldnn_rnn_layer: _fused_lstm_flops,
        torch.ops.aten._fft_r2c: note_transform,
        torch.ops.aten._fft_c2r: note_transform,
        torch.ops.aten._fft_c2c: note_transform,
    }
    # The counter does not know the processor's fused attention.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=known) as counter:
        network.eval()(example)
    return None if transforms else int(counter.get_total_flops()) // 2


def _fused_lstm_flops(
    inputs: Sequence[int], weight: Sequence[int], recurrent: Sequence[int], *_: Any, **__: Any
) -> int:
    """Of one layer and direction, from the shapes of its (T, B, F) inputs and its two matrices."""
    return 2 * inputs[0] * inputs[1] * (math.prod(weight) + math.prod(recurrent))


def _score(predictions: dict[str, Predictions], n_resamples: int) -> Evaluation:
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


def describe_files(variant: Variant, classifier: ECGClassifier, checkpoint_sha256: str) -> None:
    """Write into every file what is needed to use it, and beside it its SHA-256; then the variant has its size.

    Args:
        variant: evaluated.
        classifier: what it is made of.
        checkpoint_sha256: of the checkpoint that they started from.
    """
    written: set[Path] = set()
    for one, evaluation in variant.evaluations.items():
        path = one.path
        if path is None or path in written:
            continue
        written.add(path)
        about = describe_file(classifier, one, evaluation, checkpoint_sha256)
        if path.suffix == ".ckpt":
            classifier.thresholds.copy_(torch.from_numpy(evaluation.choices.raw_thresholds))
            save_classifier(classifier, path, evaluation.choices, deployed=asdict(about))
        else:
            write_metadata(path, about)
        write_checksum(path)
    assert variant.own.path is not None
    variant.size |= sizes_of(variant.own.path)


def describe_file(
    classifier: ECGClassifier, deployment: Deployment, evaluation: Evaluation, checkpoint_sha256: str
) -> Metadata:
    """What a file says about itself.

    Args:
        classifier: what the variant is made of.
        deployment: the runtime and precision that were scored.
        evaluation: what they scored.
        checkpoint_sha256: of the checkpoint that the stages started from.
    """
    described = classifier.description
    return Metadata(
        **chosen_fields(evaluation.choices),
        sampling_rate=described["sampling_rate"],
        n_samples=described["n_samples"],
        label_rule=described["label_rule"],
        checkpoint_sha256=checkpoint_sha256,
        model=described["choices"].get("model", ""),
        precision=deployment.precision,
        runtime=deployment.runtime,
        int8_products=processor_has_int8(),
        compression=tuple(stages_of(described)),
        data_licence=licence_of(described),
    )


def stages_of(description: Mapping[str, Any]) -> list[str]:
    """Classes of the stages that a checkpoint went through, in order."""
    return [schema_of("stage", node, "stage").target.rpartition(".")[2] for node in description.get("stages", [])]
