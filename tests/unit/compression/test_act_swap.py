"""Activations are swapped everywhere, and again when a checkpoint is loaded."""

import pytest
import torch
import torch.nn.functional as F
from stages import ToyRecords, assert_restores, build_described, describe_tiny, make_context
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ecg_lightning.compression.act_swap import ActSwap, swap_activations
from ecg_lightning.compression.schema import ActSwapConfig

SMOOTH = ["vit", "deit", "effnetv2", "convnext"]


class _Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name().partition(".")[0])
        return func(*args, **(kwargs or {}))


def _operators(classifier):
    with _Operators() as seen, torch.no_grad():
        classifier.eval()(ToyRecords(2).signals)
    return seen.names


@pytest.fixture
def make(configure):
    return lambda model, *overrides: build_described(describe_tiny(configure, model, "frontend.size=32", *overrides))


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish"])
@pytest.mark.parametrize("model", SMOOTH)
def test_no_smooth_activation_runs_any_more(make, model, activation):
    uncompressed, classifier = make(model), make(model)
    assert _operators(classifier) & {"aten::silu", "aten::gelu", "aten::silu_"}
    context = make_context(uncompressed)
    stage = ActSwap(ActSwapConfig(activation=activation, epochs=1, lr=1e-4))
    compressed = stage.apply(classifier, context)
    ran = _operators(compressed)
    assert not any("silu" in name or "gelu" in name for name in ran)
    operator = {"relu6": "hardtanh"}.get(activation, activation)
    assert {f"aten::{operator}", f"aten::{operator}_"} & ran
    assert context.fit.calls == [(1, 1e-4)]
    assert context.notes[0].endswith(f"activations were replaced by {activation}")
    assert_restores(stage, compressed)


def test_the_output_differs_and_the_weights_do_not(make):
    one, other = make("effnetv2"), make("effnetv2")
    signals = ToyRecords(4).signals
    assert torch.equal(one(signals), other(signals))
    swap_activations(other.network, "relu6")
    assert not torch.allclose(one(signals), other(signals))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_gates_keep_their_sigmoid(make):
    network = make("effnetv2").network
    n_gates = sum(isinstance(module, nn.Sigmoid) for module in network.modules())
    swap_activations(network, "hardswish")
    assert sum(isinstance(module, nn.Sigmoid) for module in network.modules()) == n_gates > 0


def test_functions_and_timms_own_modules_are_swapped_too():
    from timm.layers import activations, activations_me

    network = nn.Sequential(activations.GELUTanh(), activations_me.SwishMe(), nn.Sequential(nn.SiLU(inplace=True)))
    network.act_fn = F.silu
    assert swap_activations(network, "relu") == 4
    assert network.act_fn is F.relu
    assert [type(module) for module in network.modules() if not isinstance(module, nn.Sequential)] == [nn.ReLU] * 3
    assert network[2][0].inplace
    shared = nn.GELU()
    twice = nn.Sequential(shared, shared)
    swap_activations(twice, "relu6")
    assert isinstance(twice[1], nn.ReLU6)
