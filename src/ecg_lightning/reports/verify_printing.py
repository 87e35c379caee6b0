"""The report of `ecg-lightning verify` as text, and its progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import typer
from rich.console import Console
from rich.progress import track as show_bar

from ecg_lightning.data.identity import N_PTBXL, PTBXL
from ecg_lightning.data.verify import Check, Report
from ecg_lightning.text import printable

_SHOWN = 5  # most names of a problem


def track(items: Iterable[Any], what: str) -> Iterator[Any]:
    """Yield the items. Show a bar on a terminal, or else print one line, both on standard error."""
    console = Console(stderr=True)
    listed = items if isinstance(items, Sized) else list(items)
    if console.is_terminal:
        yield from show_bar(listed, what, console=console, transient=True)
    else:
        typer.echo(f"{what}: {len(listed):,}", err=True)
        yield from listed


def print_report(report: Report) -> None:
    """Print the checks, the problems by name, and the verdict."""
    typer.echo(printable(f"{_title(report)} in {report.root}\n"))
    for check in report.checks:
        _print_check(check)
    if report.folds:
        typer.echo("\nfold     " + "".join(f"{fold:>7}" for fold in report.folds))
        typer.echo("records  " + "".join(f"{count:>7,}" for count in report.folds.values()) + "\n")
    typer.echo(_verdict(report))


def _title(report: Report) -> str:
    if report.dataset is None:
        return "A PTB-XL folder whose table cannot be used"
    if report.dataset.startswith("synthetic"):
        return f"Synthetic data ({report.dataset})"
    if report.dataset != PTBXL:
        return f"A data set in PTB-XL's layout ({report.dataset})"
    if report.version != "unknown":
        return f"PTB-XL {report.version}"
    return f"A part of PTB-XL: {report.n_records:,} of the {N_PTBXL:,} records"


def _print_check(check: Check) -> None:
    state, colour = (
        ("WRONG", typer.colors.RED)
        if check.problems
        else ("ok", typer.colors.GREEN)
        if check.done
        else ("–", typer.colors.YELLOW)
    )
    typer.echo(typer.style(state.ljust(7), fg=colour) + check.name.ljust(11) + printable(check.found or "see below"))
    indent = " " * 18
    for problem in check.problems:
        typer.echo(typer.style(f"{indent}{problem.what}: {len(problem.items):,}", fg=typer.colors.RED))
        for item in problem.items[:_SHOWN]:
            typer.echo(printable(f"{indent}  {item}"))
        if (more := len(problem.items) - _SHOWN) > 0:
            typer.echo(f"{indent}  and {more:,} more")
    for note in check.notes:
        typer.echo(printable(f"{indent}{note}"))


def _verdict(report: Report) -> str:
    if wrong := [check.name for check in report.checks if check.problems]:
        text = (
            f"This folder has problems ({', '.join(wrong)}). Restore the files named above"
            + (" from https://physionet.org/content/ptb-xl/" if report.dataset in (None, PTBXL) else "")
            + ", then run this command again."
        )
        return typer.style(text, fg=typer.colors.RED)
    skipped = [check.name for check in report.checks if not check.done]
    not_checked = f" (not checked: {', '.join(skipped)})" if skipped else ""
    return typer.style(f"No problem was found in the files of this folder{not_checked}.", fg=typer.colors.GREEN)
