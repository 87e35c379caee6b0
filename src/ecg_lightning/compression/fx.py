"""PyTorch's own int8 for x86 (FBGEMM), as the seed uses it: dynamic, static, and quantization-aware training.

torch.ao's graph mode is deprecated in favour of torchao's PT2E (see `qat`), but it runs in plain PyTorch, without a
compiler and without another runtime.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.ao.nn.intrinsic.qat import freeze_bn_stats
from torch.ao.quantization import (
    QConfigMapping,
    default_dynamic_qconfig,
    disable_observer,
    get_default_qat_qconfig_mapping,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx, prepare_qat_fx
from torch.fx.proxy import TraceError

from ecg_lightning.compression.quantizable import prepare_for_quantization
from ecg_lightning.compression.stage import CompressionStage, Deployment, StageContext
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.errors import ConfigError, ExportError, HardwareUnavailableError
from ecg_lightning.models.classifier import ECGClassifier

_FROZEN_FROM = 2 / 3  # of the epochs


class FxQuantization(CompressionStage):
    """What the three ways share: a graph that is prepared, perhaps calibrated or trained, and converted.

    Args:
        backend: `fbgemm` or `x86`, PyTorch's kernels.
        epochs: of the fine-tuning, where there is one.
        lr: of the fine-tuning.
    """

    quantizes = True

    def __init__(self, backend: str = "fbgemm", epochs: int | None = None, lr: float | None = None) -> None:
        super().__init__(epochs, lr)
        self.backend = backend

    def check(self, accelerator: str) -> None:
        """Int8 kernels of PyTorch run on x86 processors alone."""
        if accelerator != "cpu" or self.backend not in torch.backends.quantized.supported_engines:
            raise HardwareUnavailableError(
                f"compression backend {self.backend}: its int8 kernels run on x86 processors alone; use hardware=cpu "
                "on such a machine, or compression=ptq"
            )

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Prepare, calibrate or train, and convert."""
        torch.backends.quantized.engine = self.backend
        inputs = next(context.network_inputs(classifier, 2))
        with _explained(classifier.network):
            classifier.network = self._prepare(prepare_for_quantization(classifier.network), inputs)
        classifier = self._adjust(classifier, context)
        with _explained(classifier.network):
            classifier.network = self._convert(classifier.network)
        return classifier

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """The converted structure, with whatever scales; the state brings its own."""
        torch.backends.quantized.engine = self.backend
        signals = torch.zeros(2, len(LEADS), classifier.description["n_samples"])
        with _explained(classifier.network), torch.no_grad():
            inputs = classifier.frontend.eval()(signals)
            prepared = self._prepare(prepare_for_quantization(classifier.network), inputs)
            classifier.network = self._convert(prepared)
        return classifier

    def export(self, classifier: ECGClassifier, folder: Path, context: StageContext) -> list[Deployment]:
        """ONNX where the exporter can write it, and the checkpoint, which runs in PyTorch."""
        from ecg_lightning.checkpoints import save_classifier
        from ecg_lightning.deployment.export import DeployedNetwork, export_onnx_torchscript

        torch_int8 = Deployment(save_classifier(classifier, folder / "model.ckpt"), "torch", "int8")
        module = DeployedNetwork(classifier.frontend, classifier.network, classifier.loss)
        n_samples = classifier.description["n_samples"]
        try:
            onnx = export_onnx_torchscript(module, folder / "model.onnx", len(LEADS), n_samples)
        except ExportError as error:
            skipped = str(error)
            return [*(Deployment(None, name, "int8", skipped) for name in ("openvino", "onnxruntime")), torch_int8]
        return [Deployment(onnx, "openvino", "int8"), Deployment(onnx, "onnxruntime", "int8"), torch_int8]

    def _prepare(self, network: nn.Module, inputs: Tensor) -> nn.Module:
        raise NotImplementedError

    def _adjust(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Calibrate or train the prepared network."""
        return classifier

    def _convert(self, network: nn.Module) -> nn.Module:
        converted: nn.Module = convert_fx(network.eval())  # type: ignore[arg-type]
        return converted


class FxQAT(FxQuantization):
    """Quantization-aware training: the network learns with the rounding that int8 will bring."""

    def _prepare(self, network: nn.Module, inputs: Tensor) -> nn.Module:
        mapping = get_default_qat_qconfig_mapping(self.backend)
        prepared: nn.Module = prepare_qat_fx(network.train(), mapping, (inputs,))
        return prepared

    def _adjust(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        calibrate(classifier, context, n_records=128)  # epochs=0 measures this
        return context.fit(classifier, self.epochs, self.lr, precision="32-true", callbacks=[FreezeLate()])


class FxStatic(FxQuantization):
    """Post-training static quantization, its ranges observed on training records.

    Args:
        backend: see `FxQuantization`.
        n_calibration: records.
        epochs: not used: nothing is trained.
        lr: not used.
    """

    def __init__(
        self, backend: str = "fbgemm", n_calibration: int = 300, epochs: int | None = None, lr: float | None = None
    ) -> None:
        super().__init__(backend, epochs, lr)
        self.n_calibration = n_calibration

    def _prepare(self, network: nn.Module, inputs: Tensor) -> nn.Module:
        prepared: nn.Module = prepare_fx(network.eval(), get_default_qconfig_mapping(self.backend), (inputs,))
        return prepared

    def _adjust(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        calibrate(classifier, context, self.n_calibration)
        return classifier


class FxDynamic(FxQuantization):
    """Dynamic quantization: int8 weights of the linear layers, activations rounded as they come; no convolution."""

    def _prepare(self, network: nn.Module, inputs: Tensor) -> nn.Module:
        mapping = QConfigMapping().set_object_type(nn.Linear, default_dynamic_qconfig)
        prepared: nn.Module = prepare_fx(network.eval(), mapping, (inputs,))
        return prepared


class FreezeLate(Callback):
    """For the last third of the epochs: ranges and batch statistics stand still, as they will in int8."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Freeze once it is time."""
        if trainer.current_epoch >= _FROZEN_FROM * (trainer.max_epochs or 1):
            pl_module.apply(disable_observer).apply(freeze_bn_stats)


def calibrate(classifier: ECGClassifier, context: StageContext, n_records: int) -> None:
    """Let a prepared network see training records, so that its observers know the ranges."""
    classifier.eval()
    with torch.no_grad():
        for inputs in context.network_inputs(classifier, n_records):
            classifier.network(inputs)


@contextmanager
def _explained(network: nn.Module) -> Iterator[None]:
    """Without torch.ao's notices of deprecation; what cannot be traced is one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (TypeError, ValueError, AttributeError, AssertionError, NotImplementedError, TraceError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"torch.ao cannot quantize {type(network).__name__} ({reason}); use compression=qat or compression=ptq"
        ) from error
