"""Int8 by NNCF. Only in its models does OpenVINO compute every linear layer of a transformer in int8."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

from torch import nn

from ecg_lightning.compression.stage import StageContext
from ecg_lightning.compression.tools.quantizable import holder_of, inputs_of, mostly_linear, prepare_for_quantization
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.extras import hushed, import_extra
from ecg_lightning.errors import UnsupportedModelError, UserError
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.system.long_steps import long_step
from ecg_lightning.text import duration

log = logging.getLogger(__name__)

_COMPILER = ("Error building extension", "Ninja is required", "ninja", "C++ compiler", "No space left")


def quantize_with_nncf(classifier: ECGClassifier, context: StageContext, n_calibration: int) -> None:
    """Insert quantizers, with ranges from training records, at the network's products. It can be trained further.

    Args:
        classifier: classifier to quantize. It is changed in place.
        context: context of the stage, with the training records.
        n_calibration: number of training records that give the ranges.

    Raises:
        UnsupportedModelError: NNCF cannot trace the network.
        UserError: NNCF's kernels could not be compiled.
    """
    nncf = import_extra("nncf")
    holder = holder_of(classifier)
    network = prepare_for_quantization(holder.network).eval()
    batches = (inputs_of(holder, batch) for batch in context.network_inputs(classifier, n_calibration))
    inputs = [one[None] for batch in batches for one in batch]
    transformer = nncf.ModelType.TRANSFORMER if mostly_linear(network) else None
    # NNCF's own ranges average the records' extremes. Exact extremes cost DeiT 0.012 and EfficientNetV2 0.006 of AUROC.
    log.info("NNCF is compiling its kernels, which takes minutes the first time")
    _warn_of_lock()
    doing = f"NNCF is calibrating {type(network).__name__} with {len(inputs)} inputs"
    with long_step(log, doing), _quiet(), _explained(network):
        holder.network = nncf.quantize(network, nncf.Dataset(inputs), subset_size=len(inputs), model_type=transformer)


def evaluate_batch_norm(network: nn.Module) -> None:
    """Let BatchNorm in a network that NNCF quantized use its running statistics, also in training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()


@contextmanager
def _explained(network: nn.Module) -> Iterator[None]:
    """Turn an error of NNCF into one sentence. It distinguishes a fault of the environment from one of the network."""
    too_slow = import_extra("nncf.torch.extensions").ExtensionLoaderTimeoutException
    try:
        yield
    except too_slow as error:
        raise UserError(
            f"NNCF's kernels were not compiled within {os.environ['NNCF_EXTENSION_LOAD_TIMEOUT']} s; set"
            " NNCF_EXTENSION_LOAD_TIMEOUT to more seconds or, if an earlier compilation was killed, remove the"
            f" lock file in {_build_folder()}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # NNCF raises anything
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, OSError) or any(word in reason for word in _COMPILER):
            raise UserError(
                f"NNCF's kernels could not be compiled here ({reason}); install a C++ compiler (g++) and ninja, or use "
                "compression=qat_fbgemm"
            ) from error
        raise UnsupportedModelError(
            f"NNCF cannot quantize {type(network).__name__} ({reason}); use compression=qat_fbgemm"
        ) from error


def export_nncf(classifier: ECGClassifier, folder: Path) -> Deployment:
    """Write the OpenVINO model of a network that NNCF quantized."""
    from ecg_lightning.deployment.export import DeployedNetwork, export_openvino

    module = DeployedNetwork(classifier.frontend, classifier.network, classifier.loss)
    with long_step(log, "converting the int8 model to OpenVINO"), _quiet():
        path = export_openvino(
            module, folder / "model.xml", n_leads=len(LEADS), n_samples=classifier.description["n_samples"]
        )
    return Deployment(path, "openvino", "int8")


def _build_folder() -> Path:
    folder: Path = import_extra("nncf.torch.extensions").get_build_directory_for_extension("quantized_functions_cpu")
    return folder


def _warn_of_lock() -> None:
    """Warn that PyTorch waits for another process, which compiles the kernels or was killed while it did."""
    lock = _build_folder() / "lock"
    with suppress(OSError):  # there is no lock
        log.warning(
            "NNCF waits for a process that began to compile its kernels %s ago (m:ss). If there is none any more, stop "
            "this run, remove the file %s and start again",
            duration(time.time() - lock.stat().st_mtime),
            lock,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide NNCF's progress bars and advice."""
    with hushed("nncf"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield
