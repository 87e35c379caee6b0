"""The shapes of a network after channels were removed. A newly built network gets them on loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timm.layers.attention import Attention
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


def shapes_of(network: nn.Module) -> dict[str, list[int]]:
    """Return the shape of every parameter and buffer, by name."""
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def fit_shapes(network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give every parameter and buffer its shape in `shapes`, and every layer the matching sizes.

    The new values are 1, so later structural changes work on them. In the end a state is loaded. Names that are not
    in `shapes` keep their shape.
    """
    for prefix, module in network.named_modules():
        depthwise = isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels
        for name, parameter in list(module.named_parameters(recurse=False)):
            new = shapes.get(f"{prefix}.{name}" if prefix else name)
            if new is not None and tuple(new) != parameter.shape:
                setattr(module, name, nn.Parameter(parameter.detach().new_ones(tuple(new))))
        for name, buffer in list(module.named_buffers(recurse=False)):
            new = shapes.get(f"{prefix}.{name}" if prefix else name)
            if new is not None and tuple(new) != buffer.shape:
                setattr(module, name, buffer.new_ones(tuple(new)))
        _follow(module, depthwise)
    for module in network.modules():
        if isinstance(module, Attention):
            fit_attention(module)


def fit_attention(attention: nn.Module) -> None:
    """Set the sizes of a timm attention by its layers. The number of heads stays."""
    assert isinstance(attention, Attention)
    attention.attn_dim = attention.qkv.out_features // 3
    attention.head_dim = attention.attn_dim // attention.num_heads
    attention.scale = attention.head_dim**-0.5


def _follow(module: nn.Module, depthwise: bool) -> None:
    """Set a layer's sizes by its parameters."""
    if isinstance(module, _ConvNd):
        module.out_channels = module.weight.shape[0]
        if depthwise:
            module.groups = module.in_channels = module.out_channels
        else:
            module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm) and module.weight is not None:
        module.num_features = len(module.weight)
    elif isinstance(module, nn.LayerNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
