"""Any image network of timm by its name."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import beit
from torch import nn

from ecg_lightning.errors import ConfigError, did_you_mean
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import NetworkConfig
from ecg_lightning.models.trial import failure_of
from ecg_lightning.models.weights import create_timm_network, create_timm_network_from_file

_SET_ELSEWHERE = {
    "num_classes": "the data",
    "in_chans": "frontend.channels",
    "img_size": "frontend.size",
    "drop_rate": "model.dropout",
    "drop_path_rate": "model.drop_path",
}
"""Arguments of a network that have a setting of their own."""

_OF_LOADING = ("checkpoint_", "pretrained", "cache_", "feature", "kwargs_", "model_cfg", "scriptable", "exportable")
"""Beginnings of the arguments that control timm's loading. A checkpoint from elsewhere could name a foreign file."""


class TimmModel(ECGClassifier):
    """The network that `model.name` names, from timm (Wightman 2019, doi:10.5281/zenodo.4414861)."""

    def _make(self, settings: Any, input: InputSpec, n_classes: int) -> nn.Module:
        """Make the network. Timm itself loads and fits the weights to start from."""
        network: nn.Module = self.make_network(settings, input, n_classes)
        return network

    @staticmethod
    def make_network(settings: Any, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for the front end's images, from a `TimmConfig`. See `make_timm_network`."""
        for name in settings.arguments:
            if name in _SET_ELSEWHERE:
                raise ConfigError(f"model.arguments.{name}: {_SET_ELSEWHERE[name]} sets this argument. Remove it here")
            if name.startswith(_OF_LOADING):
                raise ConfigError(
                    f"model.arguments.{name:.100}: this argument does not describe the network. Remove it; "
                    "model.pretrained and model.weights choose the weights"
                )
        return make_timm_network(settings.name, settings, input, n_classes, **settings.arguments)


def make_timm_network(
    name: str, settings: NetworkConfig, input: InputSpec, n_classes: int, **arguments: Any
) -> nn.Module:
    """Return a network of timm that makes logits from the front end's images, with the weights to start from.

    Args:
        name: timm's name of the network, with or without the tag of its weights.
        settings: dropout, stochastic depth and weights.
        input: the front end's images. A network that is made for one size is made for theirs.
        n_classes: number of classes.
        **arguments: further arguments of the network.

    Raises:
        ConfigError: timm does not know the name, has no weights for it, or the network cannot have these settings.
        CheckpointError: the weights cannot be loaded.
    """
    channels, height, width = input.image
    _check_name(name, settings)
    made: dict[str, Any] = {"in_chans": channels, "num_classes": n_classes, "drop_rate": settings.dropout, **arguments}
    published = timm.get_pretrained_cfg(name)
    if published and published.fixed_input_size:
        made["img_size"] = (height, width)
    network, made = _create(name, settings, made)
    _check_patches(network, height, width)
    if settings.weights:
        network = create_timm_network_from_file(name, settings.weights, network, **made)
    elif settings.pretrained:
        network = create_timm_network(name, settings, **made)
    for module in network.modules():
        if isinstance(module, beit.Attention):
            module.fused_attn = False  # torch.export cannot decompose its fused kernel, so no file could be written
    if failure := failure_of(network, (channels, height, width), n_classes):
        raise ConfigError(
            f"model.name={name} cannot classify images of {channels} × {height} × {width} ({failure}). Change "
            "frontend.size, or name another network"
        )
    return network


def _check_name(name: str, settings: NetworkConfig) -> None:
    if not name:
        raise ConfigError("model.name is not set. Name a network of timm, such as model.name=resnet50")
    architecture, _, tag = name.partition(".")
    known = [one for one in timm.list_pretrained() if one.startswith(f"{architecture}.")] if tag else timm.list_models()
    if name not in known:
        longer = [one for one in known if one.startswith(architecture)] if architecture and not tag else []
        hint = (
            f" Did you mean {min(longer, key=len)}?"
            if longer
            else did_you_mean(name[:100], known or timm.list_models())
        )
        raise ConfigError(f"model.name={name:.100}: timm {timm.__version__} has no such network.{hint}")
    if settings.pretrained and not settings.weights and not timm.is_model_pretrained(name):
        raise ConfigError(
            f"model.pretrained=true: timm has no published weights for {name}. Set model.pretrained=false, or "
            "model.weights=FILE to load your own weights"
        )


def _check_patches(network: Any, height: int, width: int) -> None:
    """Refuse an image whose last rows or columns fill no patch, because they would be left out.

    Raises:
        ConfigError: names the nearest size.
    """
    stem = network.pretrained_cfg.get("first_conv")
    patches = network.get_submodule(stem) if isinstance(stem, str) else None
    if not isinstance(patches, nn.Conv2d) or patches.kernel_size != patches.stride:
        return
    rows, columns = patches.stride
    if height % rows or width % columns:
        fitted = [max(1, round(side / patch)) * patch for side, patch in ((height, rows), (width, columns))]
        raise ConfigError(
            f"frontend.size: patches of {rows} × {columns} pixels do not fill an image of {height} × {width}. Set "
            f"frontend.size=[{fitted[0]},{fitted[1]}]"
        )


def _create(name: str, settings: NetworkConfig, arguments: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network with random weights, and the arguments that it accepts.

    Some networks have no stochastic depth. They do not know the argument, even if it is 0.
    """
    with_depth = {**arguments, "drop_path_rate": settings.drop_path}
    try:
        return timm.create_model(name, **with_depth), with_depth
    except TypeError:
        pass
    try:
        network = timm.create_model(name, **arguments)
    except TypeError as error:
        raise ConfigError(f"model.arguments: {name} cannot be made from these arguments ({error})") from None
    if settings.drop_path:
        raise ConfigError(
            f"model.drop_path={settings.drop_path}: {name} has no stochastic depth. Set model.drop_path=0"
        )
    return network, arguments
