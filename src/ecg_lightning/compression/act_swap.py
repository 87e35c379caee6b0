"""Replacement of smooth activations by piecewise ones, which int8 kernels fuse into the product before them."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from timm.layers import activations, activations_me
from torch import Tensor, nn

from ecg_lightning.compression.schema import ActSwapConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.structure import replace_module

_NEW: dict[str, type[nn.ReLU] | type[nn.ReLU6] | type[nn.Hardswish]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
}
_FUNCTIONS = {"relu": F.relu, "relu6": F.relu6, "hardswish": F.hardswish}
_SMOOTH = (
    *(nn.SiLU, nn.GELU),
    *(activations.Swish, activations.GELU, activations.GELUTanh, activations.QuickGELU),
    activations_me.SwishMe,
)
_SMOOTH_FUNCTIONS = (
    *(F.silu, F.gelu),
    *(activations.swish, activations.gelu, activations.gelu_tanh, activations.quick_gelu),
    activations_me.swish_me,
)


class ActSwap(CompressionStage):
    """Replaces every SiLU and GELU by ReLU6, Hardswish or ReLU. The uncompressed model teaches the fine-tuning.

    This includes the trunk and the inner activation of squeeze-and-excitation. A gate's sigmoid stays: it computes one
    number per channel, so it costs nothing. OpenVINO and ONNX Runtime have it in int8; ONNX Runtime has no int8
    Hardsigmoid.
    """

    settings: ActSwapConfig

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Swap the activations and fine-tune. A network without smooth activations stays as it is."""
        n_swapped = swap_activations(classifier.network, self.settings.activation)
        if not n_swapped:
            context.notes.append(
                "this network has no SiLU or GELU: no activation was replaced, and nothing was trained"
            )
            return classifier
        context.notes.append(f"{n_swapped} activations were replaced by {self.settings.activation}")
        return context.fit(classifier, self.settings.epochs, self.settings.lr)

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """Swap the activations again."""
        swap_activations(classifier.network, self.settings.activation)
        return classifier


def swap_activations(network: nn.Module, activation: str) -> int:
    """Replace every smooth activation, a module or a function that a module holds, and return their number."""
    places = list(_smooth_places(network))
    for name, function in places:
        module = network.get_submodule(name)
        if function:
            setattr(module, function, _FUNCTIONS[activation])
        else:
            replace_module(network, name, _NEW[activation](inplace=getattr(module, "inplace", False)))
    return len(places)


def has_smooth_activations(network: nn.Module) -> bool:
    """Return whether a network has a SiLU or GELU."""
    return any(True for _ in _smooth_places(network))


def _smooth_places(network: nn.Module) -> Iterator[tuple[str, str | None]]:
    """Yield the place of each smooth activation: its module's name, or the module and the attribute that hold it."""
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, _SMOOTH):
            yield name, None
            continue
        for attribute, value in vars(module).items():
            if any(value is function for function in _SMOOTH_FUNCTIONS):
                yield name, attribute
