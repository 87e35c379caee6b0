"""A report's files in a run's folder: `tables/` in three formats, `figures/` in two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecg_lightning.reports.csv_table import to_csv
from ecg_lightning.reports.figure_files import write_figure
from ecg_lightning.reports.latex import to_latex
from ecg_lightning.reports.markdown import to_markdown
from ecg_lightning.reports.section import Section, tables_of
from ecg_lightning.system.disk import write_whole

TABLES, FIGURES = "tables", "figures"


def write_sections(sections: Sequence[Section], name: str, folder: Path) -> dict[str, str]:
    """Write the sections' tables into common files, and each section's figure into its own.

    Args:
        sections: sections of one report.
        name: name of the tables' files, without a suffix.
        folder: folder of the run.

    Returns:
        Paths relative to the folder, by `tables/NAME` and `figures/NAME`: the CSV file of a table, the PNG of a figure.

    Raises:
        UserError: the disk is full.
    """
    artifacts: dict[str, str] = {}
    if tables := tables_of(sections):
        texts = {"csv": to_csv(tables), "md": to_markdown(sections), "tex": to_latex(sections)}
        for suffix, text in texts.items():
            write_whole(folder / TABLES / f"{name}.{suffix}", text)
        artifacts[f"{TABLES}/{name}"] = f"{TABLES}/{name}.csv"
    for section in sections:
        if section.figure is not None:
            write_figure(section.figure, folder / FIGURES / section.name)
            artifacts[f"{FIGURES}/{section.name}"] = f"{FIGURES}/{section.name}.png"
    return artifacts
