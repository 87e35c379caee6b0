"""Quantization-aware training for deployment: int8 files that OpenVINO computes in int8."""

from __future__ import annotations

import logging
from pathlib import Path

from ecg_lightning.compression.act_swap import has_smooth_activations
from ecg_lightning.compression.fx import FrozenStatistics, Observers, calibrate
from ecg_lightning.compression.schema import QATConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.compression.tools.nncf_quantization import evaluate_batch_norm, export_nncf, quantize_with_nncf
from ecg_lightning.compression.tools.pt2e import convert_pt2e, freeze_statistics, prepare_pt2e
from ecg_lightning.compression.tools.quantizable import holder_of, inputs_of, mostly_linear
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.errors import HardwareUnavailableError
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.system.long_steps import long_step

log = logging.getLogger(__name__)


class QAT(CompressionStage):
    """Inserts fake quantization, calibrates it, and trains the network with it.

    PT2E quantizes convolutional networks without SiLU or GELU, and NNCF quantizes the others. OpenVINO computes every
    convolution of a PT2E network in int8, but half of a transformer's linear layers in float. If NNCF quantized the
    transformer, it computes all of them in int8. Calibrated by PT2E, a network with SiLU lost more accuracy than by
    NNCF (docs/explanation/int8.md).
    """

    quantizes = True
    settings: QATConfig

    def check(self, accelerator: str) -> None:
        """Refuse hardware other than processors, for which the int8 files are made."""
        for package in ("nncf", "torchao"):
            import_extra(package)
        if accelerator != "cpu":
            raise HardwareUnavailableError("compression=qat writes int8 files for processors. Use hardware=cpu")

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Quantize and train the network, and convert a PT2E graph."""
        if self._tool(classifier) == "nncf":
            quantize_with_nncf(classifier, context, self.settings.n_calibration)
            frozen = FrozenStatistics(evaluate_batch_norm)
            return context.fit(
                classifier, self.settings.epochs, self.settings.lr, precision="32-true", callbacks=[frozen]
            )
        holder = holder_of(classifier)
        inputs = inputs_of(holder, next(context.network_inputs(classifier, 2)))
        with long_step(
            log, f"preparing the network for int8, and calibrating it with {self.settings.n_calibration} records"
        ):
            holder.network = prepare_pt2e(holder.network, inputs)
            calibrate(classifier, context, self.settings.n_calibration)
        observers = Observers(freeze_statistics)
        classifier = context.fit(
            classifier, self.settings.epochs, self.settings.lr, precision="32-true", callbacks=[observers]
        )
        holder = holder_of(classifier)
        holder.network = convert_pt2e(holder.network)
        return classifier

    def export(self, classifier: ECGClassifier, folder: Path, context: StageContext) -> list[Deployment]:
        """Write an OpenVINO model from NNCF, or an ONNX file from PT2E."""
        if self._tool(context.given) == "pt2e":
            from ecg_lightning.deployment.export import DeployedNetwork, export_onnx

            module = DeployedNetwork(classifier.frontend, classifier.network, classifier.loss)
            n_samples = classifier.description["n_samples"]
            onnx = export_onnx(module, folder / "model.onnx", len(LEADS), n_samples)
            return [Deployment(onnx, "openvino", "int8"), Deployment(onnx, "onnxruntime", "int8")]
        skipped = "NNCF's training graph cannot be exported as int8 ONNX. Use compression.stages.quantize.tool=pt2e"
        return [export_nncf(classifier, folder), Deployment(None, "onnxruntime", "int8", skipped)]

    def _tool(self, classifier: ECGClassifier) -> str:
        if self.settings.tool != "auto":
            return self.settings.tool
        network = classifier.network
        return "nncf" if mostly_linear(network) or has_smooth_activations(network) else "pt2e"
