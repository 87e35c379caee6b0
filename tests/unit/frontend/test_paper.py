"""The paper renderer: geometry, the place of every lead, gradients, value range, and what its networks export."""

import numpy as np
import pytest
import torch
from deployed import assert_missing_samples_give_nan, deployed, outputs, signals
from recordings import heartbeats
from tiny import TINY
from torch import nn

from ecg_lightning.checkpoints.building import build_classifier, build_frontend
from ecg_lightning.data.wfdb import LEADS, RecordReader
from ecg_lightning.deployment.export import DeployedNetwork, export_onnx, export_openvino
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.paper import PaperImage
from ecg_lightning.learning.losses import BinaryCrossEntropy
from ecg_lightning.paper.page import Page
from ecg_lightning.paper.schema import PageConfig
from ecg_lightning.reports.paper_figure import paper_figure

GRIDS = {
    "3x4": ["I AVR V1 V4", "II AVL V2 V5", "III AVF V3 V6"],
    "6x2": ["I V1", "II V2", "III V3", "AVR V4", "AVL V5", "AVF V6"],
    "12x1": [*LEADS],
}
"""The leads of each row, as published."""
CABRERA = dict(zip(LEADS[:6], ("AVL", "I", "-AVR", "II", "AVF", "III"), strict=True))


def make(width, n_samples=1000, duration_s=10.0, channels=1, multiple=1, **settings):
    page = Page(PageConfig(**settings), duration_s)
    return PaperImage(page, n_samples, width, channels, multiple), page


def one_lead(lead, signal_T):
    signals_CT = torch.zeros(1, 12, len(signal_T))
    signals_CT[0, LEADS.index(lead)] = torch.as_tensor(signal_T)
    return signals_CT


def row_of(image, page, signals_BCT, row):
    """The coverage of a row's own band, and the pixel at which the band begins."""
    scale = image.blank.shape[2] / page.width_mm
    top, bottom = (round((page.baseline_mm(row) + side * page.row_mm / 2) * scale) for side in (-1, 1))
    return image.coverage(signals_BCT)[0, top:bottom].double().numpy(), max(top, 0), scale


def centroids(covered_HW, top):
    rows = np.arange(len(covered_HW))[:, None] + 0.5 + top
    return (rows * covered_HW).sum(0) / np.maximum(covered_HW.sum(0), 1e-9)


@pytest.mark.parametrize("width", [1040, 1300, 2200])  # 4, 5 and 8.5 px/mm
def test_a_millivolt_and_a_second_are_true_to_scale(width):
    """A wave that rises to 1 mV, stays, and falls: its flanks are 1 s apart."""
    image, page = make(width, layout="3x4", view="crop")
    wave = np.interp(np.arange(1000) / 100, [0.5, 0.7, 1.5, 1.7], [0, 1, 1, 0])
    covered, top, scale = row_of(image, page, one_lead("I", wave), 0)
    assert scale >= 4
    y_mm = centroids(covered, top) / scale
    x_mm = (np.arange(width) + 0.5) / scale - page.pulse_mm  # from the beginning of the trace
    on_top, before = y_mm[(x_mm > 20) & (x_mm < 35)], y_mm[(x_mm > 1) & (x_mm < 11)]
    assert before.mean() - on_top.mean() == pytest.approx(10, abs=0.02)
    assert np.ptp(on_top) < 1e-3
    half = page.baseline_mm(0) - 5
    rising, falling = (x_mm > 12.5) & (x_mm < 17.5), (x_mm > 37.5) & (x_mm < 42.5)
    up, down = (np.interp(half, y_mm[part][::step], x_mm[part][::step]) for part, step in ((rising, -1), (falling, 1)))
    assert down - up == pytest.approx(25, abs=0.02)
    assert up == pytest.approx(0.6 * 25, abs=0.02)


@pytest.mark.parametrize("width", [224, 512, 1040])
@pytest.mark.parametrize("speed_and_gain", [(25, 10), (50, 5), (50, 20)])
def test_a_ramp_is_where_it_belongs_at_any_speed_and_gain(width, speed_and_gain):
    mm_per_s, mm_per_mv = speed_and_gain
    image, page = make(width, layout="3x4", view="crop", mm_per_s=mm_per_s, mm_per_mv=mm_per_mv, calibration=False)
    covered, top, scale = row_of(image, page, one_lead("II", np.linspace(-0.8, 2.4, 1001)[:-1]), 1)
    shown = slice(2, int(2.4 * mm_per_s * scale))  # 2.5 s of the lead, without the last columns
    second = (np.arange(width) + 0.5)[shown] / scale / mm_per_s
    expected = page.baseline_mm(1) - (0.32 * second - 0.8) * mm_per_mv
    assert np.abs(centroids(covered, top)[shown] - expected * scale).max() < 0.1  # pixels


@pytest.mark.parametrize("layout", ["3x4_rhythm", "3x4", "6x2", "12x1"])
@pytest.mark.parametrize("order", ["standard", "cabrera"])
@pytest.mark.parametrize("columns", ["consecutive", "simultaneous"])
def test_each_lead_is_in_its_place_and_nowhere_else(layout, order, columns):
    """One lead at a time is 1 mV at all times, so its panel moves up and all others stay."""
    image, page = make(224, layout=layout, order=order, columns=columns)
    rows = [row.split() for row in GRIDS[layout.removesuffix("_rhythm")]]
    if order == "cabrera":
        rows = [[CABRERA.get(lead, lead) for lead in row] for row in rows]
    whole = 25 * 10 * 224 / page.width_mm
    left = (page.left_mm + page.pulse_mm) * 224 / page.width_mm
    places = {}
    for row, leads in enumerate(rows):
        for column, lead in enumerate(leads):
            places.setdefault(lead.removeprefix("-"), []).append(
                (row, column / len(leads), 1 / len(leads), lead[0] == "-")
            )
    if layout == "3x4_rhythm":
        places["II"].append((3, 0, 1, False))
    assert {*places} == {*LEADS}
    still = image.coverage(torch.zeros(1, 12, 1000))[0]
    moved_CHW = image.coverage(torch.eye(12)[:, :, None].expand(-1, -1, 1000))
    for lead, moved_HW in zip(LEADS, moved_CHW, strict=True):
        expected = still.clone()
        for row, start, share, is_upside_down in places[lead]:
            part = slice(round(left + start * whole), round(left + (start + share) * whole))
            baseline = page.baseline_mm(row) * 224 / page.width_mm
            y = baseline + (1 if is_upside_down else -1) * 10 * 224 / page.width_mm
            column = (torch.arange(1.0, len(still) + 1) - y + 0.5).clamp(0, 1) - (
                torch.arange(len(still)) - y + 0.5
            ).clamp(0, 1)
            at_rest = expected[:, part].clone()
            at_rest[round(baseline) - 2 : round(baseline) + 2] = 0
            expected[:, part] = torch.maximum(at_rest, column[:, None])
        assert torch.allclose(moved_HW, expected, atol=1e-4), lead


def test_columns_are_consecutive_or_simultaneous_parts_of_the_record():
    beginning = one_lead("AVR", np.arange(1000) < 200)  # aVR is in the second column
    for columns, is_shown in (("consecutive", False), ("simultaneous", True)):
        image, _ = make(224, layout="3x4", columns=columns)
        assert torch.equal(image(beginning), image(torch.zeros(1, 12, 1000))) != is_shown


@pytest.mark.parametrize("width", [224, 1040])
def test_peaks_between_the_columns_are_kept(width):
    """A single sample reaches its height at any size."""
    image, page = make(width, layout="3x4", view="crop")
    covered, top, scale = row_of(image, page, one_lead("I", np.eye(1000)[123]), 0)
    line = max(1, 0.26 * scale)
    highest = top + np.argmax(covered.max(1) > 0) + 1 - covered.max(1)[np.argmax(covered.max(1) > 0)]
    assert (page.baseline_mm(0) * scale - highest - line / 2) / scale == pytest.approx(10, abs=0.02)


def test_small_pages_have_exact_gradients():
    image, _ = make(48, 36, 0.9, layout="3x4", columns="simultaneous", channels=3)
    signals_BCT = 0.4 * torch.randn(1, 12, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        image.double(), (signals_BCT.requires_grad_(),), eps=1e-6, atol=1e-4, fast_mode=True
    )
    image.double()(signals_BCT).sum().backward()
    assert (signals_BCT.grad != 0).any(dim=2).all()  # each lead


@pytest.mark.parametrize("n_samples", [100, 250, 5000, 1])
def test_records_of_other_lengths_and_rates_are_drawn(n_samples):
    image, _ = make(224, n_samples, 10.0 if n_samples != 250 else 2.5)
    pictures = image(torch.zeros(2, 12, n_samples))
    assert pictures.shape == (2, 1, 174, 224)
    assert pictures.min() < 0.2


def test_a_large_batch_is_drawn_as_its_parts_are():
    image, _ = make(224)
    records = torch.randn(20, 12, 1000, generator=torch.Generator().manual_seed(0))
    assert image.n_at_a_time < 20
    assert torch.equal(image(records), torch.cat([image(record[None]) for record in records]))
    assert image(records[:0]).shape == (0, 1, 174, 224)


def test_the_sampling_rate_changes_no_smooth_trace():
    slow, fast = (
        make(512, n)[0](torch.from_numpy(heartbeats(np.arange(n) / n * 10)).float()[None]) for n in (1000, 5000)
    )
    assert (slow - fast).abs().mean() < 2e-3
    assert (slow - make(512)[0](torch.zeros(1, 12, 1000))).abs().mean() > 0.01


@pytest.mark.parametrize(("width", "layout"), [(224, "3x4_rhythm"), (1024, "12x1")])
def test_bfloat16_moves_a_trace_by_its_own_rounding_alone(width, layout):
    """As of runtimes that compute all operations in it: 0.4 % of a deflection, and not of the place on the page."""
    image, page = make(width, layout=layout)
    record = torch.full((1, 12, 1000), 1000.0)  # mV, which is beyond the page
    record[0, 2] = 2 * torch.from_numpy(heartbeats(np.arange(1000) / 100))[7]  # III, far from the upper edge
    exact, rounded = image.coverage(record)[0], image.bfloat16().coverage(record.bfloat16())[0].float()
    traced = exact.sum(0) > 0
    assert torch.equal(rounded.sum(0) > 0, traced)
    places = [centroids(covered[:, traced].double().numpy(), 0) for covered in (exact, rounded)]
    deflections = np.abs(places[0] - page.baseline_mm(2) * width / page.width_mm)
    assert deflections.max() > 3
    heights = exact.sum(0)[traced].numpy()
    assert (np.abs(places[0] - places[1]) < 0.1 + 0.006 * (deflections + heights)).all()


@pytest.mark.parametrize("multiple", [8, 14, 16, 32])
def test_paper_is_added_for_patches_and_the_scale_stays(multiple):
    record = torch.from_numpy(heartbeats(np.arange(1000) / 100)).float()[None]
    plain, padded = make(230)[0](record), make(230, multiple=multiple)[0]
    height, width = padded.size
    assert (height % multiple, width % multiple) == (0, 0)
    assert 0 <= height - plain.shape[2] < multiple
    assert 0 <= width - 230 < multiple
    assert torch.equal(padded(record)[:, :, : plain.shape[2], :230], plain)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("grid", ["pink", "grey", "none"])
def test_pictures_are_between_black_and_white(channels, grid):
    image, _ = make(224, channels=channels, grid=grid, layout="12x1")
    pictures = image(3 * torch.randn(4, 12, 1000, generator=torch.Generator().manual_seed(0)))
    assert pictures.shape == (4, channels, 174, 224)
    assert pictures.min() >= 0.08 - 1e-6
    assert pictures.max() <= 1


def test_grey_is_the_luminance_of_the_colours():
    record = torch.from_numpy(heartbeats(np.arange(1000) / 100)).float()[None]
    grey, rgb = (make(512, channels=channels, grid="red")[0](record)[0] for channels in (1, 3))
    assert torch.allclose(grey[0], 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2], atol=1e-5)


def test_the_front_end_normalises_the_picture_and_not_the_signal(configure, caplog):
    cfg = configure("model=resnet10t", "frontend=paper", "frontend.width=230", "frontend.augmentation.noise_mv=0")
    frontend = build_frontend(cfg.frontend, n_samples=1000, patch_size=16).eval()
    assert frontend.network_input.image == (1, 192, 240)
    assert "10 columns of paper are added" in caplog.text
    millivolts = torch.from_numpy(heartbeats(np.arange(1000) / 100)).float()[None]
    picture = frontend.representation(millivolts)
    assert torch.allclose(frontend(millivolts), 2 * picture - 1, atol=1e-6)
    units = (1000 * millivolts).round()
    assert torch.allclose(frontend(units.short()), frontend(units / 1000), atol=1e-4)
    frontend.fit_normalization(lambda lead: (torch.ones(12, 1), torch.ones(12, 1)))
    assert torch.allclose(frontend(millivolts), 2 * picture - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("frontend.normalization=lead", "frontend.normalization=lead: allowed are fixed"),
        ("frontend.layout=3x5", "frontend.layout=3x5: allowed are 3x4_rhythm, 3x4, 6x2, 12x1. Did you mean 3x4?"),
        ("frontend.width=100", "frontend.width=100: must be at least 224"),
        ("frontend.mm_per_s=30", "frontend.mm_per_s=30: allowed are 25, 50"),
    ],
)
def test_settings_that_cannot_be_are_refused(configure, override, said):
    with pytest.raises(ConfigError) as caught:
        configure("model=vit", "frontend=paper", override)
    assert str(caught.value).startswith(said)


def tiny(configure, model, *overrides):
    cfg = configure(f"model={model}", *TINY[model], "frontend=paper", "frontend.width=224", *overrides)
    torch.manual_seed(0)
    return build_classifier(cfg.model, cfg.frontend, n_samples=1000, seed=0).eval()


IMAGE_MODELS = ["vit", "deit", "effnetv2", "convnext", "resnet10t", "repvgg_a0"]


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_each_image_network_takes_paper(configure, model):
    classifier = tiny(configure, model, "frontend.layout=6x2", "frontend.view=crop", "frontend.channels=3")
    assert classifier(torch.zeros(2, 12, 1000)).shape == (2, 5)


def test_exported_files_draw_the_same_page(configure, tmp_path):
    """With the smallest network that sees where the ink is."""
    cfg = configure("model=resnet10t", "frontend=paper", "frontend.width=224")
    network = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(10 * 14, 5))
    torch.manual_seed(0)
    nn.init.normal_(network[2].weight)
    frontend = build_frontend(cfg.frontend, n_samples=1000)
    assert_files_agree(DeployedNetwork(frontend, network, BinaryCrossEntropy()), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["3x4_rhythm", "12x1"])
@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_exported_networks_draw_the_same_page(configure, model, layout, tmp_path):
    classifier = tiny(configure, model, f"frontend.layout={layout}")
    with torch.no_grad():
        for parameter in classifier.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert_files_agree(deployed(classifier), tmp_path)


def assert_files_agree(module, folder):
    onnx = export_onnx(module, folder / "model.onnx", 12, 1000)
    xml = export_openvino(onnx, folder / "model.xml")
    traced = export_openvino(module, folder / "traced.xml", n_leads=12, n_samples=1000)
    opened = [open_runtime(onnx, "onnxruntime", "fp32", 1)]
    opened += [open_runtime(path, "openvino", "fp32", 1) for path in (xml, traced)]
    for n in (1, 3, 12):  # more than are drawn at a time
        millivolts = signals(n)
        expected = outputs(module, millivolts)[1]
        for runtime in opened:
            found = 1 / (1 + np.exp(-runtime.logits(millivolts)))
            assert np.abs(found - expected).max() < 1e-4, runtime.name
            assert np.ptp(found) > 1e-2
    for runtime in opened:
        assert_missing_samples_give_nan(runtime)


def paths_of(figure, page):
    """The corners of each trace as matplotlib draws it, in mm on its paper from the upper left corner."""
    for line in figure.axes[0].lines[-len(page.panels) :]:
        corners = line.get_transform().transform_path(line.get_path()).vertices / figure.dpi * 25.4
        yield corners[:, 0], page.height_mm - corners[:, 1]


def assert_as_matplotlib_draws(signals_CT, leads, width, n_columns=None):
    """The ink of one lead at a time, without the pen's width, is within 0.15 mm of matplotlib's path, and covers it."""
    image, page = make(width, signals_CT.shape[1], layout="3x4")
    scale, near = width / page.width_mm, 0.1  # in both directions, so 0.14 mm at most
    assert scale >= 4
    pen = max(1, 0.26 * scale) / 2
    figure = paper_figure(signals_CT, signals_CT.shape[1] / 10, page)
    alone = np.where(np.eye(12)[:, :, None], signals_CT, np.float32(1000))  # mV, which is beyond the page
    covered_CHW = image.coverage(torch.from_numpy(alone[leads]))
    for panel, (x_mm, y_mm) in zip(page.panels, paths_of(figure, page), strict=True):
        if panel.lead not in leads:
            continue
        covered_HW = covered_CHW[leads.index(panel.lead)].numpy()
        columns = np.arange(int(x_mm[0] * scale) + 2, int(x_mm[-1] * scale) - 2)[:n_columns]
        for column in columns:
            ink = covered_HW[:, column]
            touched = np.flatnonzero(ink)
            highest, lowest = (
                (touched[0] + 1 - ink[touched[0]] + pen) / scale,
                (touched[-1] + ink[touched[-1]] - pen) / scale,
            )
            inner = range_of(x_mm, y_mm, column / scale, (column + 1) / scale)
            outer = range_of(x_mm, y_mm, column / scale - near, (column + 1) / scale + near)
            assert outer[0] - near <= highest <= inner[0] + near
            assert inner[1] - near <= lowest <= outer[1] + near


def range_of(x, y, begin, end):
    """The highest and lowest point of a path between two places."""
    ends = np.interp([begin, end], x, y)
    heights = [*ends, *y[(x > begin) & (x < end)]]
    return min(heights), max(heights)


def test_traces_are_where_matplotlib_draws_them():
    assert_as_matplotlib_draws(heartbeats(np.arange(1000) / 100).astype(np.float32), [0, 7], 1120, 120)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("width", [1120, 2200])
def test_traces_of_real_records_are_where_matplotlib_draws_them(ptbxl_root, width):
    reader, signals_CT = RecordReader(100), np.empty((12, 1000), np.int16)
    for header in sorted(ptbxl_root.glob("records100/*/*.hea"))[:20]:
        reader.read_into(str(header.with_suffix("")), signals_CT)
        assert_as_matplotlib_draws((signals_CT / 1000).astype(np.float32), [1, 9], width)
