"""A network that is a chain of layers, in a form that every quantizer takes."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class Chain(nn.Sequential):
    """The layers of an `nn.Sequential` in order. An `nn.Sequential` would also run the modules that NNCF adds to it."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__(OrderedDict(layers._modules))
        self.names = tuple(layers._modules)

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of the last layer for the input of the first."""
        for name in self.names:
            input = self.get_submodule(name)(input)
        return input
