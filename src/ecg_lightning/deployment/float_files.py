"""The files of a float model: one ONNX file for every runtime, and a checkpoint for PyTorch."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.checkpoints.loading import save_classifier
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.export import DeployedNetwork, export_onnx
from ecg_lightning.hardware.device import has_bf16
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize


def export_float(classifier: ECGClassifier, folder: Path, accelerator: str = "cpu") -> list[Deployment]:
    """Write `model.onnx` and `model.ckpt`, and return their deployments.

    The first deployment is the model's own: float32 in OpenVINO, or in PyTorch on a CUDA device.

    Args:
        classifier: classifier with a float network.
        folder: folder of the files.
        accelerator: `cpu` or `cuda`.
    """
    module = DeployedNetwork(classifier.frontend, reparameterize(classifier.network), classifier.loss)
    onnx = export_onnx(module, folder / "model.onnx", len(LEADS), classifier.description["n_samples"])
    checkpoint = save_classifier(classifier, folder / "model.ckpt")
    if accelerator == "cuda":
        return [
            *(Deployment(checkpoint, "cuda-eager", precision) for precision in ("fp32", "bf16")),
            *(Deployment(checkpoint, runtime, "bf16") for runtime in ("cuda-compile", "cuda-graphs")),
            # Torchao changes the float weights, so PyTorch's own arithmetic is not a reference.
            *(Deployment(checkpoint, "cuda-compile", kind, simulated=False) for kind in ("int8", "fp8", "2:4")),
            # The last one runs on the processor, for an ONNX Runtime that was built without CUDA.
            *(Deployment(onnx, runtime, "fp32") for runtime in ("cuda-onnxruntime", "cuda-tensorrt", "onnxruntime")),
        ]
    return [
        Deployment(onnx, "openvino", "fp32"),
        Deployment(onnx, "onnxruntime", "fp32"),
        Deployment(checkpoint, "torch", "fp32"),
        *([Deployment(onnx, "openvino", "bf16")] if has_bf16("cpu") else []),
    ]
