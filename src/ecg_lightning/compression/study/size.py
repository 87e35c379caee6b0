"""The size of a variant's network: parameters, weights that are not zero, and multiply–accumulates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.models.structure import measure_network


def measure_size(
    stage: CompressionStage | None, classifier: ECGClassifier, context: StageContext, before: Mapping[str, Any]
) -> dict[str, Any]:
    """Count `parameters`, `nonzero_fraction` and `macs` of a network as it is deployed.

    A quantized network hides its parameters and products. It has as many as the previous variant.

    Args:
        stage: the stage that made the variant; None for the model as trained.
        classifier: classifier with the network.
        context: context of the stage, whose records are an example of the network's input.
        before: counts of the previous variant.
    """
    counts = measure_network(classifier.network)
    if stage is not None and stage.quantizes:
        return counts | {name: before[name] for name in ("parameters", "macs")}
    example = next(context.network_inputs(classifier, 1))
    return counts | {"macs": count_macs(reparameterize(classifier.network), example)}


def count_macs(network: nn.Module, example: torch.Tensor) -> int | None:
    """Count the multiply–accumulates for one record: convolutions, linear layers, attention products and LSTMs.

    Return None for a network with Fourier transforms, because these are most of its work and no such products.
    """
    transforms: list[Any] = []

    def note_transform(*_: Any, **__: Any) -> int:
        transforms.append(1)
        return 0

    known = {  # added to those that the counter knows
        torch.ops.aten.mkldnn_rnn_layer: _fused_lstm_flops,
        torch.ops.aten._fft_r2c: note_transform,
        torch.ops.aten._fft_c2r: note_transform,
        torch.ops.aten._fft_c2c: note_transform,
    }
    # The counter does not know the processor's fused attention.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=known) as counter:
        network.eval()(example)
    return None if transforms else int(counter.get_total_flops()) // 2


def _fused_lstm_flops(
    inputs: Sequence[int], weight: Sequence[int], recurrent: Sequence[int], *_: Any, **__: Any
) -> int:
    """Count one layer and direction, from the shapes of its (T, B, F) inputs and its two matrices."""
    return 2 * inputs[0] * inputs[1] * (math.prod(weight) + math.prod(recurrent))
