"""PyTorch's own int8 for x86 (FBGEMM): dynamic, static, and quantization-aware training.

torch.ao's graph mode is deprecated in favour of torchao's PT2E (see `qat`). But it needs only PyTorch: no compiler
and no other runtime.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.ao.nn.intrinsic.qat import freeze_bn_stats
from torch.ao.quantization import (
    MovingAverageMinMaxObserver,
    QConfig,
    QConfigMapping,
    default_dynamic_qconfig,
    default_per_channel_weight_observer,
    get_default_qat_qconfig_mapping,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx, prepare_qat_fx
from torch.fx import symbolic_trace
from torch.fx.proxy import TraceError

from ecg_lightning.compression.schema import FxDynamicConfig, FxQATConfig, FxStaticConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.compression.tools.heads import find_heads
from ecg_lightning.compression.tools.quantizable import holder_of, inputs_of, prepare_for_quantization
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.errors import ExportError, HardwareUnavailableError, UnsupportedModelError
from ecg_lightning.models.classifier import ECGClassifier

# Torch.ao would move these on int8 values, which no ONNX operator does, and concatenate tokens of different scales.
_IN_FLOAT = (
    *("cat", "dropout", "expand", "flatten", "permute", "transpose", "unsqueeze"),
    *(torch.cat, torch.permute, torch.transpose, torch.unsqueeze),
    *(nn.LayerNorm, nn.functional.layer_norm),
)
_UNTRACEABLE = (TypeError, ValueError, AttributeError, LookupError, AssertionError, NotImplementedError, TraceError)
_NOTICES = (
    (DeprecationWarning, "torch.ao.quantization is deprecated"),
    (UserWarning, "Please use quant_min and quant_max"),
    (UserWarning, "torch.quantize_per_tensor, torch.quantize_per_channel and other"),
    (UserWarning, "must run observer before calling calculate_qparams"),  # `restore` needs the structure alone
)


class FxQuantization(CompressionStage):
    """Quantizes a network in torch.ao's graph mode: prepares it, calibrates or trains it if needed, and converts it."""

    quantizes = True
    settings: FxQATConfig | FxStaticConfig | FxDynamicConfig

    def check(self, accelerator: str) -> None:
        """Refuse processors other than x86, because PyTorch has int8 kernels only for these."""
        if accelerator != "cpu":
            raise HardwareUnavailableError(
                f"compression backend {self.settings.backend}: FBGEMM runs only on x86 processors. Use hardware=cpu"
            )
        if self.settings.backend not in torch.backends.quantized.supported_engines:
            raise HardwareUnavailableError(
                f"compression backend {self.settings.backend}: PyTorch has no FBGEMM kernels on this machine, which "
                "need an x86 processor. Use compression=ptq"
            )

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Prepare the network, calibrate or train it, and convert it."""
        torch.backends.quantized.engine = self.settings.backend
        holder = holder_of(classifier)
        inputs = inputs_of(holder, next(context.network_inputs(classifier, 2)))
        with _explained(holder.network):
            holder.network = self._prepared(holder.network, inputs, len(classifier.classes))
        classifier = self._adjust(classifier, context)
        holder = holder_of(classifier)
        with _explained(holder.network):
            holder.network = self._convert(holder.network)
        return classifier

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """Build the converted structure with arbitrary scales. The state brings the right ones."""
        torch.backends.quantized.engine = self.settings.backend
        signals = torch.zeros(2, len(LEADS), classifier.description["n_samples"])
        holder = holder_of(classifier)
        with _explained(holder.network), torch.no_grad():
            inputs = inputs_of(holder, classifier.frontend.eval()(signals))
            holder.network = self._convert(self._prepared(holder.network, inputs, len(classifier.classes)))
        return classifier

    def export(self, classifier: ECGClassifier, folder: Path, context: StageContext) -> list[Deployment]:
        """Write an ONNX file if the exporter can, and the checkpoint, which runs in PyTorch."""
        from ecg_lightning.checkpoints.loading import save_classifier
        from ecg_lightning.deployment.export import DeployedNetwork, export_onnx_torchscript

        torch_int8 = Deployment(save_classifier(classifier, folder / "model.ckpt"), "torch", "int8")
        module = DeployedNetwork(classifier.frontend, classifier.network, classifier.loss)
        path, n_samples = folder / "model.onnx", classifier.description["n_samples"]
        others = ("openvino", "onnxruntime")
        try:
            onnx = export_onnx_torchscript(module, path, len(LEADS), n_samples)
        except ExportError as error:
            reason = str(error).removeprefix(f"{path} was not written: ")
            return [*(Deployment(None, name, "int8", reason) for name in others), torch_int8]
        return [*(Deployment(onnx, name, "int8") for name in others), torch_int8]

    def _prepared(self, network: nn.Module, inputs: Tensor, n_classes: int) -> nn.Module:
        heads = find_heads(network, n_classes)
        return self._prepare(_traced(network), inputs, heads)

    def _prepare(self, network: nn.Module, inputs: Tensor, heads: Iterable[str]) -> nn.Module:
        raise NotImplementedError

    def _adjust(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Calibrate or train the prepared network."""
        return classifier

    def _convert(self, network: nn.Module) -> nn.Module:
        converted: nn.Module = convert_fx(network.eval())  # type: ignore[arg-type]
        return converted


class FxQAT(FxQuantization):
    """Quantization-aware training: the network is trained with the rounding of int8."""

    settings: FxQATConfig

    def _prepare(self, network: nn.Module, inputs: Tensor, heads: Iterable[str]) -> nn.Module:
        mapping = _float_where_needed(network, get_default_qat_qconfig_mapping(self.settings.backend), heads)
        prepared: nn.Module = prepare_qat_fx(network.train(), mapping, (inputs,))
        return prepared

    def _adjust(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        calibrate(classifier, context, n_records=128)  # epochs=0 measures this
        return context.fit(
            classifier, self.settings.epochs, self.settings.lr, precision="32-true", callbacks=[Observers()]
        )


class FxStatic(FxQuantization):
    """Post-training static quantization. Its ranges are observed on training records.

    PyTorch's default ranges, a histogram, took EfficientNetV2-S from an AUROC of 0.87 to 0.72
    (docs/explanation/int8.md).
    """

    settings: FxStaticConfig

    def _prepare(self, network: nn.Module, inputs: Tensor, heads: Iterable[str]) -> nn.Module:
        mapping = _float_where_needed(network, get_default_qconfig_mapping(self.settings.backend), heads)
        if self.settings.ranges == "average":
            observer = MovingAverageMinMaxObserver.with_args(reduce_range=True)  # 7 bits, as in the default observer
            mapping.set_global(QConfig(activation=observer, weight=default_per_channel_weight_observer))  # type: ignore[no-untyped-call]
        prepared: nn.Module = prepare_fx(network.eval(), mapping, (inputs,))
        return prepared

    def _adjust(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        calibrate(classifier, context, self.settings.n_calibration)
        return classifier


class FxDynamic(FxQuantization):
    """Dynamic quantization of linear layers: int8 weights, and inputs rounded in each call. Convolutions stay float."""

    def _prepare(self, network: nn.Module, inputs: Tensor, heads: Iterable[str]) -> nn.Module:
        # Chosen by name: chosen by type, a linear layer is only fused with its ReLU if ReLU is chosen as well. Then no
        # convolution is fused with its ReLU.
        mapping = QConfigMapping()
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear):
                mapping.set_module_name(name, default_dynamic_qconfig)
        prepared: nn.Module = prepare_fx(network.eval(), mapping, (inputs,))
        return prepared


def freeze_statistics(network: nn.Module) -> None:
    """Let BatchNorm in a network that torch.ao prepared use its running statistics, also in training."""
    network.apply(freeze_bn_stats)


class FrozenStatistics(Callback):
    """Freezes the batch statistics in the last third of the epochs, because they are fixed in int8.

    Args:
        freeze: function that fixes the batch statistics of a network. Each tool that prepares networks has its own.
    """

    def __init__(self, freeze: Callable[[nn.Module], None]) -> None:
        self._freeze = freeze

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Freeze the statistics in every late epoch, because validation resets the modes."""
        if _is_late(trainer.current_epoch, trainer.max_epochs or 1):
            self._freeze(cast(nn.Module, pl_module.network))


class Observers(FrozenStatistics):
    """Controls which records give the ranges of activations.

    Only training records do, so observers are switched off for validation. In the last third of the epochs, ranges and
    batch statistics are fixed.
    """

    def __init__(self, freeze: Callable[[nn.Module], None] = freeze_statistics) -> None:
        super().__init__(freeze)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Observe in an early epoch, freeze in a late one."""
        set_observing(pl_module, not _is_late(trainer.current_epoch, trainer.max_epochs or 1))
        super().on_train_epoch_start(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop observing until the next epoch starts."""
        set_observing(pl_module, False)


def set_observing(module: nn.Module, observing: bool) -> None:
    """Switch all observers of torch.ao and torchao on or off. Their classes have no common base."""
    for one in module.modules():
        if hasattr(one, "disable_observer"):
            cast(Any, one).enable_observer(observing)


def _is_late(epoch: int, n_epochs: int) -> bool:
    """Return whether an epoch is in the last third, or the second of two epochs."""
    return epoch > 0 and epoch >= n_epochs - max(1, n_epochs // 3)


def calibrate(classifier: ECGClassifier, context: StageContext, n_records: int) -> None:
    """Run a prepared network on training records, so that its observers record the ranges. Then switch them off."""
    classifier.eval()
    with torch.no_grad():
        for inputs in context.network_inputs(classifier, n_records):
            classifier.network(inputs)
    set_observing(classifier.network, False)


def _traced(network: nn.Module) -> nn.Module:
    """Return the network as a graph without identities and dropout, which would keep layers from being fused."""
    graph = symbolic_trace(prepare_for_quantization(network))
    for node in [*graph.graph.nodes]:
        if node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), nn.Identity | nn.Dropout):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _float_where_needed(network: nn.Module, mapping: QConfigMapping, heads: Iterable[str]) -> QConfigMapping:
    """Keep layers in float that gain nothing from int8, or that the runtimes compute wrongly.

    - Heads: int8 would round their output to some thirty different logits. These tie in an AUROC, and leave little
      choice to thresholds and calibration.
    - The residual stream of a transformer: rounding it doubles the error. And OpenVINO cannot compile its sum with
      int8 positions for a variable batch.
    - The patch embedding before class tokens: compiled for a variable batch, OpenVINO computes its patches wrongly.
    """
    for operation in (*_IN_FLOAT, *((operator.add, "add", torch.add) if hasattr(network, "pos_embed") else ())):
        mapping.set_object_type(operation, None)
    for head in heads:
        mapping.set_module_name(head, None)
    if hasattr(network, "cls_token"):
        mapping.set_module_name("patch_embed.proj", None)
    return mapping


@contextmanager
def _explained(network: nn.Module) -> Iterator[None]:
    """Hide torch.ao's notices for developers, and explain in one sentence that a network cannot be traced."""
    try:
        with warnings.catch_warnings():
            for category, message in _NOTICES:
                warnings.filterwarnings("ignore", message, category)
            yield
    except _UNTRACEABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UnsupportedModelError(
            f"torch.ao cannot quantize {type(network).__name__} ({reason}); use compression=qat or compression=ptq"
        ) from error
