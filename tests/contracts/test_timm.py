"""The contract of `model=timm`, over networks of twelve families that timm or their arguments make small."""

from dataclasses import asdict

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from tiny import ROOT, TIMM_MODELS

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.data.datamodule import ECGBatch
from ecg_lightning.deployment.export import DeployedNetwork, export_onnx
from ecg_lightning.errors import CheckpointError, ConfigError
from ecg_lightning.models.schema import TimmConfig

SHALLOW = {"embed_dim": 24, "depth": 2, "num_heads": 2}
HIERARCHY = {"embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
FAMILIES = {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "test_nfnet": {},
    "test_mambaout": {},
    "test_byobnet": {},
    "lcnet_035": {},
    "vit_base_patch16_224": SHALLOW,
    "beit_base_patch16_224": SHALLOW,
    "swin_tiny_patch4_window7_224": HIERARCHY,
    "xcit_nano_12_p16_224": SHALLOW,
    "pvt_v2_b0": {"depths": [1, 1, 1, 1]},
}
RESIZED = {
    "vit_base_patch16_224": ("pos_embed",),
    "beit_base_patch16_224": ("blocks.0.attn.relative_position_bias_table",),
    "swin_tiny_patch4_window7_224": ("layers.2.blocks.0.attn.relative_position_bias_table",),
}
"""The tensors whose shape depends on the image's."""


def _make(name, size=(64, 96), channels=1, classes=5, arguments=None, seed=0, **settings):
    torch.manual_seed(seed)
    model = asdict(TimmConfig(name=name, arguments=FAMILIES.get(name, {}) if arguments is None else arguments))
    frontend = {"kind": "matrix", "size": list(size), "channels": channels}
    names = tuple(f"class {number}" for number in range(classes))
    return build_classifier(model | settings, frontend, n_samples=250, seed=0, classes=names)


def _batch(n_records=3):
    generator = torch.Generator().manual_seed(1)
    signals = torch.randint(-2000, 2000, (n_records, 12, 250), generator=generator, dtype=torch.int16)
    return ECGBatch(signals, torch.eye(5)[:n_records])


@pytest.mark.parametrize("name", FAMILIES)
def test_images_that_are_not_square_are_learned(name):
    classifier = _make(name).train()
    loss, logits = classifier.loss_and_logits(_batch())
    loss.backward()
    assert logits.shape == (3, 5)
    for parameter, value in classifier.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_exported_file_says_the_same(name, tmp_path):
    classifier = _make(name, channels=3).train()
    with torch.no_grad():
        for _ in range(20):  # statistics that are not the initial ones
            classifier.network(classifier.frontend(_batch().signals))
    classifier.eval()
    deployed = DeployedNetwork(classifier.frontend, classifier.network, classifier.loss)
    session = onnxruntime.InferenceSession(export_onnx(deployed, tmp_path / "network.onnx", 12, 250))
    millivolts = _batch(5).signals.float() / 1000
    _, probabilities = session.run(None, {session.get_inputs()[0].name: millivolts.numpy()})
    with torch.no_grad():
        expected = classifier.predict_probabilities(millivolts)
    assert expected.std(dim=0).max() > 1e-6
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("", "model.name is not set. Name a network of timm"),
            ("resnt50", "Did you mean resnet50?"),
            ("swin_tiny", "Did you mean swin_tiny_patch4_window7_224?"),
            ("resnet18.a1_in2k", "Did you mean resnet18.a1_in1k?"),
            ("hf-hub:someone/model", "has no such network"),
            ("local-dir:/tmp", "has no such network"),
            ("../resnet18", "has no such network"),
        ],
    )
    def test_a_wrong_name_is_refused_in_one_sentence(self, name, said):
        with pytest.raises(ConfigError) as caught:
            _make(name)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "size", "settings", "said"),
        [
            ("vit_base_patch16_224", (72, 90), {}, r"patches of 16 × 16 pixels .* frontend\.size=\[64,96\]"),
            ("inception_v3", (64, 64), {}, "cannot classify images of 1 × 64 × 64"),
            (
                "lcnet_035",
                (64, 64),
                {"drop_path": 0.1, "arguments": {"depth": 2}},
                r"model\.arguments: lcnet_035 cannot",
            ),
            (
                "densenet121",
                (64, 64),
                {"drop_path": 0.1, "arguments": {"block_config": [1]}},
                "densenet121 has no stochastic depth",
            ),
            ("test_resnet", (64, 64), {"arguments": {"in_chans": 3}}, r"frontend\.channels sets this argument"),
            ("test_resnet", (64, 64), {"arguments": {"num_classes": 3}}, "the data sets this argument"),
            ("test_resnet", (64, 64), {"arguments": {"output_stride": 5}}, "cannot be built"),
            ("resnetblur18", (64, 64), {"pretrained": True}, "timm has no published weights for resnetblur18"),
        ],
    )
    def test_what_cannot_be_is_refused(self, name, size, settings, said):
        with pytest.raises(ConfigError, match=said):
            _make(name, size, **settings)

    @pytest.mark.parametrize(
        "argument", ["pretrained_cfg_overlay", "pretrained_filter_fn", "checkpoint_path", "cache_dir", "features_only"]
    )
    def test_arguments_that_load_files_are_refused(self, argument):
        with pytest.raises(ConfigError, match=rf"model\.arguments\.{argument}: this argument does not describe"):
            _make("test_resnet", arguments={argument: "x"})

    def test_the_dropout_arrives(self):
        network = _make("vit_base_patch16_224", dropout=0.3, drop_path=0.2).network
        assert network.head_drop.p == 0.3
        assert network.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)
        assert (
            _make("swin_tiny_patch4_window7_224").network.layers[-1].blocks[-1].drop_path1.__class__
            is torch.nn.Identity
        )


class TestWeights:
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    @pytest.mark.parametrize("name", RESIZED)
    def test_a_file_of_another_size_channels_and_classes(self, name, suffix, tmp_path):
        source = _make(name, (64, 64), channels=3, classes=7, seed=1).network.state_dict()
        for resized in RESIZED[name]:
            source[resized] = torch.full_like(source[resized], 0.25)
        file = tmp_path / f"weights.{suffix}"
        torch.save(source, file) if suffix == "pth" else save_file(source, file)
        network = _make(name, (32, 96), weights=str(file)).network
        loaded = network.state_dict()
        stem = "patch_embed.proj.weight"
        assert torch.allclose(loaded[stem], source[stem].sum(dim=1, keepdim=True), atol=1e-6)
        for resized in RESIZED[name]:
            assert loaded[resized].shape != source[resized].shape
            assert torch.allclose(loaded[resized], torch.tensor(0.25), atol=1e-4)  # constant, as the file's
        others = {one for one in source if loaded[one].shape == source[one].shape and "relative" not in one}
        assert len(others) > 20
        assert all(torch.equal(loaded[one], source[one]) for one in others)
        assert "state_dict" not in network.pretrained_cfg

    def test_positions_are_interpolated_along_each_side(self, tmp_path):
        name = "vit_base_patch16_224"
        source = _make(name, (64, 64)).network.state_dict()
        rows = torch.arange(4.0)[:, None].expand(4, 4).flatten()
        source["pos_embed"] = torch.cat([torch.zeros(1), rows])[None, :, None].expand(1, 17, 24).contiguous()
        torch.save(source, tmp_path / "weights.pth")
        positions = _make(name, (64, 128), weights=str(tmp_path / "weights.pth")).network.pos_embed[0, 1:, 0]
        assert torch.allclose(positions.view(4, 8), torch.arange(4.0)[:, None].expand(4, 8), atol=1e-4)

    @pytest.mark.parametrize(
        "name",
        [
            "vit_base_patch16_224",
            *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name != "vit_base_patch16_224"),
        ],
    )
    def test_a_checkpoint_of_the_same_network_is_loaded_with_its_head(self, name, tmp_path, caplog):
        source = _make(name, seed=1)
        torch.save({"state_dict": source.state_dict()}, tmp_path / "own.ckpt")
        loaded = _make(name, weights=str(tmp_path / "own.ckpt"))
        assert torch.equal(loaded.eval()(_batch().signals), source.eval()(_batch().signals))
        assert not caplog.records

    def test_a_new_head_depends_on_the_seed(self, tmp_path):
        torch.save(_make("test_efficientnet", classes=7).network.state_dict(), tmp_path / "weights.pth")
        weights = str(tmp_path / "weights.pth")
        one, same, other = (_make("test_efficientnet", seed=seed, weights=weights).network for seed in (1, 1, 2))
        assert torch.equal(one.classifier.weight, same.classifier.weight)
        assert not torch.equal(one.classifier.weight, other.classifier.weight)

    @pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_resnet"])
    @pytest.mark.parametrize("left_out", ["one", "head and one", "all"])
    def test_a_file_that_lacks_weights_is_refused(self, name, left_out, tmp_path):
        source = _make(name, seed=1).network.state_dict()
        gone = [one for one in source if one.endswith("weight") and source[one].ndim > 1 and "head" not in one][4]
        kept = {one: value for one, value in source.items() if one != gone and not (left_out != "one" and "fc" in one)}
        torch.save({"other.weight": torch.zeros(3)} if left_out == "all" else kept, tmp_path / "weights.pth")
        with pytest.raises(CheckpointError, match=r"weights\.pth cannot be loaded: .*Name a file with weights of this"):
            _make(name, weights=str(tmp_path / "weights.pth"))

    def test_a_file_that_holds_code_is_refused_and_not_run(self, tmp_path):
        trap = tmp_path / "ran"
        torch.save({"state_dict": {"head.weight": _Trap(str(trap))}}, tmp_path / "weights.pth")
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            _make("test_vit", weights=str(tmp_path / "weights.pth"))
        assert not trap.exists()

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"model\.weights=.*weights\.pth is not there"):
            _make("test_resnet", weights=str(tmp_path / "weights.pth"))

    def test_unreachable_weights_say_what_to_do(self, monkeypatch, tmp_path):
        def unreachable(*args, **kwargs):
            raise OSError("Name or service not known")

        monkeypatch.setattr("socket.getaddrinfo", unreachable)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(CheckpointError, match=r"published weights of test_vit .* model\.weights=FILE"):
            _make("test_vit", pretrained=True, arguments={})


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class TestReadyChoices:
    def test_they_are_published_by_timm(self):
        for option in TIMM_MODELS:
            settings = OmegaConf.load(ROOT / "conf" / "model" / f"{option}.yaml")
            assert timm.is_model_pretrained(settings.name)

    @pytest.mark.slow
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("option", TIMM_MODELS)
    def test_they_learn_images_of_224(self, configure, option, channels):
        cfg = configure(f"model={option}", "frontend.size=224", f"frontend.channels={channels}")
        classifier = build_classifier(cfg.model, cfg.frontend, n_samples=250, seed=0).train()
        loss, logits = classifier.loss_and_logits(_batch())
        loss.backward()
        assert logits.shape == (3, 5)
        assert all(torch.isfinite(one.grad).all() for one in classifier.parameters())

    @pytest.mark.parametrize("option", ["swin_tiny", "beit_base"])
    def test_arguments_make_them_smaller(self, configure, option):
        small = HIERARCHY if option == "swin_tiny" else SHALLOW
        cfg = configure(f"model={option}", *(f"+model.arguments.{name}={value}" for name, value in small.items()))
        classifier = build_classifier(cfg.model, cfg.frontend, n_samples=250, seed=0).eval()
        assert sum(one.numel() for one in classifier.parameters()) < 1e6
        assert classifier(_batch().signals).shape == (3, 5)
