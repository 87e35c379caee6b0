"""Unstructured pruning: the smallest weights become zero. This compresses a file, but makes no dense kernel faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

from ecg_lightning.compression.schema import PruneL1Config
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.compression.tools.heads import find_heads
from ecg_lightning.compression.tools.schedule import cubic_amounts, share_epochs
from ecg_lightning.errors import ConfigError, UnsupportedModelError, did_you_mean
from ecg_lightning.models.classifier import ECGClassifier

_LAYERS: dict[str, Any] = {"conv": (nn.Conv1d, nn.Conv2d), "linear": nn.Linear}
_HIGHEST = 0.999


class PruneL1(CompressionStage):
    """Prunes the weights of least magnitude, without the heads. Zeros stay zero in later fits (`masks.KeepZeros`)."""

    zeroes = True
    settings: PruneL1Config

    def __init__(self, settings: PruneL1Config, found: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings, found)
        if unknown := [one for one in settings.layers if one not in _LAYERS]:
            raise ConfigError(
                f"prune_l1.layers={unknown[0]}: allowed are {', '.join(_LAYERS)}."
                f"{did_you_mean(unknown[0], list(_LAYERS))}"
            )
        if not settings.layers:
            raise ConfigError("prune_l1.layers=[] leaves nothing to prune. Name conv, linear or both")
        for name, own in settings.amounts.items():
            if not 0 <= own <= _HIGHEST:
                raise ConfigError(f"prune_l1.amounts.{name}={own}: give a fraction from 0 to {_HIGHEST}")

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Prune and fine-tune, step by step."""
        weights = prunable_weights(classifier.network, len(classifier.classes), self.settings.layers)
        pools = self._pools(weights)
        epochs, steps = self.settings.epochs, self.settings.steps
        epochs = context.fit.epochs if epochs is None else epochs
        for progress, own_epochs in zip(cubic_amounts(1.0, steps), share_epochs(epochs, steps), strict=True):
            for amount, names in pools:
                zero_smallest([weights[name] for name in names], amount * progress)
            if own_epochs:
                classifier = context.fit(classifier, own_epochs, self.settings.lr)
        context.notes += self._report(classifier)
        return classifier

    def _pools(self, weights: Mapping[str, Tensor]) -> list[tuple[float, list[str]]]:
        """Return the pools of layers that are ranked together, each with its fraction."""
        named: dict[str, list[str]] = {prefix: [] for prefix in ("", *self.settings.amounts)}
        for name in weights:
            fitting = [prefix for prefix in self.settings.amounts if f"{name}.".startswith(f"{prefix}.")]
            named[max(fitting, key=len, default="")].append(name)
        for prefix in self.settings.amounts:
            if not any(f"{name}.".startswith(f"{prefix}.") for name in weights):
                raise ConfigError(
                    f"prune_l1.amounts.{prefix}: no pruned layer has a name that starts with "
                    f"{prefix}.{did_you_mean(prefix, _beginnings(weights))}"
                )
        fractions = {"": self.settings.amount, **self.settings.amounts}
        if self.settings.scope == "global":
            return [(fractions[prefix], names) for prefix, names in named.items() if names]
        return [(fractions[prefix], [name]) for prefix, names in named.items() for name in names]

    def _report(self, classifier: ECGClassifier) -> list[str]:
        weights = prunable_weights(classifier.network, len(classifier.classes), self.settings.layers)
        zeros = sum(int((weight == 0).sum()) for weight in weights.values())
        chosen = sum(weight.numel() for weight in weights.values())
        everything = sum(parameter.numel() for parameter in classifier.network.parameters())
        notes = [
            f"{zeros / chosen:.2%} of the {chosen:,} weights of {len(weights)} layers are zero "
            f"({zeros / everything:.2%} of all parameters). This makes a zipped file smaller, but dense kernels "
            "no faster"
        ]
        if empty := [name for name, weight in weights.items() if not weight.any()]:
            notes.append(f"{len(empty)} layers are entirely zero, such as {empty[0]}. Prune less, or set scope=layer")
        return notes


def prunable_weights(network: nn.Module, n_classes: int, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return the weights of these kinds of layers by the layer's name, without the heads.

    Raises:
        UnsupportedModelError: the network has no such layers.
    """
    kinds = tuple(_LAYERS[kind] for kind in layers)
    heads = find_heads(network, n_classes)
    weights: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, kinds) and name not in heads:
            assert isinstance(module.weight, Tensor)
            weights[name] = module.weight
    if not weights:
        raise UnsupportedModelError(
            f"prune_l1.layers={','.join(layers)}: {type(network).__name__} has no such layer apart from its head. "
            "Choose other layers, or compression=none"
        )
    return weights


@torch.no_grad()
def zero_smallest(weights: Sequence[Tensor], amount: float) -> None:
    """Set round(amount · n) of the n weights to zero: the smallest ones of all layers together."""
    flat = torch.cat([weight.flatten() for weight in weights])
    method: Any = L1Unstructured(amount=round(amount * len(flat)))
    mask: Tensor = method.compute_mask(flat, default_mask=torch.ones_like(flat))
    for weight, own in zip(weights, torch.split(mask, [weight.numel() for weight in weights]), strict=True):
        weight.mul_(own.view_as(weight))


def _beginnings(names: Mapping[str, Tensor]) -> list[str]:
    """List every beginning of these dotted names."""
    parts = [name.split(".") for name in names]
    return sorted({".".join(part[:length]) for part in parts for length in range(1, len(part) + 1)})
