"""Pruning: exact fractions, zeros that stay, channels that are gone, and checkpoints that load again."""

import lightning as L
import pytest
import torch
from stages import ToyRecords, assert_restores, build_described, describe_tiny, make_context
from tiny import SIGNAL_MODELS, TINY
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from ecg_lightning.compression.act_swap import ActSwap
from ecg_lightning.compression.prune_l1 import PruneL1, prunable_weights
from ecg_lightning.compression.prune_structured import PruneStructured, round_width, rounding_unit
from ecg_lightning.compression.schema import ActSwapConfig, PruneL1Config, PruneStructuredConfig
from ecg_lightning.compression.tools.heads import find_heads
from ecg_lightning.compression.tools.masks import KeepZeros
from ecg_lightning.compression.tools.schedule import cubic_amounts, share_epochs
from ecg_lightning.errors import ConfigError, UnsupportedModelError
from ecg_lightning.models.ensemble import EnsembleNetwork

MODELS = sorted(set(TINY) - {"deit_base"})
# A recurrent layer's channels stay, its head's alone go; a state space's cannot be followed.
CHANNELS = [model for model in MODELS if not model.startswith("lstm") and model != "s4d"]
IMAGE = ["frontend.size=[32,64]"]


def _l1(**settings):
    return PruneL1(PruneL1Config(**settings))


def _structured(**settings):
    return PruneStructured(PruneStructuredConfig(**settings))


@pytest.fixture
def make(configure):
    def build(model):
        image = [] if model in SIGNAL_MODELS else IMAGE
        return build_described(describe_tiny(configure, model, *image))

    return build


def _weights(classifier):
    return prunable_weights(classifier.network, 5, ("conv", "linear"))


def _zeros(weights):
    return sum(int((weight == 0).sum()) for weight in weights)


@pytest.mark.parametrize("model", MODELS)
def test_heads_are_found(make, model):
    network = make(model).network
    heads = find_heads(network, 5)
    assert len(heads) == (2 if model == "deit" else 1)
    assert all(head.out_features == 5 for head in heads.values())
    with pytest.raises(ConfigError, match="does not end in a linear layer of 4 classes"):
        find_heads(network, 4)


def test_every_member_of_an_ensemble_keeps_its_head(make):
    network = EnsembleNetwork([make("vit"), make("deit")])
    heads = find_heads(network, 5)
    assert sorted(heads) == ["networks.0.head", "networks.1.head", "networks.1.head_dist"]
    assert all(head is network.get_submodule(name) for name, head in heads.items())


class TestSchedule:
    def test_amounts_are_zhu_and_guptas(self):
        assert cubic_amounts(0.8, 1) == [0.8]
        assert cubic_amounts(0.8, 4) == pytest.approx([0.8 * (1 - f) for f in (0.75**3, 0.5**3, 0.25**3, 0)])

    def test_epochs_add_up(self):
        assert share_epochs(7, 3) == [2, 2, 3]
        assert share_epochs(1, 3) == [0, 0, 1]
        assert share_epochs(0, 2) == [0, 0]


class TestPruneL1:
    @pytest.mark.parametrize("scope", ["layer", "global"])
    @pytest.mark.parametrize("model", MODELS)
    def test_fraction_is_exact_and_stays_so_through_training(self, make, model, scope):
        classifier = make(model)
        heads = {name: head.weight.detach().clone() for name, head in find_heads(classifier.network, 5).items()}
        context = make_context(make(model))
        stage = _l1(amount=0.7, scope=scope, epochs=1)
        compressed = stage.apply(classifier, context)
        weights = list(_weights(compressed).values())
        each = weights if scope == "layer" else [torch.cat([weight.flatten() for weight in weights])]
        assert all(int((weight == 0).sum()) == round(0.7 * weight.numel()) for weight in each)
        for name, head in find_heads(compressed.network, 5).items():
            assert (head.weight != 0).all()
            assert not torch.equal(head.weight, heads[name])  # it was trained
        assert context.notes[0].startswith(f"{_zeros(weights) / sum(w.numel() for w in weights):.2%} of the")
        assert not any("mask" in name or "orig" in name for name in compressed.state_dict())
        assert_restores(stage, compressed)

    def test_the_smallest_go(self, make):
        classifier = make("effnetv2")
        before = {name: weight.detach().clone() for name, weight in _weights(classifier).items()}
        _l1(amount=0.5, epochs=0).apply(classifier, make_context(classifier))
        for name, weight in _weights(classifier).items():
            kept = weight != 0
            assert torch.equal(weight[kept], before[name][kept])
            if not kept.all():
                assert before[name][~kept].abs().max() <= before[name][kept].abs().min()

    def test_layers_that_vanish_are_said(self, make):
        classifier = make("vit")
        context = make_context(classifier)
        with torch.no_grad():
            classifier.network.blocks[1].mlp.fc1.weight.mul_(1e-6)
        _l1(amount=0.7, scope="global", epochs=0).apply(classifier, context)
        assert "1 layers are entirely zero, such as blocks.1.mlp.fc1" in context.notes[1]

    def test_only_the_chosen_layers(self, make):
        classifier = make("vit")
        _l1(amount=0.5, layers=["conv"], epochs=0).apply(classifier, make_context(classifier))
        for module in classifier.network.modules():
            if isinstance(module, nn.Linear):
                assert (module.weight != 0).all()
        assert (classifier.network.patch_embed.proj.weight == 0).float().mean() == 0.5

    @pytest.mark.parametrize("scope", ["layer", "global"])
    def test_amounts_of_their_own_by_the_longest_beginning(self, make, scope):
        classifier = make("vit")
        amounts = {"blocks": 0.75, "blocks.1.mlp.fc1": 0.25, "patch_embed": 0}
        stage = _l1(amount=0.5, scope=scope, amounts=amounts, epochs=0)
        stage.apply(classifier, make_context(classifier))
        weights = _weights(classifier)
        block = [w for name, w in weights.items() if name.startswith("blocks") and name != "blocks.1.mlp.fc1"]
        assert _zeros(block) == round(0.75 * sum(w.numel() for w in block))
        fc1 = weights["blocks.1.mlp.fc1"]
        assert _zeros([fc1]) == round(0.25 * fc1.numel())
        assert _zeros([weights["patch_embed.proj"]]) == 0

    def test_a_beginning_is_whole_parts_of_a_name(self, make):
        classifier = make("vit")
        with pytest.raises(ConfigError, match=r"prune_l1\.amounts\.block: .*Did you mean blocks"):
            _l1(amount=0.5, amounts={"block": 0.1}, epochs=0).apply(classifier, make_context(classifier))

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"layers": ["convv"]}, "allowed are conv, linear. Did you mean conv"),
            ({"layers": []}, "nothing to prune"),
            ({"amounts": {"blocks": 1.5}}, "blocks=1.5"),
        ],
    )
    def test_settings_are_checked(self, settings, named):
        with pytest.raises(ConfigError, match=named):
            _l1(**settings)

    def test_steps_share_the_epochs_and_follow_the_schedule(self, make):
        classifier, context = make("vit"), make_context(make("vit"))
        fractions, fit = [], context.fit.__call__

        class Fit:
            epochs = 5

            def __call__(self, classifier, epochs, lr):
                weights = list(_weights(classifier).values())
                fractions.append(_zeros(weights) / sum(w.numel() for w in weights))
                return fit(classifier, epochs, lr)

        context.fit = Fit()
        _l1(amount=0.8, steps=3).apply(classifier, context)
        assert fractions == pytest.approx(cubic_amounts(0.8, 3), abs=1e-3)
        assert [epochs for epochs, _ in make_calls(fit)] == [1, 2, 2]


def make_calls(bound):
    return bound.__self__.calls


class _Module(L.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def training_step(self, batch, _):
        return self.network(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2, weight_decay=0.1)


def _lightning(network, inputs):
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[KeepZeros()],
    )  # fmt: skip
    trainer.fit(_Module(network), DataLoader(list(inputs), batch_size=4))


class TestKeepZeros:
    @pytest.fixture
    def pruned(self):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
        with torch.no_grad():
            network[0].weight[network[0].weight.abs() < 0.2] = 0
            network[4].bias.zero_()
        return network

    def test_zeros_stay_and_the_rest_learns(self, pruned):
        before = pruned[0].weight.detach().clone()
        assert 0.2 < (before == 0).float().mean() < 0.9
        dense = pruned[4].weight.detach().clone()
        _lightning(pruned, torch.randn(16, 1, 8, 8))
        assert torch.equal(pruned[0].weight == 0, before == 0)
        assert (pruned[0].weight != before)[before != 0].all()
        assert (pruned[4].weight != dense).all()
        assert (pruned[4].bias != 0).all()  # no weight

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("tool", ["fx", "pt2e"])
    def test_on_graphs_prepared_for_quantization(self, pruned, tool):
        example = torch.randn(2, 1, 8, 8)
        if tool == "fx":
            from torch.ao.quantization import get_default_qat_qconfig_mapping
            from torch.ao.quantization.quantize_fx import prepare_qat_fx

            prepared = prepare_qat_fx(pruned.train(), get_default_qat_qconfig_mapping("x86"), (example,))
        else:
            pytest.importorskip("torchao")
            from torchao.quantization.pt2e import allow_exported_model_train_eval
            from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
            from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

            graph = torch.export.export(
                pruned.train(), (example,), dynamic_shapes=({0: torch.export.Dim("b", min=1, max=64)},)
            ).module()
            quantizer = x86.X86InductorQuantizer()
            quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
            prepared = allow_exported_model_train_eval(prepare_qat_pt2e(graph, quantizer))
        (weight,) = (p for p in prepared.parameters() if p.dim() == 4)
        before = weight.detach().clone()
        _lightning(prepared, torch.randn(16, 1, 8, 8))
        assert torch.equal(weight == 0, before == 0)
        assert (weight != before)[before != 0].any()


def _flops(classifier):
    image = classifier.frontend.eval()(ToyRecords(1).signals)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        classifier.network.eval()(image)
    return counter.get_total_flops()


class TestPruneStructured:
    def test_channels_of_a_state_space_are_refused(self, make):
        classifier = make("s4d")
        with pytest.raises(UnsupportedModelError, match="cannot follow the channels"):
            _structured(amount=0.5, epochs=0).apply(classifier, make_context(classifier))

    @pytest.mark.parametrize("scope", ["layer", "global"])
    @pytest.mark.parametrize("model", CHANNELS)
    def test_a_smaller_network_that_trains_and_loads(self, make, model, scope):
        uncompressed, classifier = make(model), make(model)
        context = make_context(uncompressed)
        stage = _structured(amount=0.5, round_to=4, scope=scope, epochs=1)  # PlainFit asserts finite gradients
        compressed = stage.apply(classifier, context)
        small, large = (sum(p.numel() for p in c.network.parameters()) for c in (compressed, uncompressed))
        assert small < 0.5 * large
        assert _flops(compressed) < 0.5 * _flops(uncompressed)
        assert f"{large:,} → {small:,} parameters" in context.notes[0]
        assert [h.out_features for h in find_heads(compressed.network, 5).values()] == [5] * (1 + (model == "deit"))
        assert_restores(stage, compressed)

    @pytest.mark.parametrize("model", ["deit", "convnext", "effnetv2"])
    def test_again_and_again_with_training_between(self, make, model):
        context = make_context(make(model))
        stage = _structured(amount=0.5, round_to=4, steps=3)
        compressed = stage.apply(make(model), context)
        assert [epochs for epochs, _ in context.fit.calls] == [1, 1]  # two epochs for three steps
        once = _structured(amount=0.5, round_to=4, epochs=0).apply(make(model), make_context(make(model)))
        shapes = [[p.shape for p in c.network.parameters()] for c in (compressed, once)]
        assert shapes[0] == shapes[1]
        assert_restores(stage, compressed)

    def test_widths_are_rounded_and_heads_of_attention_stay(self, make):
        compressed = _structured(amount=0.5, round_to=4, epochs=0).apply(make("deit"), make_context(make("deit")))
        attention = compressed.network.blocks[0].attn
        assert (attention.num_heads, attention.head_dim, attention.attn_dim) == (3, 8, 24)
        assert attention.scale == 8**-0.5
        assert attention.fused_attn
        assert compressed.network.pos_embed.shape[-1] == 24
        assert compressed.network.blocks[0].mlp.fc1.out_features == 96

    def test_rounding(self):
        assert [rounding_unit(width, 32) for width in (500, 32, 31.9, 12, 1.5, 0.2)] == [32, 32, 16, 8, 1, 1]
        assert [round_width(width, 32) for width in (80, 79, 64, 3)] == [96, 64, 64, 32]
        assert rounding_unit(100, 24) == 24

    def test_narrow_layers_are_said(self, make):
        context = make_context(make("convnext"))
        _structured(amount=0.5, round_to=32, epochs=0).apply(make("convnext"), context)
        assert context.notes[1] == "layers with fewer than 32 channels were rounded to 4 to 16"

    def test_the_least_magnitude_goes(self, make):
        classifier = make("vit")
        fc1 = classifier.network.blocks[0].mlp.fc1
        with torch.no_grad():
            fc1.weight[:32] *= 100
        before = fc1.weight.detach().clone()
        _structured(amount=0.5, round_to=1, epochs=0).apply(classifier, make_context(classifier))
        kept = {tuple(row[:2].tolist()) for row in fc1.weight}
        assert all(any(set(k) <= set(row.tolist()) for row in before[:32]) for k in kept)

    def test_what_cannot_be_followed_is_one_clear_error(self, make):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(1, 8, 3, 2, 1)
                self.head = nn.Linear(8, 5)

            def forward(self, x):
                features = self.conv(x).mean((2, 3))
                return self.head(features * torch.ones(8))

        classifier = make("vit")
        classifier.network = Odd()
        with pytest.raises(UnsupportedModelError, match="cannot follow the channels through Odd"):
            _structured(amount=0.5, epochs=0).apply(classifier, make_context(classifier))


def test_stages_in_a_row_load_in_the_same_order(make):
    context = make_context(make("effnetv2"))
    stages = [
        ActSwap(ActSwapConfig(activation="relu6", epochs=1)),
        _structured(amount=0.5, round_to=4, epochs=1),
        _l1(amount=0.7, epochs=1),
    ]
    compressed, restored = make("effnetv2"), make("effnetv2")
    for stage in stages:
        compressed = stage.apply(compressed, context)
    for stage in stages:
        restored = stage.restore(restored, compressed.state_dict())
    restored.load_state_dict(compressed.state_dict())
    signals = ToyRecords(4).signals
    assert torch.equal(restored.eval()(signals), compressed.eval()(signals))
