"""Int8 by torchao's PT2E: a graph that trains with fake quantization and becomes an ONNX file of real int8 weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ecg_lightning.compression.tools.quantizable import prepare_for_quantization
from ecg_lightning.deployment.extras import hushed, import_extra
from ecg_lightning.errors import UnsupportedModelError

_REGISTRY = "torch.utils._pytree"  # logs how torchao registers its classes


def prepare_pt2e(network: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a trainable graph of the network with fake quantization.

    Activations are symmetric (−127 … 127), so that zero weights and paddings stay exact and every runtime has kernels
    for it; weights are symmetric, a scale for each output channel.

    Args:
        network: network to quantize. It is changed in place.
        inputs: example of at least two records; with one record, the batch size would be fixed.

    Raises:
        UnsupportedModelError: `torch.export` cannot trace the network.
    """
    pt2e = import_extra("torchao.quantization.pt2e")
    quantizers = import_extra("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    specification = import_extra("torchao.quantization.pt2e.quantizer.quantizer").QuantizationSpec
    activation = specification(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric,
        is_dynamic=False,
        observer_or_fake_quant_ctr=pt2e.FusedMovingAvgObsFakeQuantize.with_args(
            observer=pt2e.MovingAverageMinMaxObserver
        ),
    )
    with hushed(_REGISTRY):
        default = quantizers.get_default_x86_inductor_quantization_config(is_qat=True)
        output = activation if default.output_activation is not None else None
        quantizer = quantizers.X86InductorQuantizer()
        quantizer.set_global(type(default)(activation, output, default.weight, None, True))
        try:
            graph = torch.export.export(
                prepare_for_quantization(network).train(), (inputs,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
            ).module()
        except Exception as error:  # torch.export raises anything
            reason = " ".join(str(error).split())[:200]
            raise UnsupportedModelError(
                f"torch.export cannot trace {type(network).__name__} ({reason}); use compression.stages.quantize.tool="
                "nncf, or compression=qat_fbgemm"
            ) from error
        prepare = import_extra("torchao.quantization.pt2e.quantize_pt2e").prepare_qat_pt2e
        with _only_its_convolutions():
            prepared: nn.Module = pt2e.allow_exported_model_train_eval(prepare(graph, quantizer))
    return prepared


def freeze_statistics(network: nn.Module) -> None:
    """Let BatchNorm in a prepared graph use its running statistics. Gradients flow as before."""
    import_extra("torchao.quantization.pt2e").move_exported_model_to_eval(network)


def convert_pt2e(network: nn.Module) -> nn.Module:
    """Return the trained graph with integer weights. It computes the same as the int8 runtimes, but slowly."""
    pt2e = import_extra("torchao.quantization.pt2e")
    network.eval()  # on an exported graph, eval() returns nothing
    with hushed(_REGISTRY), _only_its_convolutions():
        convert = import_extra("torchao.quantization.pt2e.quantize_pt2e").convert_pt2e
        converted: nn.Module = pt2e.allow_exported_model_train_eval(convert(network))
    converted.eval()
    return converted


@contextmanager
def _only_its_convolutions() -> Iterator[None]:
    """Skip torchao's patterns for kinds of convolution that the graph does not hold.

    Torchao traces about a hundred patterns, which takes half a minute. Three of the four kinds are not in our networks.
    """
    patterns = import_extra("torchao.quantization.pt2e.qat_utils")
    helpers = {name: getattr(patterns, name, None) for name in ("_fuse_conv_bn_qat_helper", "_fold_conv_bn_qat_helper")}

    def sparing(helper: Callable[..., Any]) -> Callable[..., Any]:
        def helped(graph: Any, convolution: Any, *more: Any, **named: Any) -> Any:
            name = f"aten.{convolution.__name__}."
            found = any(str(node.target).startswith(name) for node in graph.graph.nodes)
            return helper(graph, convolution, *more, **named) if found else graph

        return helped

    for name, helper in helpers.items():
        if helper is not None:
            setattr(patterns, name, sparing(helper))
    try:
        yield
    finally:
        for name, helper in helpers.items():
            if helper is not None:
                setattr(patterns, name, helper)
