"""`ecg-lightning render`: pages true to scale, from every format that `predict` reads; refusals in one sentence."""

import dataclasses
import re
import sys

import numpy as np
import pytest
from PIL import Image
from recordings import heartbeats, rows
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.commands.paper_commands import render as render_command
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.example import EXAMPLE_RECORDS
from ecg_lightning.paper.page import Page
from ecg_lightning.paper.schema import PageConfig
from ecg_lightning.reports.paper_figure import paper_figure, trace

RECORD = EXAMPLE_RECORDS[0]


def render(*arguments):
    return CliRunner().invoke(app, ["render", *map(str, arguments)])


def test_a_picture_has_the_size_of_the_page(tmp_path):
    done = render(RECORD, "--out", tmp_path / "x.png", "--dpi", 100)
    assert done.exit_code == 0, done.output
    assert "279.4 × 215.9 mm; print it at 100 %" in done.output
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (1100, 850)
        assert picture.info["dpi"] == pytest.approx((100, 100), abs=0.02)


def test_svg_and_pdf_have_the_size_of_the_page_and_the_same_bytes_again(tmp_path):
    page = Page(PageConfig(layout="12x1", mm_per_s=50))
    for name in ("a.svg", "b.svg", "a.pdf"):
        done = render(RECORD, "--out", tmp_path / name, "--layout", "12x1", "--mm-per-s", 50, "--grid", "none")
        assert done.exit_code == 0, done.output
    svg = (tmp_path / "a.svg").read_text()
    width, height = (float(side) for side in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups())
    assert (width, height) == pytest.approx((page.width_mm / 25.4 * 72, page.height_mm / 25.4 * 72))
    assert (tmp_path / "b.svg").read_text() == svg
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", (tmp_path / "a.pdf").read_bytes()).groups()
    assert [float(side) for side in box] == pytest.approx([width, height], abs=0.01)


def test_each_format_draws_the_same_page_at_its_own_rate(tmp_path):
    signals_CT = heartbeats(np.arange(6000) / 500)
    np.save(tmp_path / "a.npy", signals_CT)
    (tmp_path / "a.csv").write_text(",".join(LEADS) + "\n" + rows(signals_CT.T))
    pictures = []
    for name in ("a.npy", "a.csv"):
        out = tmp_path / f"{name}.png"
        done = render(tmp_path / name, "--rate", 500, "--units", "mV", "--out", out, "--dpi", 50)
        assert done.exit_code == 0, done.output
        assert "note: it lasts 12 s; the first 10 s are used" in done.output
        assert "resampled" not in done.output
        with Image.open(out) as picture:
            pictures.append(np.asarray(picture, dtype=int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 8  # the table's numbers are rounded


def test_the_page_says_its_scale_and_what_is_on_it():
    page = Page(PageConfig(order="cabrera", mm_per_s=50, mm_per_mv=20))
    figure = paper_figure(heartbeats(np.arange(1000) / 100), 100, page, "patient_$7")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:3] == ["aVL", "II", "V1"]
    assert texts[-2:] == ["50 mm/s   20 mm/mV", "patient_$7"]
    assert tuple(figure.get_size_inches()) == pytest.approx((page.width_mm / 25.4, page.height_mm / 25.4))


def test_a_trace_meets_the_next_lead_and_ends_with_the_record():
    page = Page(PageConfig(layout="3x4", order="cabrera"))
    signals_CT = np.linspace(0, 1, 1000) * np.ones((12, 1))
    for panel in page.panels:
        x, y = trace(signals_CT, 100, page, panel)
        last_s = min(panel.start_s + 2.5, 9.99)
        assert (x[0], x[-1]) == pytest.approx((page.x_mm(panel), page.x_mm(panel) + 25 * (last_s - panel.start_s)))
        heights = panel.sign * np.array([panel.start_s, last_s]) / 9.99 * 10
        assert (y[0], y[-1]) == pytest.approx(tuple(page.baseline_mm(panel.row) - heights))


def test_options_and_defaults_are_those_of_the_front_end():
    options = render_command.__annotations__
    for entry in dataclasses.fields(PageConfig):
        told = str(options.get(entry.name, options.get(f"no_{entry.name}")))
        if isinstance(entry.default, bool):
            assert "Leave out" in told
            continue
        assert re.search(rf"\b{entry.default}[ /\w]* \(the default\)", told.replace('"\n', "")), entry.name
        assert all(re.search(rf"\b{choice}\b", told) for choice in entry.metadata["choices"]), entry.name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layout", "3x5"], "error: --layout=3x5: allowed are 3x4_rhythm, 3x4, 6x2, 12x1. Did you mean 3x4?"),
        (["--mm-per-mv", "7"], "error: --mm-per-mv=7: allowed are 5, 10, 20."),
        (["--units", "V"], "error: --units V: allowed are mV, uV"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, said, tmp_path):
    done = render(RECORD, "--out", tmp_path / "x.png", *arguments)
    assert done.exit_code == 2
    assert done.stderr.strip().startswith(said)
    assert not [*tmp_path.iterdir()]


def test_files_that_are_there_and_other_formats_are_refused(tmp_path):
    (tmp_path / "x.png").touch()
    done = render(RECORD, "--out", tmp_path / "x.png")
    assert (done.exit_code, (tmp_path / "x.png").read_bytes()) == (2, b"")
    assert "x.png: this file exists already. Name another file, or remove this one" in done.stderr
    done = render(RECORD, "--out", tmp_path / "x.jpg")
    assert "is drawn as .png, .svg or .pdf. Give its name one of these endings" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_records_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(LEADS) + "\n" + rows(heartbeats(np.arange(900) / 100).T))
    done = render(tmp_path / "a.csv", "--rate", 100, "--out", tmp_path / "x.svg")
    assert done.exit_code == 3
    assert "a.csv: it lasts 9 s at 100 Hz, and 10 s are needed" in done.stderr
    done = render(tmp_path / "nothing.hea", "--out", tmp_path / "x.svg")
    assert (done.exit_code, "nothing.hea is not there" in done.stderr) == (3, True)


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "ecg_lightning.reports"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    done = render(RECORD, "--out", tmp_path / "x.png")
    assert done.exit_code == 2
    assert "drawing needs the package matplotlib, which is not installed" in done.stderr
    assert "'.[train]'" in done.stderr
