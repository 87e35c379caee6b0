"""The structure of a classifier: taken apart, replaced, and given back to one that is built anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize


class Restorable:
    """A change of a classifier's structure that a checkpoint names, such as a compression stage.

    Args:
        settings: the change's own.
        found: what it found out when it was made, and `restore` needs.
    """

    finds: ClassVar[tuple[str, ...]] = ()
    """Names of what it finds out."""

    def __init__(self, settings: Any, found: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        self.found = dict(found or {})

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """Give a newly built classifier the changed structure, so that `state` can be loaded into it.

        Args:
            classifier: as the changes before this one leave it.
            state: the changed classifier's `state_dict`.
        """
        return classifier


def plain_classifier(classifier: ECGClassifier) -> ECGClassifier:
    """The same front end, network, loss and thresholds without the architecture's own training loss.

    A stage may replace the network by one without the architecture's inner parts, which DeiT's loss, for one, uses.
    """
    plain = ECGClassifier(
        classifier.frontend,
        classifier.settings,
        network=classifier.network,
        classes=classifier.classes,
        seed=classifier.seed,
    )
    plain.loss = classifier.loss
    plain.thresholds.copy_(classifier.thresholds)
    plain.description = dict(classifier.description)
    return plain.eval()


def replace_module(network: torch.nn.Module, name: str, new: torch.nn.Module) -> None:
    """Put a module in the place of the one called `name` (dotted)."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, new)


def measure_network(network: nn.Module) -> dict[str, Any]:
    """Count the `parameters` of a network as it is deployed, and the share of its weights that is not zero.

    An int8 network hides its parameters: they are counted before it is quantized.
    """
    merged = reparameterize(network)
    weights = _weights(merged)
    n_nonzero = sum(int(weight.count_nonzero()) for weight in weights)
    return {
        "parameters": sum(parameter.numel() for parameter in merged.parameters()),
        "nonzero_fraction": n_nonzero / max(1, sum(weight.numel() for weight in weights)),
    }


def _weights(network: nn.Module) -> list[Tensor]:
    """Return the parameters of a network; of an int8 network the integers."""
    kept: list[Tensor] = [parameter.detach() for parameter in network.parameters()]
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if callable(weight):  # quantized modules of torch.ao hold it packed
            kept.append(weight().int_repr())
    return kept + [buffer for buffer in network.buffers() if buffer.dtype == torch.int8]
