"""The preparation of a network for quantization, the same for every tool."""

from __future__ import annotations

import torch
from timm.layers.drop import DropPath
from timm.layers.patch_dropout import PatchDropout
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.structure import replace_module
from ecg_lightning.models.windows import Windows

_LEAST_GAMMA = 1e-5


def holder_of(classifier: ECGClassifier) -> ECGClassifier | Windows:
    """Return the module whose `network` is quantized: the `Windows` around it, or the classifier without windows.

    Cutting into windows cannot be traced, because it depends on the mode. In training it is a random crop.
    """
    return classifier.network if isinstance(classifier.network, Windows) else classifier


def inputs_of(holder: ECGClassifier | Windows, inputs: Tensor) -> Tensor:
    """Return the inputs of the network to quantize. If records are cut into windows, these are all windows."""
    return torch.cat(holder.cut(inputs)) if isinstance(holder, Windows) else inputs


def prepare_for_quantization(network: nn.Module) -> nn.Module:
    """Remove randomness, and keep batch normalisation invertible, in place.

    Tracing in training mode would make dropout and stochastic depth a part of the graph, also at inference.
    Quantization-aware training divides by gamma, which may be 0 after pruning or a zero initialisation.
    """
    for name, module in [*network.named_modules()]:
        if isinstance(module, StochasticDepth):
            replace_module(network, name, nn.Identity())
        elif isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(module, PatchDropout):
            module.prob = 0.0
        elif isinstance(module, nn.Dropout):
            module.p = 0.0  # timm's attention reads it
        elif getattr(module, "drop_rate", 0.0):
            module.drop_rate = 0.0  # timm's networks pass it to a function, with the mode at tracing
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine:
            with torch.no_grad():
                gamma = module.weight
                small = gamma.abs() < _LEAST_GAMMA
                gamma[small] = torch.where(gamma[small] < 0, -_LEAST_GAMMA, _LEAST_GAMMA)
    return network


def mostly_linear(network: nn.Module) -> bool:
    """Return whether linear layers hold most of the weights, as in transformers and ConvNeXt."""
    linear = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
    convolutions = sum(
        module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)
    )
    return linear > convolutions
