"""Published or local weights for a network; unreachable or foreign ones are a clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.models import adapt_input_conv, create_model
from torch import Tensor, nn

from ecg_lightning.errors import CheckpointError


def create_timm_network(name: str, *, pretrained: bool, weights: str | None, **settings: Any) -> nn.Module:
    """A timm network, with its published weights or those of a local file; timm fits stem and head to the settings.

    Args:
        name: timm's name of the network.
        pretrained: load the weights that timm publishes for it.
        weights: a local file of such weights (`.safetensors` or a state dict); wins over `pretrained`.
        **settings: arguments of the network.

    Raises:
        CheckpointError: the weights cannot be reached, read, or do not fit.
    """
    overlay = {"file": str(existing_file(weights))} if weights else None
    with explained(name, weights):
        network: nn.Module = create_model(
            name, pretrained=pretrained or weights is not None, pretrained_cfg_overlay=overlay, **settings
        )
    return network


def load_state(
    network: nn.Module,
    published: Callable[[], dict[str, Tensor]] | None,
    weights: str | None,
    *,
    name: str,
    stem: str,
    head: str,
) -> None:
    """Load published or local weights into `network`: the stem is fitted to its channels, another head is left out.

    Args:
        network: the network to fill.
        published: fetches the published state dict; None where nobody published any.
        weights: a local file with such a state dict; wins over `published`.
        name: of the network, for messages.
        stem: parameter name of the first convolution's weight.
        head: name prefix of the classifier.

    Raises:
        CheckpointError: the weights cannot be reached, read, or do not fit.
    """
    with explained(name, weights):
        if weights:
            state = torch.load(existing_file(weights), map_location="cpu", weights_only=True)
        else:
            assert published is not None
            state = published()
        own = network.state_dict()
        state[stem] = adapt_input_conv(own[stem].shape[1], state[stem])
        state = {key: value for key, value in state.items() if not key.startswith(head) or _fits(own, key, value)}
        missing, unexpected = network.load_state_dict(state, strict=False)
        if unexpected or any(not key.startswith(head) for key in missing):
            raise ValueError(
                f"{len(missing)} parameters missing, {len(unexpected)} unknown (first: {(unexpected or missing)[0]})"
            )


@contextmanager
def explained(name: str, weights: str | None) -> Iterator[None]:
    """Say in one sentence why weights could not be loaded, whatever the library raised."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # hubs and unpicklers raise a dozen unrelated types
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if weights:
            raise CheckpointError(
                f"model.weights={weights} cannot be loaded into {name}: {reason}. Give a file of that network's weights"
            ) from None
        raise CheckpointError(
            f"the published weights of {name} cannot be loaded: {reason}. Without a connection set "
            "model.weights=FILE to a local copy, or model.pretrained=false to train from scratch"
        ) from None


def existing_file(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise CheckpointError(f"model.weights={weights} is not there; name a file of weights")
    return path


def _fits(own: dict[str, Tensor], key: str, value: Tensor) -> bool:
    return key in own and own[key].shape == value.shape
