"""One variant of a model, evaluated as it is deployed: every figure comes from a file in the runtime that takes it."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ecg_lightning.checkpoints import save_classifier
from ecg_lightning.compression.comparison import Decided, intervals
from ecg_lightning.compression.stage import CompressionStage, Deployment, StageContext
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.wfdb import LEADS, MILLIVOLTS_PER_UNIT
from ecg_lightning.deployment.export import write_checksum
from ecg_lightning.deployment.metadata import Metadata, write_metadata
from ecg_lightning.deployment.runtimes import CUDA_SUFFIXES, Runtime, by_precision, files_of, open_runtime
from ecg_lightning.errors import ExportError, HardwareUnavailableError, MissingPackageError, ModelFileError
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.calibration import expected_calibration_error, fit_temperature, probabilities
from ecg_lightning.evaluation.metrics import superclass_metrics
from ecg_lightning.evaluation.thresholds import best_f1_thresholds
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.runs.results import nested_metrics

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_PTBXL_LICENCE = "trained on PTB-XL, CC BY 4.0 (Wagner et al. 2020, doi 10.13026/kfzx-aw45)"
_PARITY_RECORDS = 128
_BATCH = 64
# Of each class's probabilities, in PyTorch's arithmetic against the runtime's: largest mean difference, and least
# correlation, which a file that mixes up classes or records, or gives a constant, cannot reach. Int8 kernels round sums
# that PyTorch's simulation does not; what that costs is in the variant's own F1, which the runtime gives.
_TOLERANCE = {"fp32": (1e-3, 0.999), "bf16": (0.03, 0.98), "int8": (0.08, 0.9)}
_CONSTANT = 0.02  # standard deviation below which a class's probabilities have no correlation to speak of


@dataclass
class Evaluation:
    """What one deployment scores: thresholds and temperature from the validation fold.

    Attributes:
        temperature: divides the logits.
        thresholds_C: on the calibrated probabilities.
        raw_thresholds_C: on the uncalibrated ones, as checkpoints hold them.
        metrics: by split, as in `result.json`.
        probabilities: by split, (N, C), calibrated.
    """

    temperature: float
    thresholds_C: Array
    raw_thresholds_C: Array
    metrics: dict[str, dict[str, Any]]
    probabilities: dict[str, Array]

    @property
    def decided(self) -> Decided:
        """What it says of the test fold."""
        return Decided(self.probabilities["test"], self.thresholds_C)


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

    @property
    def own(self) -> Deployment:
        """The deployment whose figures are the variant's."""
        for deployment in self.deployments:
            if deployment.skipped is None:
                return deployment
        reasons = "; ".join(f"{one.runtime}: {one.skipped}" for one in self.deployments)
        raise HardwareUnavailableError(f"nothing here can run {self.name} ({reasons})")

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
    """
    folder.mkdir(parents=True, exist_ok=True)
    exported = (stage or CompressionStage()).export(classifier, folder, context)
    deployments = [_checked(deployment) for deployment in exported]
    if stage is None or not stage.quantizes:
        network = reparameterize(classifier.network)  # as it is exported
        counts = {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "macs": count_macs(network, next(context.network_inputs(classifier, 1))),
        }
    else:  # as many as before: a quantized network hides them
        assert before is not None
        counts = {key: before.size[key] for key in ("parameters", "macs")}
    return Variant(name, type(stage).__name__ if stage else None, deployments, counts, notes=context.notes)


def _checked(deployment: Deployment) -> Deployment:
    """Skip what cannot be run here, and what a runtime would compute in float, which cannot be called its int8."""
    on_device = deployment.runtime in CUDA_SUFFIXES
    if deployment.path is None or not (deployment.precision == "int8" or on_device):
        return deployment
    try:
        runtime = open_runtime(deployment.path, deployment.runtime, deployment.precision)
        if on_device:  # compilers work at the first call
            runtime.logits(np.zeros((1, len(LEADS), runtime.n_samples), dtype=np.float32))
    except (ModelFileError, HardwareUnavailableError, MissingPackageError) as error:
        return deployment._replace(path=None, skipped=str(error))
    except RuntimeError as error:
        if not on_device:
            raise
        return deployment._replace(path=None, skipped=" ".join(str(error).split())[:200])
    counts = by_precision(runtime.kernels())
    in_int8, n_products = counts.get("int8", 0), sum(counts.values())
    if deployment.runtime == "onnxruntime" and in_int8 < n_products / 4:
        reason = f"ONNX Runtime computes only {in_int8} of {n_products} products of this file in int8"
        return deployment._replace(path=None, skipped=reason)
    return deployment


def evaluate(variant: Variant, classifier: ECGClassifier, datamodule: PTBXLDataModule, threads: int) -> None:
    """Run every deployment over the validation and test folds, and compare each with PyTorch.

    A runtime that computes something else than PyTorch does is skipped, with the difference as the reason.

    Raises:
        ExportError: all of them do.
    """
    link = _link(classifier)
    reference = probabilities(_torch_logits(classifier, datamodule), link=link)
    for number, deployment in enumerate(variant.deployments):
        if deployment.path is None:
            continue
        runtime = open_runtime(deployment.path, deployment.runtime, deployment.precision, threads)
        logits = {split: run_over(runtime, datamodule, split) for split in ("val", "test")}
        found = probabilities(logits["val"][: len(reference)], link=link)
        variant.parity[deployment] = said = _parity(reference, found, datamodule)
        log.info(
            "%s in %s %s against PyTorch, %d validation records: largest difference of a probability %.2g, macro F1 "
            "%+.4f",
            variant.name,
            *deployment.runs_in,
            len(reference),
            said["max"],
            said["f1_macro"],
        )
        if deployment.simulated and not _agrees(reference, found, *_TOLERANCE[deployment.precision]):
            most, correlation = _TOLERANCE[deployment.precision]
            reason = (
                f"{' '.join(deployment.runs_in)} does not compute what was trained: on {len(reference)} validation "
                f"records it differs from PyTorch by up to {said['max']:.2g} in a probability and by "
                f"{said['f1_macro']:+.3f} in macro F1 (allowed for each class are {most} in the mean and a correlation "
                f"of {correlation})"
            )
            log.warning("%s: %s", variant.name, reason)
            variant.deployments[number] = deployment._replace(path=None, skipped=reason)
            continue
        variant.evaluations[deployment] = _score(logits, datamodule, classifier.classes, link)
    if not variant.evaluations:
        raise ExportError("; ".join(f"{variant.name}: {one.skipped}" for one in variant.deployments))


def run_over(runtime: Runtime, datamodule: PTBXLDataModule, split: str) -> Array:
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


def describe_size(files: Sequence[Path], network: nn.Module) -> dict[str, Any]:
    """Bytes of the deployed files, and the share of the network's weights that is not zero."""
    contents = [file.read_bytes() for file in files]
    weights = [*_weights(network)]
    return {
        "bytes": sum(map(len, contents)),
        "compressed_bytes": sum(len(zlib.compress(content, 6)) for content in contents),
        "nonzero_fraction": sum(int(w.count_nonzero()) for w in weights) / max(1, sum(w.numel() for w in weights)),
    }


def count_macs(network: nn.Module, example: torch.Tensor) -> int:
    """Multiply–accumulates of a network for one record: convolutions, linear layers and attention products."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(example)
    return int(counter.get_total_flops()) // 2


def _weights(network: nn.Module) -> list[torch.Tensor]:
    """Its parameters; of an int8 network the integers."""
    kept: list[torch.Tensor] = [parameter.detach() for parameter in network.parameters()]
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if callable(weight):  # quantized modules of torch.ao hold it packed
            kept.append(weight().int_repr())
    return kept + [buffer for buffer in network.buffers() if buffer.dtype == torch.int8]


def _torch_logits(classifier: ECGClassifier, datamodule: PTBXLDataModule) -> Array:
    dataset = datamodule.datasets["val"]
    signals = dataset.__getitems__(range(min(_PARITY_RECORDS, len(dataset)))).signals
    with torch.inference_mode():
        batches = [classifier.eval()(batch.to(classifier.device)).float().cpu() for batch in torch.split(signals, 32)]
    return np.asarray(torch.cat(batches).numpy())


def _parity(reference: Array, found: Array, datamodule: PTBXLDataModule) -> dict[str, float]:
    """Differences of the probabilities, and of macro F1 at 0.5."""
    difference = np.abs(found - reference)
    targets = datamodule.datasets["val"].targets[: len(reference)].numpy().astype(bool)
    whole = np.ones((1, len(reference)))
    f1 = [float(bootstrap.f1_macro(guesses >= 0.5, targets, whole)[0]) for guesses in (found, reference)]
    return {"max": float(difference.max()), "mean": float(difference.mean()), "f1_macro": f1[0] - f1[1]}


def _agrees(reference_NC: Array, found_NC: Array, most: float, correlation: float) -> bool:
    """Whether every class's probabilities are the same ones, but for the rounding."""
    for one_N, other_N in zip(reference_NC.T, found_NC.T, strict=True):
        if not np.abs(one_N - other_N).mean() <= most:  # NaN, too
            return False
        if one_N.std() > _CONSTANT and not np.corrcoef(one_N, other_N)[0, 1] >= correlation:
            return False
    return True


def _score(logits: dict[str, Array], datamodule: PTBXLDataModule, classes: Sequence[str], link: str) -> Evaluation:
    targets = {split: datamodule.datasets[split].targets for split in logits}
    temperature = fit_temperature(logits["val"], targets["val"], link)
    calibrated = {split: probabilities(values, temperature, link) for split, values in logits.items()}
    truth = targets["val"].numpy().astype(np.uint8)
    thresholds = best_f1_thresholds(calibrated["val"], truth)
    raw_thresholds = best_f1_thresholds(probabilities(logits["val"], link=link), truth)
    metrics: dict[str, dict[str, Any]] = {}
    for split, guesses in calibrated.items():
        flat = superclass_metrics(torch.from_numpy(guesses), targets[split], classes, torch.from_numpy(thresholds))
        metrics[split] = nested_metrics(flat) | {
            "ece": expected_calibration_error(guesses, targets[split]),
            "ece_uncalibrated": expected_calibration_error(probabilities(logits[split], link=link), targets[split]),
        }
    metrics["test"]["ci95"] = intervals(Decided(calibrated["test"], thresholds), datamodule.datasets["test"])
    return Evaluation(temperature, thresholds, raw_thresholds, metrics, calibrated)


def describe_files(
    variant: Variant, classifier: ECGClassifier, compression: Sequence[str], checkpoint_sha256: str
) -> None:
    """Write into every file what is needed to use it, and beside it its SHA-256; then the variant has its size.

    Args:
        variant: evaluated.
        classifier: what it is made of.
        compression: names of the stages that it went through.
        checkpoint_sha256: of the checkpoint that they started from.
    """
    described = classifier.description
    written: set[Path] = set()
    for one, evaluation in variant.evaluations.items():
        path = one.path
        if path is None or path in written:
            continue
        written.add(path)
        if path.suffix == ".ckpt":
            classifier.thresholds.copy_(torch.from_numpy(evaluation.raw_thresholds_C))
            save_classifier(classifier, path)
        else:
            write_metadata(
                path,
                Metadata(
                    classes=tuple(classifier.classes),
                    thresholds=tuple(evaluation.thresholds_C.tolist()),
                    temperature=evaluation.temperature,
                    sampling_rate=described["sampling_rate"],
                    n_samples=described["n_samples"],
                    label_rule=described["label_rule"],
                    link=_link(classifier),
                    checkpoint_sha256=checkpoint_sha256,
                    model=described["choices"].get("model", ""),
                    precision=one.precision,
                    runtime=one.runtime,
                    compression=tuple(compression),
                    data_licence="trained on synthetic ECGs" if _is_synthetic(described) else _PTBXL_LICENCE,
                ),
            )
        write_checksum(path)
    assert variant.own.path is not None
    variant.size |= describe_size(files_of(variant.own.path), classifier.network)


def _link(classifier: ECGClassifier) -> str:
    return "softmax" if classifier.loss.single_label else "sigmoid"


def _is_synthetic(description: dict[str, Any]) -> bool:
    return str(description.get("data", {}).get("_target_", "")).endswith("SyntheticPTBXLDataModule")
