"""The page without traces: darkness of the grid, calibration pulse, separators and lead names."""

import numpy as np
import pytest

from ecg_lightning.paper.blank import draw_blank
from ecg_lightning.paper.colours import GRIDS, luminance
from ecg_lightning.paper.font import GLYPHS
from ecg_lightning.paper.layout import LAYOUTS, ORDERS, panels
from ecg_lightning.paper.marks import GRID_MM, names, pulses, separators
from ecg_lightning.paper.page import Page
from ecg_lightning.paper.schema import PageConfig

EMPTY = {"calibration": False, "lead_names": False, "separators": False}


def drawn(px_per_mm, side=(50, 50), **settings):
    """The upper left `side` millimetres of a page."""
    page = Page(PageConfig(**settings))
    return draw_blank(page, px_per_mm, round(side[0] * px_per_mm), round(side[1] * px_per_mm))


def covered(share, line):
    """The share of an area that two crossing families of lines cover."""
    return 1 - (1 - share * line) ** 2


@pytest.mark.parametrize("px_per_mm", [3.1, 4, 7.87])
def test_thin_grid_lines_have_their_true_mean_darkness(px_per_mm):
    side = 50 - 1 / px_per_mm  # whole steps, whose last pixel is left out
    picture = drawn(px_per_mm, (side, side), **EMPTY, grid="grey")
    minor, major = covered(0.8, GRID_MM), covered(0.2, GRID_MM)
    expected = (1 - minor * 0.25) * (1 - major) + major * 0.4
    assert picture.mean() == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize(("px_per_mm", "n_lines"), [(0.5, 0), (0.8, 10), (2.9, 10), (3.1, 50)])
def test_lines_closer_than_three_pixels_are_left_out(px_per_mm, n_lines):
    picture = drawn(px_per_mm, (50, 49), **EMPTY, grid="red")
    darkness = (1 - picture.mean(0)).mean(0)
    darker = np.concatenate([[False], darkness > darkness.min() + 1e-6])
    assert np.sum(np.diff(darker.astype(int)) == 1) == n_lines  # at 0 mm and every step below 49


@pytest.mark.parametrize("name", [*GRIDS])
def test_grids_have_their_colours(name):
    picture = drawn(20, (6, 6), **EMPTY, grid=name)  # lines of 3.5 pixels
    found = {tuple(colour.round(6)) for colour in picture.reshape(3, -1).T}
    grid = GRIDS[name]
    assert (1.0, 1.0, 1.0) in found
    assert {*(grid or ())} <= found
    assert grid or found == {(1.0, 1.0, 1.0)}


def test_the_pulse_is_a_millivolt_high_and_a_fifth_of_a_second_wide():
    page = Page(PageConfig(mm_per_s=50, mm_per_mv=20))
    rows = [*pulses(page)]
    assert len(rows) == page.n_rows == 4
    for row, pulse in enumerate(rows):
        x, y = zip(*pulse, strict=True)
        assert (x[3] - x[2], y[1] - y[2], y[0]) == pytest.approx((10, 20, page.baseline_mm(row)))
    picture = drawn(10, (60, 30), grid="none", mm_per_s=25, mm_per_mv=10, lead_names=False, separators=False)
    rows, columns = np.nonzero(picture[0] < 0.5)
    assert (np.ptp(rows) + 1) / 10 == pytest.approx(10 + 0.26, abs=0.15)
    assert (np.ptp(columns) + 1) / 10 == pytest.approx(10 + 0.26, abs=0.15)  # with the stubs


@pytest.mark.parametrize("layout", [*LAYOUTS])
@pytest.mark.parametrize("order", [*ORDERS])
def test_names_and_ticks_stand_where_the_panels_begin(layout, order):
    page = Page(PageConfig(layout=layout, order=order))
    shown = panels(layout, order, "consecutive", 10)
    found = [*names(page)]
    assert [name.text for name in found] == [panel.name for panel in shown]
    assert {*"".join(name.text for name in found)} <= {*GLYPHS}
    for panel, name in zip(shown, found, strict=True):
        assert 0 < name.left_mm - page.x_mm(panel) < 2
        assert 3 < page.baseline_mm(panel.row) - name.bottom_mm < page.row_mm / 2
    ticks = [page.x_mm(panel) for panel in shown if panel.column_s]
    assert [tick[0][0] for tick in separators(page)] == ticks
    bare = Page(PageConfig(layout=layout, order=order, **EMPTY))
    assert not [*names(bare), *separators(bare), *pulses(bare)]


def test_a_name_is_as_dark_at_any_size():
    """Its ink covers the same area, although its cells are smaller than a pixel."""
    settings = {"grid": "none", "calibration": False, "separators": False, "layout": "12x1"}
    small, large = (drawn(px, (60, 60), **settings) for px in (0.8, 8))
    assert (1 - small).mean() == pytest.approx((1 - large).mean(), rel=0.02)


def test_grey_of_white_is_one():
    assert luminance((1, 1, 1)) == pytest.approx(1)
