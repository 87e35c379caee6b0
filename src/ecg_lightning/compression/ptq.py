"""Post-training static quantization: it takes minutes and no training, and does not promise accuracy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ecg_lightning.compression.schema import PTQConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.compression.tools.nncf_quantization import export_nncf, quantize_with_nncf
from ecg_lightning.data.wfdb import LEADS, MILLIVOLTS_PER_UNIT
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.extras import hushed, import_extra
from ecg_lightning.errors import HardwareUnavailableError
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.system.long_steps import long_step

log = logging.getLogger(__name__)

_PRODUCTS = ("Conv", "MatMul", "Gemm")


class PTQ(CompressionStage):
    """Quantizes for OpenVINO with NNCF, and the same float model for ONNX Runtime with its own tool."""

    quantizes = True
    settings: PTQConfig

    def check(self, accelerator: str) -> None:
        """Refuse hardware other than processors, for which the int8 files are made."""
        for package in ("nncf", "onnxruntime"):
            import_extra(package)
        if accelerator != "cpu":
            raise HardwareUnavailableError("compression=ptq writes int8 files for processors. Use hardware=cpu")

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Calibrate NNCF's quantizers."""
        quantize_with_nncf(classifier, context, self.settings.n_calibration)
        return classifier

    def export(self, classifier: ECGClassifier, folder: Path, context: StageContext) -> list[Deployment]:
        """Write NNCF's OpenVINO model, and the ONNX file that ONNX Runtime's tool makes from the float model."""
        return [
            export_nncf(classifier, folder),
            quantize_onnx(context.given, folder, context, self.settings.n_calibration),
        ]


def quantize_onnx(classifier: ECGClassifier, folder: Path, context: StageContext, n_calibration: int) -> Deployment:
    """Write an ONNX file whose products ONNX Runtime's own tool quantized (static, QDQ).

    The front end stays in float32, and so do the heads, whose rounded outputs would tie.

    Args:
        classifier: the float classifier.
        folder: folder of the file `onnxruntime.onnx`, which is another model than NNCF's.
        context: context of the stage, with the training records.
        n_calibration: number of records that give the ranges.
    """
    from ecg_lightning.deployment.export import DeployedNetwork, convert_to_onnx, replacing_model

    quantization = import_extra("onnxruntime.quantization")
    preprocess = import_extra("onnxruntime.quantization.shape_inference").quant_pre_process
    module = DeployedNetwork(classifier.frontend, classifier.network, classifier.loss)
    target = folder / "onnxruntime.onnx"
    doing = "ONNX Runtime is calibrating its int8 model"
    # The tool advises to preprocess the model. This is done, so the advice is hidden.
    with long_step(log, doing), replacing_model(target) as written, hushed("root"):
        source = written.with_name("float.onnx")
        source.write_bytes(convert_to_onnx(module, target, len(LEADS), classifier.description["n_samples"]))
        prepared = written.with_name("prepared.onnx")
        preprocess(source, prepared, skip_symbolic_shape=True)  # it cannot follow windows and recurrences
        quantization.quantize_static(
            prepared,
            written,
            _Calibration(context, n_calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_PRODUCTS),
            nodes_to_exclude=[*frontend_nodes(prepared), *head_nodes(prepared)],
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=True,  # weights of 7 bits: pairs of products overflow their sum on processors without VNNI
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "CalibMovingAverage": True},
        )
    return Deployment(target, "onnxruntime", "int8", simulated=False)


def frontend_nodes(path: Path) -> list[str]:
    """List the products of an exported file that come before any learned product: they compute the image.

    The front end's matrix products multiply by constants, which are no parameters of the network. They come before the
    first convolution; in a transformer this is the patch embedding.
    """
    names = []
    for node in import_extra("onnx").load(path).graph.node:
        if node.op_type == "Conv":
            break
        if node.op_type in _PRODUCTS:
            names.append(node.name)
    return names


def head_nodes(path: Path) -> list[str]:
    """List the products of an exported file that no other product follows: they give the logits."""
    graph = import_extra("onnx").load(path).graph
    maker = {output: node for node in graph.node for output in node.output}
    found, waiting = [], [output.name for output in graph.output]
    seen = {*waiting}
    while waiting:
        node = maker.get(waiting.pop())
        if node is None:  # an input, or a constant
            continue
        if node.op_type in _PRODUCTS:
            found.append(node.name)
            continue
        waiting += (new := {*node.input} - seen)
        seen |= new
    return found


class _Calibration:
    """Gives ONNX Runtime one record in mV after the other."""

    def __init__(self, context: StageContext, n_records: int) -> None:
        signals = context.signals(n_records).numpy()
        self._records: Iterator[dict[str, Any]] = (
            {"millivolts": (record[None] * np.float32(MILLIVOLTS_PER_UNIT)).astype(np.float32)} for record in signals
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return the next record; None after the last one."""
        return next(self._records, None)
