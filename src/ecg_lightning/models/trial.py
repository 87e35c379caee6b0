"""A trial of a network on one image, before anything is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def failure_of(network: nn.Module, shape: tuple[int, int, int], n_outputs: int) -> str | None:
    """Return why a network cannot make logits from an image of zeros, or None if it can.

    Args:
        network: the network. Its mode, weights and statistics stay.
        shape: (channels, height, width) of the image.
        n_outputs: number of logits.
    """
    first = next(network.parameters())
    training = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(1, *shape, device=first.device))
    except Exception as error:  # networks raise a dozen unrelated types for images that do not fit
        return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    finally:
        for module, was_training in training.items():
            module.training = was_training
    if not isinstance(logits, Tensor) or logits.shape != (1, n_outputs):
        return f"its output is {tuple(logits.shape) if isinstance(logits, Tensor) else f'a {type(logits).__name__}'}"
    return None
