"""The files of a float model: one ONNX file for every runtime, and its checkpoint for PyTorch."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.checkpoints import save_classifier
from ecg_lightning.compression.stage import Deployment
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.export import DeployedNetwork, export_onnx
from ecg_lightning.hardware import has_bf16
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize


def export_float(classifier: ECGClassifier, folder: Path) -> list[Deployment]:
    """Write `model.onnx` and `model.ckpt`; OpenVINO in float32 is the model's own deployment.

    Args:
        classifier: with a float network.
        folder: of the files.
    """
    module = DeployedNetwork(classifier.frontend, reparameterize(classifier.network), classifier.loss)
    onnx = export_onnx(module, folder / "model.onnx", len(LEADS), classifier.description["n_samples"])
    checkpoint = save_classifier(classifier, folder / "model.ckpt")
    return [
        Deployment(onnx, "openvino", "fp32"),
        Deployment(onnx, "onnxruntime", "fp32"),
        Deployment(checkpoint, "torch", "fp32"),
        *([Deployment(onnx, "openvino", "bf16")] if has_bf16("cpu") else []),
    ]
