"""The contract of every architecture in `conf/model/`."""

import functools

import pytest
import torch
from safetensors.torch import save_file
from tiny import MODELS, SIGNAL_MODELS, TIMM_MODELS, TINY, build_tiny

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.data.datamodule import ECGBatch
from ecg_lightning.errors import CheckpointError, ConfigError
from ecg_lightning.models.catalogue import networks
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.models.lstm import LSTMNetwork
from ecg_lightning.models.schema import LSTMConfig

# The tests of the other options are test_timm.py, tests/unit/models/test_ensemble.py and tests/runs/test_custom.py.
IMAGE_MODELS = [model for model in MODELS if model not in SIGNAL_MODELS]
PUBLISHED = ["deit", "effnetv2", "convnext", "resnet18d", "resnet10t", "repvgg_a0"]


@pytest.fixture
def make(configure):
    return functools.partial(build_tiny, configure)


def _batch(n=4, n_samples=1000):
    generator = torch.Generator().manual_seed(1)
    signals = torch.randint(-2000, 2000, (n, 12, n_samples), generator=generator, dtype=torch.int16)
    return ECGBatch(signals, torch.eye(5)[torch.arange(n) % 5])


def test_layers_are_as_they_are_set(make):
    convolutions = [one for one in make("inception1d", "model.kernel_sizes=[7,3]").modules() if hasattr(one, "stride")]
    assert {(1, 7), (1, 3)} <= {getattr(one, "kernel_size", None) for one in convolutions}
    assert not {(1, 39), (1, 19), (1, 9)} & {getattr(one, "kernel_size", None) for one in convolutions}
    hidden = [part for name, part in make("vit1d", "model.mlp_ratio=2").named_modules() if name.endswith("mlp.fc1")]
    assert hidden
    assert all(layer.out_features == 2 * layer.in_features for layer in hidden)
    transformer = make("vit1d", "model.patch_samples=50", "model.patch_leads=3").network.transformer
    assert transformer.patch_embed.proj.weight.shape == (32, 1, 3, 50)
    assert transformer.pos_embed.shape == (1, 4 * 20, 32)
    for model in ("vit", "deit"):
        network = make(model, "model.attention_dropout=0.25", "model.dropout=0").network
        assert {block.attn.attn_drop.p for block in network.blocks} == {0.25}
        assert {block.attn.proj_drop.p for block in network.blocks} == {0.0}


def test_tiny_settings_are_of_models_that_are_there():
    assert set(TINY) <= set(MODELS)


@pytest.mark.parametrize(
    ("model", "overrides"),
    [(model, [f"frontend.channels={channels}"]) for model in IMAGE_MODELS for channels in (1, 3)]
    + [(model, []) for model in sorted(SIGNAL_MODELS)],
)
def test_logits_shape_and_finite_gradients(make, model, overrides):
    classifier = make(model, *overrides).train()
    loss, logits = classifier.loss_and_logits(_batch())
    loss.backward()
    assert logits.shape == (4, 5)
    for name, parameter in classifier.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("size", ["[32,128]", "[48,64]"])
@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_any_image_size(make, model, size):
    assert make(model, f"frontend.size={size}").eval()(_batch().signals).shape == (4, 5)


@pytest.mark.parametrize("n_samples", [5000, 999, 1])
@pytest.mark.parametrize("model", sorted(SIGNAL_MODELS - {"vit1d"}))  # whose positions belong to one length
def test_any_signal_length(make, model, n_samples):
    assert make(model).eval()(torch.zeros(2, 12, n_samples)).shape == (2, 5)


@pytest.mark.parametrize("model", MODELS)
def test_initialisation_is_deterministic_and_state_dict_round_trips(make, model):
    one, other = make(model).eval(), make(model).eval()
    signals = _batch().signals
    assert torch.equal(one(signals), other(signals))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    assert not torch.equal(one(signals), other(signals))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(signals), other(signals))


QUICK = ("vit", "deit", "effnetv2", "convnext", "resnet1d_wang", "s4d")


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=() if model in QUICK else pytest.mark.slow) for model in MODELS]
)
def test_learns_one_batch_by_heart(make, model):
    off = [
        f"frontend.augmentation.{name}=0"
        for name in ("amplitude", "noise_mv", "wander_mv", "lead_dropout", "time_shift")
    ]
    whole = ["model.window_s=null"] if model in SIGNAL_MODELS else []
    settings = [*off, *whole, "model.dropout=0", "model.drop_path=0"]
    classifier = make(model, *settings, n_samples=250).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), 3e-3)
    batch = _batch(5, n_samples=250)
    losses = []
    for _ in range(100):
        loss, logits = classifier.loss_and_logits(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert torch.equal(logits > 0, batch.targets > 0)


def test_full_size_models_have_their_published_parameters(make):
    # Of the networks with 1,000 classes and three channels: timm's and torchvision's tables.
    published = {"deit": 5.9e6, "effnetv2": 21.5e6, "convnext": 28.6e6}
    published |= {"resnet18d": 11_708_744, "resnet10t": 5_435_488, "repvgg_a0": 9_108_968}
    heads = {"deit": 2 * 193 * 1000, "effnetv2": 1281 * 1000, "convnext": 769 * 1000}
    heads |= {"resnet18d": 513 * 1000, "resnet10t": 513 * 1000, "repvgg_a0": 1281 * 1000}
    for model, count in published.items():
        size = "frontend.size=224"
        classifier = make(model, size, "frontend.channels=3", tiny=False)
        own = sum(p.numel() for p in classifier.network.parameters())
        head = heads[model] // 1000 * 5
        assert own - head + heads[model] == pytest.approx(count, rel=0.01)


_LARGE = ("convnext", "deit_base", "effnetv2", *TIMM_MODELS)


@pytest.mark.parametrize(
    "network",
    [pytest.param(one, marks=[pytest.mark.slow] if one.name in _LARGE else [], id=one.name) for one in networks()],
)
def test_the_catalogue_is_right(configure, network):
    cfg = configure(f"model={network.name}")
    classifier = build_classifier(cfg.model, cfg.frontend, n_samples=1000, seed=0)
    assert sum(parameter.numel() for parameter in classifier.network.parameters()) == network.parameters
    assert classifier.frontend.network_input.shape == network.input


def test_the_catalogue_is_whole():
    """Else run: python tools/model_catalogue.py."""
    known = networks()
    assert {one.name for one in known} == {*MODELS, *TIMM_MODELS}
    assert [one.parameters for one in known] == sorted(one.parameters for one in known)


class TestConvNets:
    @pytest.mark.parametrize("model", ["resnet18d", "resnet10t", "resnet1d"])
    def test_no_batch_norm_starts_at_zero(self, make, model):
        norms = [module for module in make(model).modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms
        assert all((norm.weight == 1).all() for norm in norms)

    @pytest.mark.parametrize("model", ["resnet18d", "resnet10t", "repvgg_a0"])
    def test_an_image_of_a_few_pixels_will_do(self, make, model):
        assert make(model, "frontend.size=8").eval()(_batch().signals).shape == (4, 5)

    def test_width_scales_every_layer(self, make):
        for variant in ("resnet10t", "resnet18d", "resnet18", "repvgg_a0"):
            whole, half = (
                sum(p.numel() for p in make("resnet18d", f"model.variant={variant}", f"model.width={w}").parameters())
                for w in (0.5, 0.25)
            )
            assert half == pytest.approx(whole / 4, rel=0.1)

    def test_repvgg_deploys_as_plain_convolutions_of_equal_outputs(self, make):
        network = make("repvgg_a0").network.train()
        images = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for _ in range(20):  # statistics that are not the initial ones
                network(images)
            merged, network = reparameterize(network).eval(), network.eval()
            assert torch.allclose(merged(images), network(images), rtol=1e-4, atol=1e-6)
            assert merged(images).std() > 1e-4
        kinds = {type(module) for module in merged.modules() if not list(module.children())}
        assert torch.nn.Conv2d in kinds
        assert torch.nn.BatchNorm2d not in kinds
        assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())  # still trainable
        stray = [name for module in merged.modules() for name, value in vars(module).items() if torch.is_tensor(value)]
        assert not stray

    @pytest.mark.parametrize("model", ["resnet18d", "resnet1d", "deit"])
    def test_a_network_without_branches_stays(self, make, model):
        network = make(model).network
        assert reparameterize(network) is network

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            (["model.kernel_size=4"], "the kernel size 4 is even"),
            (["model.blocks=[1,1]"], "one number per stage"),
            (["model.pretrained=true"], "no published weights"),
        ],
    )
    def test_signal_networks_that_cannot_be_are_refused(self, make, settings, said):
        with pytest.raises(ConfigError, match=said):
            make("resnet1d", *settings)

    def test_a_signal_network_takes_its_own_weights(self, make, tmp_path):
        source = make("resnet1d")
        source.network.stem[0].weight.data.fill_(0.01)
        torch.save(source.network.state_dict(), tmp_path / "w.pth")
        loaded = make("resnet1d", f"model.weights={tmp_path}/w.pth")
        assert torch.equal(loaded.eval()(_batch().signals), source.eval()(_batch().signals))


class TestWeights:
    @pytest.mark.parametrize(
        ("model", "channels", "suffix"),
        [
            ("vit", 1, "pth"),
            *((model, channels, "safetensors") for model in (*PUBLISHED, "vit") for channels in (1, 3)),
        ],
    )
    def test_local_file_is_loaded_into_another_head_and_stem(self, make, model, channels, suffix, tmp_path):
        source = make(model, "frontend.channels=3").network
        source.reset_classifier(1000) if hasattr(source, "reset_classifier") else None
        if model == "effnetv2":
            source.classifier[1] = torch.nn.Linear(source.classifier[1].in_features, 1000)
        file = tmp_path / f"weights.{suffix}"
        state = {
            name: torch.full_like(value, 0.01) if "0.weight" in name else value
            for name, value in source.state_dict().items()
        }
        if suffix == "pth":
            torch.save(state, file)
        else:
            save_file({name: value.contiguous() for name, value in state.items()}, file)
        network = make(model, f"model.weights={file}", f"frontend.channels={channels}").network
        heads = ("head", "classifier", "fc")
        loaded = network.state_dict()
        same = [
            name for name, value in state.items() if not name.startswith(heads) and loaded[name].shape == value.shape
        ]
        assert len(same) > 10
        assert all(torch.equal(loaded[name], state[name]) for name in same)
        assert network(torch.randn(2, channels, 64, 64)).shape == (2, 5)

    @pytest.mark.parametrize("model", [*PUBLISHED, "vit"])
    def test_one_channel_sees_what_three_equal_ones_see(self, make, model, tmp_path):
        torch.save(make(model, "frontend.channels=3").network.state_dict(), tmp_path / "w.pth")
        weights = f"model.weights={tmp_path}/w.pth"
        one, three = (make(model, weights, f"frontend.channels={channels}").eval() for channels in (1, 3))
        assert torch.allclose(one(_batch().signals), three(_batch().signals), atol=1e-5)

    @pytest.mark.parametrize(
        ("model", "content"),
        [
            *(("vit", content) for content in (b"", b"no weights")),
            *((model, b"PK\x03\x04 half a zip") for model in ("vit", "resnet1d", *PUBLISHED)),
        ],
    )
    def test_damaged_or_missing_file_is_named(self, make, model, content, tmp_path):
        file = tmp_path / "weights.pth"
        with pytest.raises(CheckpointError, match=r"weights\.pth is not there"):
            make(model, f"model.weights={file}")
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"weights\.pth cannot be loaded"):
            make(model, f"model.weights={file}")

    @pytest.mark.parametrize("model", ["vit", "resnet1d", *PUBLISHED])
    def test_weights_of_another_network_are_refused(self, make, model, tmp_path):
        file = tmp_path / "weights.pth"
        torch.save({"features.0.0.weight": torch.zeros(24, 3, 3, 3), "other.weight": torch.zeros(3)}, file)
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            make(model, f"model.weights={file}")

    def test_file_that_holds_code_is_refused_and_not_run(self, make, tmp_path):
        trap = tmp_path / "ran"
        file = tmp_path / "weights.pth"
        torch.save({"x": _Trap(str(trap))}, file)
        for model in ("vit", "resnet1d", *PUBLISHED):
            with pytest.raises(CheckpointError):
                make(model, f"model.weights={file}")
        assert not trap.exists()

    def test_nobody_published_this_vit(self, make):
        with pytest.raises(ConfigError, match="no published weights"):
            make("vit", "model.pretrained=true")

    @pytest.mark.parametrize("model", PUBLISHED)
    def test_unreachable_weights_say_what_to_do(self, make, model, monkeypatch, tmp_path):
        asked = []
        monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: asked.append(args) or _unreachable())
        monkeypatch.setattr("ecg_lightning.models.weights.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("torch.hub.download_url_to_file", _unreachable)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(CheckpointError, match=r"model\.weights=FILE"):
            make(model, "model.pretrained=true", tiny=False)
        assert len(asked) <= 2  # left to itself, the hub's client retries every file for a minute


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def _unreachable(*args, **kwargs):
    raise OSError("Name or service not known")


def _opinionated(classifier):
    """A network whose logits differ from record to record, as an untrained one's hardly do."""
    generator = torch.Generator().manual_seed(3)
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    head = [module for module in classifier.network.modules() if isinstance(module, torch.nn.Linear)][-1]
    head.weight.data.normal_(0, 3, generator=generator)
    return classifier.eval()


class TestDistillation:
    def test_without_a_teacher_both_heads_learn_the_labels(self, make):
        student = make("deit").train()
        loss, _ = student.loss_and_logits(_batch())
        assert student.distillation is None
        loss.backward()
        assert student.network.head_dist.weight.grad.abs().sum() > 0
        assert torch.allclose(student.eval()(_batch().signals), student.loss_and_logits(_batch())[1], atol=1e-6)

    @pytest.mark.parametrize("loss", ["bce", "argmax_cross_entropy"])
    def test_total_is_alpha_hard_plus_rest_soft(self, make, loss):
        teacher = _opinionated(make("effnetv2", "frontend.size=32", f"model.loss={loss}"))
        settings = ["model.teacher=FILE", "model.alpha=0.3", "model.temperature=2"]
        student = make("deit", *settings, teacher=teacher).eval()
        batch = _batch()
        class_logits, distilled = student._both_heads(student.frontend(batch.signals))
        taught = teacher(batch.signals) / 2
        soft_targets = taught.sigmoid() if loss == "bce" else taught.softmax(dim=1)
        assert soft_targets.std(dim=0).max() > 0.05  # the teacher tells the records apart
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        expected = 0.3 * bce(class_logits, batch.targets) + 0.7 * 4 * bce(distilled / 2, soft_targets)
        total, logits = student.loss_and_logits(batch)
        assert torch.allclose(total, expected, atol=1e-5)
        assert torch.allclose(logits, (class_logits + distilled) / 2)

    def test_the_teacher_sees_the_augmented_signal(self, make, monkeypatch):
        teacher = _opinionated(make("convnext"))
        student = make("deit", "frontend.augmentation.amplitude=0.5", teacher=teacher).train()
        seen = {}
        represent = student.frontend.represent
        monkeypatch.setattr(student.frontend, "represent", lambda mv: represent(seen.setdefault("student", mv)))
        monkeypatch.setattr(teacher, "forward", lambda mv: seen.setdefault("teacher", mv)[:, :5, 0])
        student.loss_and_logits(_batch())
        assert torch.equal(seen["student"], seen["teacher"])
        assert not torch.allclose(seen["teacher"], _batch().signals / 1000)

    def test_teacher_is_no_part_of_the_student(self, make):
        teacher = make("convnext")
        student = make("deit", teacher=teacher)
        plain = make("deit")
        assert student.state_dict().keys() == plain.state_dict().keys()
        loss, _ = student.train().loss_and_logits(_batch())
        loss.backward()
        assert all(parameter.grad is None for parameter in teacher.parameters())
        assert not teacher.training


@pytest.mark.parametrize(
    ("model", "stem", "features", "expected"),
    [
        # Three blocks of 5 and 3 samples; those that halve the length have a shortcut of their own.
        (
            "resnet1d_wang",
            12 * 128 * 7 + 256,
            256,
            3 * (128 * 128 * (5 + 3) + 2 * 256) + 2 * (128 * 128 + 256),
        ),
        # Bottlenecks of 64 within 256 channels, five samples; the first block alone widens, by a shortcut of its own.
        (
            "xresnet1d101",
            5 * (12 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32 + 64),
            512,
            33 * (64 * 64 * 5 + 64 * 256 + 2 * (64 + 64 + 256)) + 64 * 64 + 32 * 256 * 64 + (64 * 256 + 2 * 256),
        ),
        # Six blocks of 39, 19 and 9 samples behind a bottleneck, and one behind a maximum; two shortcuts.
        (
            "inception1d",
            2 * 12 * 32 + 12 * 128 + 256,
            256,
            6 * (32 * 32 * (39 + 19 + 9) + 256) + 5 * 2 * 128 * 32 + 128 * 128 + 256,
        ),
        # Two layers of 256, with two biases for each of four gates.
        ("lstm", 4 * 256 * (12 + 256 + 2), 768, 4 * 256 * (256 + 256 + 2)),
    ],
)
def test_networks_of_the_benchmark_have_its_parameters(make, model, stem, features, expected):
    """Counted by hand from its code; their head is 128 wide, with BatchNorm before each of its two layers."""
    head = 2 * features + (features + 1) * 128 + 2 * 128 + (128 + 1) * 5
    network = make(model, tiny=False).network
    assert sum(parameter.numel() for parameter in network.parameters()) == stem + expected + head


@pytest.mark.parametrize(("ends", "backward_sees_all"), [("each", True), ("last", False)])
def test_where_an_lstm_that_reads_backwards_ends(ends, backward_sees_all):
    """The benchmark's code takes it at the last sample, of which it has seen that one alone."""
    torch.manual_seed(0)
    network = LSTMNetwork(LSTMConfig(hidden=8, depth=1, bidirectional=True, dropout=0.0, ends=ends), 12, 5).eval()
    seen = []
    network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    signals = torch.randn(1, 12, 50)
    network(signals)
    network(torch.cat([torch.randn(1, 12, 49), signals[..., 49:]], dim=2))
    backward = [one[:, -8:] for one in seen]  # mean and maximum of both directions come first
    assert torch.equal(*backward) != backward_sees_all
    assert seen[0].shape == (1, 3 * 16)


@pytest.mark.parametrize(("model", "prefix", "n_patches"), [("vit", 0, 64), ("deit", 2, 16), ("vit1d", 0, 50)])
def test_dropped_patches_leave_every_prefix_token(make, model, prefix, n_patches):
    classifier = make(model, "model.patch_drop=0.5").train()
    network = classifier.network.transformer if model == "vit1d" else classifier.network
    tokens = torch.arange(n_patches + prefix).view(1, -1, 1).expand(3, -1, -1)
    kept = network.patch_drop(tokens)[:, :, 0]
    assert kept.shape == (3, prefix + n_patches // 2)
    assert (kept[:, :prefix] == torch.arange(prefix)).all()
    assert not torch.equal(kept[0], kept[1])
    assert network.patch_drop.eval()(tokens).shape == tokens.shape
    classifier.loss_and_logits(_batch())[0].backward()


def test_a_stem_halves_the_time_before_the_patches(make):
    network = make("vit1d", "model.stem=2").network
    assert network.transformer.patch_embed.proj.weight.shape == (32, 16, 1, 5)
    assert network.transformer.pos_embed.shape == (1, 50, 32)
    assert network.eval()(torch.zeros(2, 12, 1000)).shape == (2, 5)
    for other in ("model.patch_samples=18", "model.patch_leads=1", "model.dim=2"):
        with pytest.raises(ConfigError, match=r"model\.stem=2 mixes all leads"):
            make("vit1d", "model.stem=2", other)
