"""The layers that give the logits, which neither pruning nor the rounding of their outputs may touch."""

from __future__ import annotations

import itertools

from torch import nn

from ecg_lightning.errors import UnsupportedModelError
from ecg_lightning.models.ensemble import EnsembleNetwork


def find_heads(network: nn.Module, n_classes: int) -> dict[str, nn.Linear]:
    """Return the last linear layers, with one output per class, by name.

    A distilled DeiT has two. An ensemble has those of every member.

    Raises:
        UnsupportedModelError: the network ends in other layers.
    """
    if isinstance(network, EnsembleNetwork):
        return {
            f"networks.{number}.{name}": head
            for number, member in enumerate(network.networks)
            for name, head in find_heads(member, n_classes).items()
        }
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if next(module.children(), None) is None and next(module.parameters(), None) is not None
    ]
    ending = itertools.takewhile(
        lambda layer: isinstance(layer[1], nn.Linear) and layer[1].out_features == n_classes, reversed(layers)
    )
    heads = {name: module for name, module in ending if isinstance(module, nn.Linear)}
    if not heads:
        raise UnsupportedModelError(
            f"{type(network).__name__} does not end in a linear layer of {n_classes} classes, so compression "
            "cannot find the head, which it must leave unchanged"
        )
    return heads
