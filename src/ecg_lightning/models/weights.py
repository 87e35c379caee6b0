"""Published or local weights for a network. Unreachable, damaged or foreign weights raise a clear error."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session
from timm.models import adapt_input_conv, create_model, load_state_dict
from torch import Tensor, nn

from ecg_lightning.errors import CheckpointError
from ecg_lightning.models.schema import NetworkConfig

State = dict[str, Tensor]
_OWN = "network."
_MAX_HEADER = 2**20
"""Largest size in bytes of a .safetensors file's list of tensors. A thousand tensors use a tenth of it."""

_OTHER_SEED = 2**32 - 5
"""A seed that hardly any run uses (PyTorch's generator on the CPU has 32 bits), to recognise random weights."""


def create_timm_network(name: str, settings: NetworkConfig, **arguments: Any) -> nn.Module:
    """Return a timm network, with timm's published weights if asked for. Timm fits the stem, positions and head.

    Args:
        name: timm's name of the network.
        settings: settings whose `pretrained` asks for the published weights, unless `weights` names a file.
        **arguments: arguments of the network.

    Raises:
        CheckpointError: the weights cannot be reached.
    """
    if settings.weights or not settings.pretrained:
        return create_model(name, **arguments)
    with _explained(f"the published weights of {name}"), _hub_or_its_cache():
        return create_model(name, pretrained=True, **arguments)


def create_timm_network_from_file(name: str, weights: str, initial: nn.Module, **arguments: Any) -> nn.Module:
    """Return a timm network with the weights of a local file, which timm fits as it fits its published weights.

    Timm renames the weights of former versions, and resizes the stem, position embeddings and relative-position tables.

    Args:
        name: timm's name of the network.
        weights: `.safetensors` file, PyTorch state dict, or a checkpoint of this project.
        initial: the same network with random weights. Its head replaces a file's head of other classes.
        **arguments: arguments of the network.

    Raises:
        CheckpointError: the file is not there, is damaged, could run code, or is not of this network.
    """
    with _explained(f"model.weights={weights}"):
        source = _as_published(read_weights(weights), initial)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_OTHER_SEED)
            other = create_model(name, **arguments)
            torch.manual_seed(_OTHER_SEED)
            network: nn.Module = create_model(name, pretrained=True, pretrained_cfg_overlay=source, **arguments)
        _description(network).pop("state_dict")  # a second copy of all weights
        _check_loaded(network, other)
    return network


def _as_published(state: State, initial: nn.Module) -> dict[str, Any]:
    """Return timm's description of a file's weights, with a head that fits.

    With equal numbers of classes, timm refuses missing and unknown weights. With others it drops the head and refuses
    nothing.
    """
    cfg, own = _description(initial), initial.state_dict()
    described: dict[str, Any] = {"state_dict": state}
    stem = next(iter(_names(cfg.get("first_conv"))), "")
    if f"{stem}.weight" in state and _fits(own, f"{stem}.weight", state[f"{stem}.weight"]):
        described["input_size"] = (own[f"{stem}.weight"].shape[1], *cfg["input_size"][1:])
    heads = [name for name in own if name.startswith(tuple(f"{one}." for one in _names(cfg.get("classifier"))))]
    if heads and all(name in state for name in heads):
        state |= {name: own[name] for name in heads if not _fits(own, name, state[name])}
        described |= {"num_classes": len(own[heads[0]]), "label_offset": 0}
    return described


def _check_loaded(network: nn.Module, other: nn.Module) -> None:
    """Refuse a network that shares random weights with another one, except in its head.

    Timm does not compare the names of some networks' files.
    """
    heads = tuple(f"{one}." for one in _names(_description(network).get("classifier")))
    random = dict(other.named_parameters())
    missing = [
        name
        for name, weight in network.named_parameters()
        if not name.startswith(heads) and torch.equal(weight, random[name]) and weight.min() < weight.max()
    ]
    if missing:
        raise ValueError(f"it lacks {len(missing)} of the network's parameters (first: {missing[0]})")


def _description(network: Any) -> dict[str, Any]:
    """Return timm's description of a network's published weights, which the network keeps."""
    described: dict[str, Any] = network.pretrained_cfg
    return described


def _names(modules: Any) -> tuple[str, ...]:
    """Return the modules that timm's description of a network names: one, several or none."""
    return (modules,) if isinstance(modules, str) else tuple(modules or ())


def load_published(
    network: nn.Module, fetch: Callable[[], State], *, name: str, stem: tuple[str, ...], head: tuple[str, ...]
) -> None:
    """Load weights that `fetch` downloads. `load_file` describes which of them are fitted.

    Raises:
        CheckpointError: the weights cannot be reached.
    """
    with _explained(f"the published weights of {name}"):
        _load(network, fetch(), stem, head)


def load_file(
    network: nn.Module,
    weights: str,
    *,
    stem: tuple[str, ...],
    head: tuple[str, ...],
    convert: Callable[[State, nn.Module], State],
) -> None:
    """Load a local file of weights. The stem is fitted to the network's channels; a head of other classes is left out.

    Args:
        network: the network to fill.
        weights: `.safetensors` file, PyTorch state dict, or a checkpoint of this project.
        stem: names of the weights that see the front end's channels.
        head: beginnings of the names of the weights that give the classes.
        convert: function from the published names and shapes to the network's, such as timm's `checkpoint_filter_fn`.

    Raises:
        CheckpointError: the file is not there, is damaged, could run code, or is not of this network.
    """
    with _explained(f"model.weights={weights}"):
        _load(network, convert(read_weights(weights), network), stem, head)


def read_weights(weights: str) -> State:
    """Return the network's weights in a local file, without running anything in it.

    Raises:
        CheckpointError: the file is not there.
        Exception: the file is damaged or could run code; the libraries raise a dozen unrelated types.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise CheckpointError(f"model.weights={weights} is not there. Name a file of weights")
    _check_container(path)
    return _of_the_network(load_state_dict(str(path), use_ema=False, weights_only=True))


def _check_container(path: Path) -> None:
    """Refuse a file that needs far more time or memory than its size suggests, before it is opened.

    Raises:
        ValueError: the header lists more tensors than any network has, or the file is compressed, as PyTorch writes
            none.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is a compressed archive, which PyTorch does not write")
    elif path.suffix == ".safetensors":
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        if size > _MAX_HEADER:
            raise ValueError(f"its header has {size:,} bytes, more than the {_MAX_HEADER:,} that are read")


def _of_the_network(state: State) -> State:
    """Return the network's own weights.

    A checkpoint of this project also holds the front end, and its network may be inside windows.
    """
    while any(name.startswith(_OWN) for name in state):
        state = {name.removeprefix(_OWN): value for name, value in state.items() if name.startswith(_OWN)}
    return state


def _load(network: nn.Module, state: State, stem: tuple[str, ...], head: tuple[str, ...]) -> None:
    own = network.state_dict()
    for name in stem:
        if name in state and name in own:
            state[name] = adapt_input_conv(own[name].shape[1], state[name])
    kept = {name: value for name, value in state.items() if not name.startswith(head) or _fits(own, name, value)}
    missing, unknown = network.load_state_dict(kept, strict=False)
    if missing := [name for name in missing if not name.startswith(head)]:
        raise ValueError(f"it lacks {len(missing)} of the network's parameters (first: {missing[0]})")
    if unknown:
        raise ValueError(f"the network does not have {len(unknown)} of its parameters (first: {unknown[0]})")


def _fits(own: State, name: str, value: Tensor) -> bool:
    return name in own and own[name].shape == value.shape


@contextmanager
def _hub_or_its_cache() -> Iterator[None]:
    """Check once whether the hub can be reached. If not, use its local cache alone.

    The hub's own client would retry every file for a minute before it gives up.
    """
    offline = constants.HF_HUB_OFFLINE
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # no name, no route, a refusing proxy: the client raises a dozen unrelated types
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Explain in one sentence why weights could not be loaded, whatever the library raised."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, CheckpointError):
        raise
    except BaseException as error:  # a dozen unrelated types; a panic of safetensors is not an Exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        way_out = (
            "Without a connection, set model.weights=FILE to a local copy, or model.pretrained=false to train from "
            "scratch"
            if what.startswith("the published")
            else "Name a file with weights of this network"
        )
        raise CheckpointError(f"{what} cannot be loaded: {reason}. {way_out}") from None
