import pytest
import torch
from torch import nn
from torchvision.transforms.v2.functional import resize

from ecg_lightning.checkpoints.building import build_frontend
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.augmentation import DOWER_C3, Augmentation
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.frontend.matrix import MatrixFrontend, MatrixImage
from ecg_lightning.frontend.schema import AugmentationConfig, FrontendConfig, MatrixConfig
from ecg_lightning.frontend.signal import SignalFrontend
from ecg_lightning.frontend.strips import StripsImage

STRONG = {"amplitude": 0.3, "noise_mv": 0.1, "wander_mv": 0.3, "lead_dropout": 0.3, "time_shift": 0.2}


@pytest.mark.parametrize("size", [(182, 256), (184, 256), (224, 224), (32, 500), (8, 2000)])
@pytest.mark.parametrize("rows", ["leads", "time"])
def test_matrix_image_equals_torchvisions_antialiased_resize(size, rows):
    signals_BCT = torch.randn(3, 12, 1000, dtype=torch.float64)
    matrix = signals_BCT if rows == "leads" else signals_BCT.mT
    expected = resize(matrix[:, None], list(size), antialias=True)
    frontend = MatrixFrontend(MatrixConfig(size=list(size), rows=rows), 1000)
    image = frontend.representation(signals_BCT.float())
    assert image.shape == (3, 1, *size)
    assert (image - expected).abs().max() < 1e-5


def test_three_channels_are_equal():
    image = MatrixImage(12, 1000, (64, 64), channels=3)(torch.randn(2, 12, 1000))
    assert image.shape == (2, 3, 64, 64)
    assert torch.equal(image[:, 0], image[:, 2])


def test_seed_normalisation_works_on_millivolts():
    frontend = SignalFrontend(FrontendConfig(normalization="fixed", mean=0.5, std=0.5), 1000)
    signals = torch.tensor([[[1500, 500, -500]]], dtype=torch.int16)
    assert torch.allclose(frontend(signals), torch.tensor([[[2.0, 0.0, -2.0]]]))


def test_integers_and_millivolts_give_the_same_image():
    frontend = MatrixFrontend(MatrixConfig(size=[32, 64]), 1000).eval()
    signals = torch.randint(-2000, 2000, (2, 12, 1000), dtype=torch.int16)
    assert torch.allclose(frontend(signals), frontend(signals.float() / 1000), atol=1e-6)


def test_frontend_is_float32_under_autocast():
    frontend = MatrixFrontend(MatrixConfig(size=[32, 64]), 1000).eval()
    signals = torch.randn(2, 12, 1000)
    with torch.autocast("cpu", torch.bfloat16):
        image = frontend(signals)
    assert image.dtype == torch.float32
    assert torch.equal(image, frontend(signals))


@pytest.mark.parametrize(
    ("asked", "patch", "given"),
    [([182, 256], 8, (184, 256)), (224, 16, (224, 224)), ([182, 256], 1, (182, 256)), (8, 16, (16, 16))],
)
def test_size_moves_to_the_nearest_multiple_and_says_so(asked, patch, given, caplog):
    node = {
        "kind": "matrix",
        "size": asked,
        "augmentation": dict.fromkeys(STRONG, 0.0),
    }
    frontend = build_frontend(node, n_samples=1000, patch_size=patch)
    assert isinstance(frontend, MatrixFrontend)
    assert frontend.network_input.image == (1, *given)
    sides = (asked, asked) if isinstance(asked, int) else tuple(asked)
    assert (f"resized to {given[0]} × {given[1]}" in caplog.text) == (sides != given)


def test_augmentation_changes_only_training_and_never_all_leads():
    augmentation = Augmentation(AugmentationConfig(**STRONG))
    signals = torch.randn(64, 12, 1000)
    augmented = augmentation.train()(signals)
    assert augmented.shape == signals.shape
    assert torch.isfinite(augmented).all()
    assert not torch.allclose(augmented, signals)
    assert torch.equal(augmentation.eval()(signals), signals)
    dropped = Augmentation(AugmentationConfig(lead_dropout=1.0)).train()(signals)
    assert (dropped.abs().sum(dim=2) > 0).sum(dim=1).eq(1).all()


def test_each_augmentation_does_what_its_name_says():
    signals = torch.ones(16, 12, 1000)
    louder = Augmentation(AugmentationConfig(amplitude=0.2)).train()(signals)
    assert torch.allclose(louder, louder[..., :1].expand_as(louder))
    noisy = Augmentation(AugmentationConfig(noise_mv=0.1)).train()(signals) - 1
    assert noisy.mean().abs() < 0.01
    assert 0 < noisy.std() < 0.11
    wandering = Augmentation(AugmentationConfig(wander_mv=0.2)).train()(signals) - 1
    assert wandering.abs().max() <= 0.2
    assert (wandering.diff(dim=2).abs().max() < 0.2 * 2 * torch.pi * 0.7 * 10 / 999 * 1.01).item()
    ramp = torch.arange(1.0, 1001.0).expand(16, 12, 1000)
    shifted = Augmentation(AugmentationConfig(time_shift=0.1)).train()(ramp)
    steps = shifted.diff(dim=2)
    inside = (shifted[..., 1:] > 0) & (shifted[..., :-1] > 0)
    assert steps[inside].eq(1).all()
    assert (shifted == 0).any()
    assert (shifted == 0).sum(dim=2).max() <= 100


def test_the_heart_vector_turns_and_what_is_no_vector_stays():
    random = torch.Generator().manual_seed(0)
    to_leads = torch.from_numpy(DOWER_C3).float()
    to_vector = torch.linalg.pinv(to_leads)
    vectors = torch.randn(16, 3, 1000, generator=random)
    noise = torch.randn(16, 12, 1000, generator=random)
    beside = noise - to_leads @ to_vector @ noise  # no vector draws it
    turned = Augmentation(AugmentationConfig(axis_deg=20)).train()(to_leads @ vectors + beside)
    assert torch.allclose(turned - to_leads @ to_vector @ turned, beside, atol=1e-4)
    found = to_vector @ turned
    assert torch.allclose(found.norm(dim=1), vectors.norm(dim=1), atol=1e-4)
    cosine = torch.cosine_similarity(found, vectors, dim=1).mean(dim=1)
    assert 0.7 < cosine.mean() < 0.99
    assert cosine.std() > 0.005  # each record by an angle of its own
    lead_i, lead_ii = DOWER_C3[0], DOWER_C3[1]
    limb = {"III": lead_ii - lead_i, "AVR": -(lead_i + lead_ii) / 2, "AVL": lead_i - lead_ii / 2}
    for lead, expected in {**limb, "AVF": lead_ii - lead_i / 2, "V2": [0.044, 0.164, -1.387]}.items():
        assert DOWER_C3[LEADS.index(lead)] == pytest.approx(expected)


def test_tempo_stretches_time_about_the_middle():
    ramp = torch.arange(1.0, 1001.0).expand(64, 12, 1000)
    stretched = Augmentation(AugmentationConfig(tempo=0.1)).train()(ramp)
    tempo = stretched.diff(dim=2)[:, 0, 500]
    assert 0.03 < tempo.log2().std() < 0.2
    middle = 500.5
    expected = (torch.arange(1.0, 1001.0) - middle) * tempo[:, None] + middle
    inside = (expected >= 1.5) & (expected <= 999.5)  # the tempo is read off with rounding
    assert torch.allclose(stretched[:, 3][inside], expected[inside], atol=0.1)
    assert (stretched[:, 3][(expected < 0.5) | (expected > 1000.5)] == 0).all()


def test_global_and_lead_statistics_take_their_own_shapes():
    per_lead = torch.arange(12.0)[:, None], torch.ones(12, 1) * 2
    overall = torch.tensor([[3.0]]), torch.tensor([[4.0]])
    for normalization, expected in (("lead", per_lead), ("global", overall)):
        frontend = Frontend(FrontendConfig(normalization=normalization), nn.Identity(), InputSpec((12, 1000)))
        frontend.fit_normalization(lambda lead: per_lead if lead else overall)
        assert torch.equal(frontend.mean, expected[0])
        assert torch.equal(frontend.std, expected[1])
    fixed = Frontend(FrontendConfig(normalization="fixed", mean=0.5, std=0.25), nn.Identity(), InputSpec((12, 1000)))
    fixed.fit_normalization(lambda lead: per_lead)
    assert fixed.mean.item() == 0.5


@pytest.mark.parametrize(("height", "rows_per_lead"), [(96, 8), (192, 16), (224, 18), (12, 1)])
def test_strips_give_each_lead_a_band_of_its_own(height, rows_per_lead):
    """Down the rows, then along the columns, a band is its lead."""
    random = torch.Generator().manual_seed(0)
    signals = torch.zeros(2, 12, 1000)
    signals[:, 4] = torch.randn(2, 1000, generator=random)
    width = 1000 // 8  # eight rows times 125 columns are a lead's samples
    image = StripsImage(12, 1000, (height, width))(signals)
    assert image.shape == (2, 1, height, width)
    bands = image[:, 0, : 12 * rows_per_lead].unflatten(1, (12, rows_per_lead))
    assert bands[:, 4].abs().sum() > 0
    assert image[:, 0].abs().sum() == bands[:, 4].abs().sum()
    if rows_per_lead == 8:
        assert torch.allclose(bands[:, 4].mT.flatten(1), signals[:, 4], atol=1e-6)


def test_strips_keep_what_a_row_of_pixels_loses():
    """A 30 Hz wave, which 224 columns of a 10-s record cannot hold."""
    time_s = torch.arange(1000) / 100
    wave = torch.sin(2 * torch.pi * 30 * time_s).expand(1, 12, -1)
    drawn, strips = MatrixImage(12, 1000, (12, 224))(wave), StripsImage(12, 1000, (192, 224))(wave)
    assert drawn.std() < 0.1
    assert strips.std() > 0.5


def test_strips_need_a_row_for_each_lead():
    with pytest.raises(ValueError, match="12 leads need at least 12 rows, but the height is 8"):
        StripsImage(12, 1000, (8, 64))


@pytest.mark.parametrize(("patch", "size"), [(1, (96, 256)), (8, (96, 256)), (16, (192, 512))])
def test_strips_are_as_high_as_patches(configure, patch, size):
    cfg = configure("model=vit", "frontend=strips", f"model.patch_size={patch}")
    assert build_frontend(cfg.frontend, n_samples=1000, patch_size=patch).network_input.image == (1, *size)


def test_patches_that_would_mix_leads_are_refused(configure):
    for size in ("[96,256]", "[224,256]"):  # 8 rows a lead, and 18
        with pytest.raises(ConfigError, match=r"would mix leads. Use frontend.size=\[192,256\]"):
            configure("model=deit", "frontend=strips", f"frontend.size={size}")


def test_a_network_that_needs_another_input_says_so():
    signal, image = InputSpec((12, 1000)), InputSpec((1, 64, 512))
    assert (signal.signal, image.image) == ((12, 1000), (1, 64, 512))
    with pytest.raises(ConfigError, match=r"needs an image, but the front end makes a signal of 12 × 1000\. Use"):
        _ = signal.image
    with pytest.raises(ConfigError, match=r"needs a signal, but the front end makes an image of 1 × 64 × 512\. Use"):
        _ = image.signal
