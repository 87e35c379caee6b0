"""The command for paper ECGs: render."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecg_lightning.errors import UserError
from ecg_lightning.text import explain_os_error

if TYPE_CHECKING:
    from ecg_lightning.paper.schema import PageConfig


def render(
    record: Annotated[
        Path,
        typer.Argument(
            help="WFDB record (with or without .hea), table (.csv, .tsv, .txt) or .npy file, of 10 s or more."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Draw the page to this new file: .png, .svg or .pdf.")],
    layout: Annotated[str | None, typer.Option(help="3x4_rhythm (the default), 3x4, 6x2 or 12x1.")] = None,
    order: Annotated[
        str | None, typer.Option(help="Order of the limb leads: standard (the default) or cabrera, with −aVR.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="consecutive (the default): each column shows the next part of the record; simultaneous: all show its "
            "beginning."
        ),
    ] = None,
    mm_per_s: Annotated[int | None, typer.Option(help="Paper speed: 25 (the default) or 50 mm/s.")] = None,
    mm_per_mv: Annotated[int | None, typer.Option(help="Gain: 5, 10 (the default) or 20 mm/mV.")] = None,
    grid: Annotated[
        str | None, typer.Option(help="pink (the default), red, brown, blue, green, grey, or none for blank paper.")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="page (the default): the whole sheet; crop: the rows alone, without margins.")
    ] = None,
    no_calibration: Annotated[bool, typer.Option("--no-calibration", help="Leave out the calibration pulses.")] = False,
    no_lead_names: Annotated[bool, typer.Option("--no-lead-names", help="Leave out the lead names.")] = False,
    no_separators: Annotated[
        bool, typer.Option("--no-separators", help="Leave out the ticks between the leads of a row.")
    ] = False,
    dpi: Annotated[int, typer.Option(help="Dots per inch of a .png file.", min=50, max=600)] = 200,
    rate: Annotated[
        float | None, typer.Option(help="Sampling rate in Hz of a .npy file or table. Default: the table's own rate.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="Units of a table or .npy file: mV (the default) or uV.")] = None,
) -> None:
    """Draw the first 10 s of a recording on ECG paper, true to scale. Research use only, not for diagnosis."""
    from ecg_lightning.data.recordings.records import read_unchanged
    from ecg_lightning.data.recordings.voltage import named_units
    from ecg_lightning.data.wfdb import DURATION_S
    from ecg_lightning.paper.page import Page
    from ecg_lightning.reports.files import check_new
    from ecg_lightning.system.installed import needing

    chosen: dict[str, Any] = {
        "layout": layout,
        "order": order,
        "columns": columns,
        "mm_per_s": mm_per_s,
        "mm_per_mv": mm_per_mv,
        "grid": grid,
        "view": view,
        "calibration": not no_calibration,
        "lead_names": not no_lead_names,
        "separators": not no_separators,
    }
    try:
        page = Page(_page_settings({name: value for name, value in chosen.items() if value is not None}))
        suffix = out.suffix.removeprefix(".")
        if suffix not in ("png", "svg", "pdf"):
            raise UserError(f"--out {out}: the page is drawn as .png, .svg or .pdf. Give its name one of these endings")
        check_new(out)
        recording, rate = read_unchanged(record.expanduser(), seconds=DURATION_S, rate=rate, units=named_units(units))
        with needing("train", "drawing"):
            from ecg_lightning.reports.figure_files import write_figure
            from ecg_lightning.reports.paper_figure import paper_figure
        name = record.stem if record.is_file() else record.name
        figure = paper_figure(recording.millivolts_CT, rate, page, name, dpi)
        (path,) = write_figure(figure, out.with_suffix(""), [suffix])
    except OSError as error:
        raise UserError(explain_os_error(error, out)) from None
    typer.echo(f"{record} is drawn on {path}, {page.width_mm:g} × {page.height_mm:g} mm; print it at 100 %")
    for note in recording.notes:
        typer.echo(f"note: {note}")


def _page_settings(chosen: Mapping[str, Any]) -> PageConfig:
    """Return the settings of a page, checked as the same keys of frontend=paper are."""
    from dataclasses import fields

    from ecg_lightning.components.setting import check_value
    from ecg_lightning.paper.schema import PageConfig

    bounds = {entry.name: entry.metadata for entry in fields(PageConfig)}
    for name, value in chosen.items():
        check_value(f"--{name.replace('_', '-')}", value, bounds[name])
    return PageConfig(**chosen)
