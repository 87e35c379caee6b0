"""A report in files that the command line names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ecg_lightning.errors import UserError
from ecg_lightning.reports.csv_table import to_csv
from ecg_lightning.reports.latex import to_latex
from ecg_lightning.reports.markdown import to_markdown
from ecg_lightning.reports.section import Section, tables_of
from ecg_lightning.system.disk import write_whole


def check_files(files: Mapping[str, Path | None]) -> None:
    """Refuse files that cannot be written, before anything is computed.

    Args:
        files: paths by the option that names each.

    Raises:
        UserError: a file is a folder, or its folder is not there.
    """
    for option, path in files.items():
        if path is None:
            continue
        if path.is_dir():
            raise UserError(f"{option} {path} is a folder. Name a file")
        if not path.absolute().parent.is_dir():
            raise UserError(f"{option} {path}: the folder {path.parent} is not there. Create it, or name another file")


def check_new_csv(out: Path) -> None:
    """Refuse a file of `--out` that is not a CSV file, or exists already.

    Raises:
        UserError: it is one of them.
    """
    if out.suffix.lower() != ".csv":
        raise UserError(f"--out {out}: the table is a CSV file. Give its name the ending .csv")
    check_new(out)


def check_new(out: Path) -> None:
    """Refuse a file of `--out` that exists already.

    Raises:
        UserError: it exists.
    """
    if out.exists():
        raise UserError(f"--out {out}: this file exists already. Name another file, or remove this one")


def write_report(sections: Sequence[Section], csv: Path | None, latex: Path | None, markdown: Path | None) -> None:
    """Write the sections' tables into the named files.

    Raises:
        UserError: a file cannot be written.
    """
    makers: dict[Path | None, Callable[[], str]] = {
        csv: lambda: to_csv(tables_of(sections)),
        latex: lambda: to_latex(sections),
        markdown: lambda: to_markdown(sections),
    }
    for path, make in makers.items():
        if path is None:
            continue
        try:
            write_whole(path, make())
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}. Name another file") from None
