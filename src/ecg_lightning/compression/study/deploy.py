"""The export of a variant. The runtime that will run a file opens it once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from ecg_lightning.compression.schema import StageConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import CUDA_SUFFIXES, barely_int8, files_of
from ecg_lightning.errors import HardwareUnavailableError, MissingPackageError, ModelFileError, UnsupportedModelError
from ecg_lightning.models.classifier import ECGClassifier


def deploy(
    name: str, stage: CompressionStage | None, classifier: ECGClassifier, folder: Path, context: StageContext
) -> list[Deployment]:
    """Export the files of a variant, and return the ways to run them here, the variant's own first.

    Args:
        name: name of the variant.
        stage: the stage that made the variant; None for the model as trained.
        classifier: the variant's model.
        folder: folder of the variant's files.
        context: context of the stage.

    Raises:
        UnsupportedModelError: no runtime can run the model, or none computes it in the intended precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exported = (stage or CompressionStage(StageConfig())).export(classifier, folder, context)
    n_products = _products_of(classifier.network)
    deployments = [_checked(deployment, n_products) for deployment in exported]
    remove_unused(exported, deployments)
    if not any(one.simulated and one.skipped is None for one in deployments):
        reasons = "; ".join(f"{one.runtime}: {one.skipped}" for one in deployments if one.skipped)
        raise UnsupportedModelError(f"{name}: no runtime on this machine runs it in its intended precision ({reasons})")
    return deployments


def remove_unused(before: Sequence[Deployment], after: Sequence[Deployment]) -> None:
    """Remove files that no runtime can run, so that nobody takes them for the variant's."""
    kept = {file for one in after if one.path for file in files_of(one.path)}
    for one in before:
        for file in files_of(one.path) if one.path else []:
            if file not in kept:
                file.unlink(missing_ok=True)


def _products_of(network: nn.Module) -> int | None:
    """Return the number of convolutions and linear layers; None if a recurrent layer has further products."""
    layers = [*network.modules()]
    if any(isinstance(layer, nn.RNNBase) for layer in layers):
        return None
    return sum(isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear) for layer in layers)


def _checked(deployment: Deployment, n_products: int | None) -> Deployment:
    """Skip a deployment that cannot run here, or whose int8 file the runtime would compute in float."""
    on_device = deployment.runtime in CUDA_SUFFIXES
    if deployment.path is None or not (deployment.precision == "int8" or on_device):
        return deployment
    try:
        # It is opened as it is timed: compiled for single records, OpenVINO may choose other kernels.
        runtime = open_runtime(deployment.path, deployment.runtime, deployment.precision, batch=1)
        if on_device:  # compilers work at the first call
            runtime.logits(np.zeros((1, len(LEADS), runtime.n_samples), dtype=np.float32))
        reason = barely_int8(runtime, n_products)
    except (ModelFileError, HardwareUnavailableError, MissingPackageError) as error:
        return deployment._replace(path=None, skipped=str(error))
    except RuntimeError as error:
        if not on_device:
            raise
        return deployment._replace(path=None, skipped=" ".join(str(error).split())[:200])
    return deployment._replace(path=None, skipped=reason) if reason else deployment
