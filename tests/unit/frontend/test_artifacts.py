import dataclasses
import io

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter
from tiny import ROOT

from ecg_lightning.components.setting import from_plain
from ecg_lightning.frontend.artifacts import draws
from ecg_lightning.frontend.artifacts.artifacts import LAYERS, Artifacts, amount
from ecg_lightning.frontend.artifacts.draws import normal, record_keys, uniform
from ecg_lightning.frontend.artifacts.geometry import Geometry, Resampling
from ecg_lightning.frontend.artifacts.layer import Drawn, Scene
from ecg_lightning.frontend.artifacts.levels import LEVELS, STRENGTHS
from ecg_lightning.frontend.schema import ArtifactConfig

PRESETS = sorted(path.stem for path in (ROOT / "conf/frontend/artifacts").glob("*.yaml"))
SIZE, PX_PER_MM = (54, 70), 0.25
"""A whole letter of 280 mm × 216 mm in few pixels."""


def pages(n_records, n_channels=1, size=SIZE, dtype=torch.float32):
    """White pages with a pink grid and a dark curve, a little different for each record."""
    height, width = size
    images = torch.ones(n_records, 3, height, width, dtype=dtype)
    images[:, 1:, ::5] = images[:, 1:, :, ::5] = 0.8
    columns = torch.arange(width)
    for record in range(n_records):
        for row in (0.3, 0.7):
            rows = (height * (row + 0.12 * torch.sin(columns / (2.0 + record)))).long()
            images[record, :, rows, columns] = 0.1
    return images[:, :n_channels].contiguous() if n_channels == 3 else images.mean(1, keepdim=True)


def only(name, strength=3.0, seed=0, px_per_mm=PX_PER_MM):
    return Artifacts(ArtifactConfig(strength=strength, seed=seed, **{name: 1.0}), px_per_mm)


def everything(strength=3.0, seed=0):
    return Artifacts(ArtifactConfig(strength=strength, seed=seed, **dict.fromkeys(LAYERS, 1.0)), PX_PER_MM)


def preset(name, strength=3.0):
    shares = yaml.safe_load((ROOT / f"conf/frontend/artifacts/{name}.yaml").read_text("utf-8"))
    return from_plain(ArtifactConfig, {**shares, "strength": strength}, "frontend.artifacts")


def drawn_for(name, strength, n_records, seed=0):
    keys = record_keys(torch.arange(n_records), seed)
    numbers = uniform(keys, 5, LAYERS[name].n_draws)
    return Drawn.of(amount(name, torch.full((n_records,), float(strength))), numbers)


def test_settings_levels_and_classes_name_the_same_disturbances_in_the_same_order():
    shares = [field.name for field in dataclasses.fields(ArtifactConfig) if field.name not in ("strength", "seed")]
    assert shares == [*LEVELS] == [*LAYERS]


def test_amounts_are_those_of_the_table_and_interpolated_between():
    for name, level in LEVELS.items():
        assert amount(name, torch.tensor([0.0, *STRENGTHS])).tolist() == pytest.approx([level.at_zero, *level.amounts])
    assert amount("rotation", torch.tensor([2.5])).tolist() == pytest.approx([3.0])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_layer_keeps_shape_and_range_and_changes_the_picture(name, n_channels):
    images = pages(3, n_channels)
    disturbed = only(name)(images, torch.arange(3))
    assert disturbed.shape == images.shape
    assert disturbed.dtype == images.dtype
    assert torch.isfinite(disturbed).all()
    assert disturbed.min() >= 0
    assert disturbed.max() <= 1
    assert ((disturbed - images).abs().amax(dim=(1, 2, 3)) > 0.01).all()


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_works_on_an_image_of_a_few_pixels(name):
    images = torch.rand(2, 3, 7, 9)
    assert torch.isfinite(only(name, 5.0, px_per_mm=0.03)(images, torch.arange(2))).all()


@pytest.mark.parametrize("name", LAYERS)
def test_the_change_grows_with_the_strength(name):
    # The blurs are fractions of a pixel on these pages, so they are tested at a higher resolution.
    images, px_per_mm = pages(8, 3), 2.0 if name in ("defocus", "motion") else PX_PER_MM
    changes = [
        (only(name, strength, px_per_mm=px_per_mm)(images, torch.arange(8)) - images).abs().mean().item()
        for strength in STRENGTHS
    ]
    assert changes == sorted(changes)
    assert changes[-1] > 1.5 * changes[0] > 0


def test_strength_0_is_the_identity_bit_for_bit():
    images = pages(2)
    assert torch.equal(everything(strength=0.0)(images, torch.arange(2)), images)
    assert torch.equal(everything(strength=0.0).train()(images), images)
    assert torch.equal(Artifacts(ArtifactConfig(strength=5.0), PX_PER_MM)(images, torch.arange(2)), images)


def test_evaluation_and_an_exported_file_see_no_disturbance():
    images = pages(2)
    disturbing = everything().eval()
    assert torch.equal(disturbing(images), images)
    exported = torch.export.export(torch.nn.Sequential(disturbing, torch.nn.Flatten()), (images,)).module()
    assert torch.equal(exported(images), images.flatten(1))


@pytest.mark.parametrize("name", LAYERS)
def test_a_picture_depends_on_seed_and_record_and_not_on_the_batch(name):
    images, record_ids = pages(9, 3), torch.tensor([3, 2**40, 17, 5, 11, 2, 9000, 21799, 1])
    together = only(name)(images, record_ids)
    order = torch.tensor([8, 1, 4])
    assert torch.allclose(only(name)(images[order], record_ids[order]), together[order], atol=1e-5)
    assert torch.allclose(only(name)(images[2:3], record_ids[2:3]), together[2:3], atol=1e-5)
    if name not in ("defocus", "resample", "jpeg"):  # these draw nothing
        same_image = images[:1].expand(2, -1, -1, -1)
        first, second = only(name)(same_image, torch.tensor([1, 2]))
        assert not torch.allclose(first, second, atol=1e-3)
        assert not torch.allclose(only(name, seed=1)(same_image[:1], torch.tensor([1]))[0], first, atol=1e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_reach_the_pixels(name):
    images = pages(2).mul(0.8).add(0.1).requires_grad_()  # away from 0 and 1, where clipping has no gradient
    (gradient,) = torch.autograd.grad(only(name, 1.0)(images, torch.arange(2)).sum(), images)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.85


@pytest.mark.parametrize("name", ["stain", "crease", "warp", "perspective", "light", "defocus", "motion", "resample"])
def test_gradients_are_those_of_finite_differences(name):
    layer = only(name, px_per_mm=0.05)
    images = (0.3 + 0.4 * torch.rand(1, 1, 6, 7, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda images: layer(images, torch.tensor([4])), images)


def test_training_draws_anew_from_the_generator_with_strengths_up_to_the_setting():
    images = torch.full((64, 1, 24, 24), 0.5)
    noisy = only("noise", 3.0).train()
    torch.manual_seed(1)
    first, second = noisy(images), noisy(images)
    torch.manual_seed(1)
    assert torch.equal(noisy(images), first)
    assert not torch.equal(first, second)
    deviations = first.std(dim=(1, 2, 3))
    largest = LEVELS["noise"].amounts[2]
    assert deviations.max() < 1.1 * largest
    assert deviations.min() < 0.2 * largest
    assert deviations.median() == pytest.approx(amount("noise", torch.tensor(1.5)).item(), rel=0.5)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_disturbs_a_page_unless_its_strength_is_0(name):
    images = pages(2)
    assert torch.equal(Artifacts(preset(name, 0.0), PX_PER_MM)(images, torch.arange(2)), images)
    changed = (Artifacts(preset(name), PX_PER_MM)(images, torch.arange(2)) - images).abs().mean()
    assert changed == 0 if name == "none" else changed > 0.02


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("strength", [1, 5])
def test_jpeg_equals_pillows(strength, n_channels):
    images = torch.nn.functional.avg_pool2d(pages(1, n_channels, (203, 310)), 3, 1, 1)
    images = (images * 255).round() / 255
    quality = int(LEVELS["jpeg"].amounts[strength - 1])
    pixels = (images[0].permute(1, 2, 0) * 255).round().byte().numpy().squeeze()
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=quality)
    expected = np.atleast_3d(np.asarray(Image.open(stored), dtype=np.float32) / 255)
    ours = only("jpeg", strength)(images, torch.tensor([1]))[0].permute(1, 2, 0).numpy()
    changed = np.abs(expected - pixels.reshape(expected.shape) / 255).mean()
    # Pillow rounds to 8 bits twice, and its chroma to whole numbers.
    assert np.abs(ours - expected).mean() < min(1.2 / 255, 0.25 * changed)


def test_defocus_equals_scipys_gaussian_filter():
    images = pages(1, 1, (60, 80))
    px_per_mm = 4.0
    sigma = LEVELS["defocus"].amounts[3] * px_per_mm
    blurred = only("defocus", 4, px_per_mm=px_per_mm)(images, torch.tensor([1]))[0, 0].numpy()
    assert np.abs(blurred - gaussian_filter(images[0, 0].numpy(), sigma, mode="nearest", truncate=2.5)).max() < 0.01


def test_motion_moves_nothing_and_spreads_along_its_line():
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    px_per_mm = 4.0
    spread = only("motion", 5, px_per_mm=px_per_mm)(point, torch.tensor([3]))[0, 0].double()
    axis = torch.arange(31) - 15.0
    mass = spread.sum()
    centre_x, centre_y = (spread * axis).sum() / mass, (spread.T * axis).sum() / mass
    variance = ((spread * axis**2).sum() + (spread.T * axis**2).sum()) / mass
    length_px = LEVELS["motion"].amounts[4] * px_per_mm
    assert mass == pytest.approx(1, abs=1e-5)
    assert abs(centre_x) + abs(centre_y) < 1e-4
    assert variance == pytest.approx(length_px**2 / 12, rel=0.1)


def test_geometry_is_resampled_once_and_its_nodes_are_dense_enough():
    names = [name for name, layer in LAYERS.items() if issubclass(layer, Geometry)]
    chain = everything(strength=5.0)
    assert sum(isinstance(step, Resampling) for step in chain.steps) == 1
    layers = [LAYERS[name](1.0, 2.0) for name in names]
    drawn = [drawn_for(name, 5, 6) for name in names]
    scene = Scene((432, 560), 2.0, torch.zeros(6, 1, 1, 1))

    def places(x, y):
        x, y = x.expand(6, y.shape[1], x.shape[2]), y.expand(6, y.shape[1], x.shape[2])
        for layer, one in zip(reversed(layers), reversed(drawn), strict=True):
            x, y = layer(x, y, scene, one)
        return torch.stack([x, y], 1)

    assert (scene.resized(places(*scene.nodes())) - places(*scene.pixels())).norm(dim=1).max() < 0.05


def test_a_homography_moves_the_corners_by_the_amount_at_most_and_keeps_lines_straight():
    scene = Scene((216, 280), 1.0, torch.zeros(20, 1, 1, 1))
    x, y = LAYERS["perspective"](1.0, 1.0)(*scene.pixels(), scene, drawn_for("perspective", 5, 20))
    middle = (slice(None), 108)
    ends = torch.stack([x[middle], y[middle]], 2)
    along, across = ends[:, -1] - ends[:, 0], ends - ends[:, :1]
    away = (across[..., 0] * along[:, None, 1] - across[..., 1] * along[:, None, 0]) / along.norm(dim=1)[:, None]
    assert away.abs().max() < 1e-2
    corner = torch.stack([x[:, 0, 0] + 139.5, y[:, 0, 0] + 107.5], 1)
    assert corner.abs().max() < 1.6 * LEVELS["perspective"].amounts[4]
    assert corner.abs().max() > 0.3 * LEVELS["perspective"].amounts[4]


def test_random_numbers_never_reach_0_or_1(monkeypatch):
    for word, expected in ((0, 2.0**-24), (2**32 - 1, 1 - 2.0**-24)):
        monkeypatch.setattr(draws, "hashed", lambda words, word=word: torch.full_like(words, word))
        assert uniform(torch.arange(2), 1, 3).double().unique().tolist() == [expected]


def test_random_numbers_are_uniform_and_independent_of_the_neighbouring_record():
    numbers = uniform(record_keys(torch.arange(4000), 7), 99, 6)
    assert numbers.min() > 0
    assert numbers.max() < 1
    histogram = torch.histc(numbers, 10, 0, 1) / numbers.numel()
    assert (histogram - 0.1).abs().max() < 0.01
    columns = torch.corrcoef(torch.cat([numbers[:-1], numbers[1:]], 1).T)
    assert (columns - torch.eye(12)).abs().max() < 0.07
    noise = normal(20_000, 1, torch.device("cpu"))
    assert noise.mean().abs() < 0.03
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert torch.equal(normal(100, 1, torch.device("cpu")), noise[:100])


def test_warm_light_is_redder_and_cold_light_bluer():
    images = torch.ones(32, 3, 4, 4)
    red, _, blue = only("colour_cast", 5)(images, torch.arange(32)).mean(dim=(2, 3)).unbind(1)
    assert {True, False} == set((red > blue).tolist())
    assert ((red - blue).abs() > 0.2).all()


def test_a_double_image_stays_double():
    images = pages(1, 3, dtype=torch.float64)
    assert everything()(images, torch.tensor([1])).dtype == torch.float64
