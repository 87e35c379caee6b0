"""bfloat16: half the bytes, and on processors with bfloat16 products the speed that int8 must beat."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.float_files import export_float
from ecg_lightning.errors import HardwareUnavailableError
from ecg_lightning.hardware.device import has_bf16
from ecg_lightning.models.classifier import ECGClassifier


class BF16(CompressionStage):
    """Computes the products of the float model in bfloat16. Nothing is trained.

    The OpenVINO file holds 16-bit weights. A CUDA device casts the checkpoint's weights.
    """

    is_precision_only = True

    def check(self, accelerator: str) -> None:
        """Refuse hardware without bfloat16, because emulated products are many times slower."""
        if not has_bf16(accelerator):
            raise HardwareUnavailableError(
                "compression=bf16: this processor does not compute in bfloat16 (AMX, AVX512-BF16 or Arm's BF16); use "
                "an int8 choice, such as compression=ptq"
            )

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Return the classifier unchanged, because the runtime sets the precision."""
        return classifier

    def export(self, classifier: ECGClassifier, folder: Path, context: StageContext) -> list[Deployment]:
        """Write an OpenVINO model with 16-bit weights, and the checkpoint for PyTorch's autocast."""
        from ecg_lightning.deployment.export import export_openvino

        deployments = export_float(classifier, folder, context.accelerator)
        if context.accelerator == "cuda":
            return [one for one in deployments if one.precision == "bf16"]
        files = {one.runtime: one.path for one in deployments}
        onnx, checkpoint = files["openvino"], files["torch"]
        assert onnx is not None
        openvino = export_openvino(onnx, folder / "model.xml", compress_to_fp16=True)
        onnx.unlink()  # it has 32-bit weights, so it is the model before this stage
        return [
            Deployment(openvino, "openvino", "bf16"),
            Deployment(checkpoint, "torch", "bf16"),
            Deployment(None, "onnxruntime", "bf16", skipped="ONNX Runtime has no bf16 kernels on the CPU"),
        ]
