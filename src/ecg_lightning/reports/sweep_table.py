"""The tables of a run or a sweep: `results.csv`, the ranked table, the variants and the next commands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from ecg_lightning.errors import UserError
from ecg_lightning.reports import run_files
from ecg_lightning.reports.console import make_console
from ecg_lightning.reports.figure_files import pixels
from ecg_lightning.reports.next_steps import alike, files_to_hand_in, next_steps
from ecg_lightning.reports.tables import collect, ranking_section, run_row, write_csv
from ecg_lightning.reports.terminal import print_section
from ecg_lightning.reports.variants import (
    RUNTIME_COLUMNS,
    VARIANT_COLUMNS,
    runtime_rows,
    variant_rows,
    variants_section,
    without_repeats,
)
from ecg_lightning.results.recipes import recipes_by_run
from ecg_lightning.results.results import RESULT_FILE, SWEEP_TABLE, RunResult, read_result
from ecg_lightning.system.disk import explain_full, is_full
from ecg_lightning.text import explain_os_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


class _Cell(Protocol):
    """A cell of a sweep: the name of its folder, its resolved settings, and its result so far."""

    run: str
    settings: Mapping[str, Any]
    result: RunResult


class SweepTable:
    """`results.csv` of a sweep, which is kept current, and the ranked table at its end.

    Attributes:
        unwritten: results by their folder that the sweep's process must still write, such as a killed cell's result.
    """

    def __init__(self) -> None:
        self.unwritten: dict[Path, RunResult] = {}
        self._folder: Path | None = None
        self._cells: Sequence[_Cell] = ()

    def begin(self, folder: Path, cells: Sequence[_Cell]) -> None:
        """Start the table of a sweep's cells, whose results go on changing, and write it for the first time."""
        self._folder, self._cells = folder, cells
        for left in folder.glob(".*.tmp"):  # a killed sweep left them
            left.unlink(missing_ok=True)
        self.write()

    def write(self) -> bool:
        """Write `results.csv` and the unwritten results. Return False if one of them cannot be written now."""
        parts: list[Callable[[], None]] = [partial(self._write_result, folder) for folder in self.unwritten]
        if self._cells:
            parts.append(self._write_table)
        written = [self._is_written(part) for part in parts]  # try each of them
        return all(written)

    def _is_written(self, write: Callable[[], None]) -> bool:
        assert self._folder is not None
        try:
            write()
        except (OSError, UserError) as error:
            log.warning("%s", explain(error, self._folder / SWEEP_TABLE))
            return False
        return True

    def _write_result(self, folder: Path) -> None:
        self.unwritten[folder].write(folder)
        del self.unwritten[folder]

    def _write_table(self) -> None:
        assert self._folder is not None
        write_csv(self._rows(), self._folder / SWEEP_TABLE)

    def print_table(self) -> list[dict[str, Any]]:
        """Write the unwritten results, print the ranked table and the next commands, and return the table's rows."""
        assert self._folder is not None
        self.write()
        rows = self._rows()
        print_sweep(self._folder, rows, {cell.run: cell.settings for cell in self._cells})
        return rows

    def _rows(self) -> list[dict[str, Any]]:
        assert self._folder is not None
        return collect(self._folder, {cell.run: cell.result for cell in self._cells})


def explain(error: OSError | UserError, path: Path) -> str:
    """Return why a file of a sweep cannot be written."""
    if isinstance(error, UserError):
        return str(error)
    return explain_full(path) if is_full(error) else explain_os_error(error, path)


def report_sweep(folder: Path) -> list[dict[str, Any]]:
    """Write `results.csv`, print the ranked table and the next commands, and return the table's rows."""
    rows = collect(folder)
    if rows:
        write_csv(rows, folder / SWEEP_TABLE)
        print_sweep(folder, rows)
    return rows


def print_sweep(
    folder: Path, rows: Sequence[dict[str, Any]], planned: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Print the ranked table of a sweep and the next commands, and write the measurements of its compressions."""
    console = make_console()
    recipes = recipes_by_run(folder, [row["run"] for row in rows], planned)
    print_section(ranking_section(rows, f"{folder}/{SWEEP_TABLE}", recipes), console)
    figure = report_variants(folder, console)
    if figure is not None and any(folder.rglob("events.out.tfevents.*")):  # the cells log to TensorBoard
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(folder / "tensorboard") as writer:
            writer.add_image("pareto", pixels(figure)[..., :3], dataformats="HWC")
    done = [row for row in rows if row["status"] == "ok" and row["score"] is not None]
    best = folder / done[0]["run"] if done else None
    run_files.write_sweep_files(rows, recipes, folder, best)
    _print_next(console, folder, best, [folder / row["run"] for row in done if alike(row, done[0])])


def report_run(folder: Path) -> None:
    """Print one run's scores and the next commands."""
    console = make_console()
    if report_variants(folder, console) is None:
        print_section(ranking_section([run_row(folder, folder.parent)], str(folder), {}), console)
    _print_next(console, folder, folder)


def _print_next(console: Console, folder: Path, best: Path | None, ranked: Sequence[Path] = ()) -> None:
    """Print where the files are, and the next commands."""
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    if files := files_to_hand_in(folder):
        say(f"To hand in: {files} in {folder}")
    if lines := next_steps(folder, best, ranked):
        say("Next", style="bold")
    for line in lines:
        say(line)


def report_variants(folder: Path, console: Console) -> Figure | None:
    """Write the measurements in and below a folder, and print their table.

    `variants.csv` has each variant as it is deployed, `runtimes.csv` all timed cases, and `pareto.png` the front.

    Returns:
        The Pareto plot; None if nothing was measured.
    """
    runs = {
        str(path.parent.relative_to(folder)): read_result(path.parent) for path in sorted(folder.rglob(RESULT_FILE))
    }
    rows = [row for run, result in runs.items() for row in variant_rows(result, run)]
    if not rows:
        return None
    from ecg_lightning.reports.pareto import (
        pareto_figure,
        save_pareto,
    )  # matplotlib: only where there is something to draw

    write_csv(rows, folder / "variants.csv", VARIANT_COLUMNS)
    timed = [row for run, result in runs.items() for row in runtime_rows(result, run)]
    write_csv(timed, folder / "runtimes.csv", RUNTIME_COLUMNS)
    figure = pareto_figure(rows)
    save_pareto(figure, folder)
    if "." not in runs:  # a sweep, because a run has written its own
        run_files.write_variant_files(without_repeats(rows), folder)
    print_section(variants_section(without_repeats(rows), f"{folder}/variants.csv"), console)
    return figure
