"""The structure of a classifier: it is taken apart, replaced, and restored in a classifier that is built again."""

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
        settings: settings of the change.
        found: values that were found when the change was made. `restore` needs them.
    """

    finds: ClassVar[tuple[str, ...]] = ()
    """Names of the values in `found`."""

    def __init__(self, settings: Any, found: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        self.found = dict(found or {})

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """Return a newly built classifier with the changed structure, so that `state` can be loaded into it.

        Args:
            classifier: the classifier after the changes before this one.
            state: the changed classifier's `state_dict`.
        """
        return classifier


def plain_classifier(classifier: ECGClassifier) -> ECGClassifier:
    """Return a classifier with the same front end, network, loss and thresholds, but a plain training loss.

    A stage may replace the network by one without the architecture's inner parts. DeiT's loss, for one, uses them.
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
    """Replace the module of the dotted name `name`."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, new)


def measure_network(network: nn.Module) -> dict[str, Any]:
    """Return the `parameters` of a network as it is deployed, and the share of its weights that is not zero.

    The parameters of an int8 network are not visible, so they are counted before it is quantized.
    """
    merged = reparameterize(network)
    weights = _weights(merged)
    n_nonzero = sum(int(weight.count_nonzero()) for weight in weights)
    return {
        "parameters": sum(parameter.numel() for parameter in merged.parameters()),
        "nonzero_fraction": n_nonzero / max(1, sum(weight.numel() for weight in weights)),
    }


def _weights(network: nn.Module) -> list[Tensor]:
    """Return the parameters of a network. For an int8 network these are the integers."""
    kept: list[Tensor] = [parameter.detach() for parameter in network.parameters()]
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if callable(weight):  # quantized modules of torch.ao pack the weight
            kept.append(weight().int_repr())
    return kept + [buffer for buffer in network.buffers() if buffer.dtype == torch.int8]
