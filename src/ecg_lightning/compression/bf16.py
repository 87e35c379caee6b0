"""bfloat16: half the bytes and, where the processor computes with it, the speed that int8 must beat."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.float_files import export_float
from ecg_lightning.errors import HardwareUnavailableError
from ecg_lightning.hardware.device import has_bf16
from ecg_lightning.models.classifier import ECGClassifier


class BF16(CompressionStage):
    """The float model with its products in bfloat16; nothing is trained.

    The OpenVINO file holds weights of 16 bits; a CUDA device casts the checkpoint's.
    """

    is_precision_only = True

    def check(self, accelerator: str) -> None:
        """Refuse hardware without bfloat16, whose emulated products are many times slower."""
        if not has_bf16(accelerator):
            raise HardwareUnavailableError(
                "compression=bf16: this processor does not compute in bfloat16 (AMX, AVX512-BF16 or Arm's BF16); use "
                "an int8 choice, such as compression=ptq"
            )

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Leave it as it is: the precision is the runtime's."""
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
        onnx.unlink()  # of 32 bits: it is the model before
        return [
            Deployment(openvino, "openvino", "bf16"),
            Deployment(checkpoint, "torch", "bf16"),
            Deployment(None, "onnxruntime", "bf16", skipped="ONNX Runtime has no bf16 kernels on the CPU"),
        ]
