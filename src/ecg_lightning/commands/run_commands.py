"""Commands for finished runs and the benchmark: evaluate, compare and reproduce. Each loads only what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ecg_lightning.errors import UserError

_Csv = Annotated[Path | None, typer.Option("--csv", help="Also write the table as CSV, with one row per class or run.")]
_Latex = Annotated[Path | None, typer.Option("--latex", help="Also write all tables as LaTeX (booktabs).")]
_Markdown = Annotated[Path | None, typer.Option("--markdown", help="Also write all tables as Markdown.")]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run of train.py.")],
    split: Annotated[str, typer.Option(help="test or val.")] = "test",
    root: Annotated[
        Path | None,
        typer.Option(
            help="PTB-XL folder of the run. It adds a baseline of age and sex, and scores by sex, age, device and "
            "noise. Default: the run's data.root."
        ),
    ] = None,
    reliability: Annotated[
        Path | None, typer.Option(help="Draw the reliability diagram, before and after calibration, to this .png file.")
    ] = None,
    abstention: Annotated[
        Path | None, typer.Option(help="Draw the share of wrong records among the surest ones to this .png file.")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Number of bootstrap resamples, by patient.", min=100)] = 1000,
    csv: _Csv = None,
    latex: _Latex = None,
    markdown: _Markdown = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score the predictions of a run: metrics by class with intervals, calibration, baselines and subgroups."""
    from ecg_lightning.commands.evaluations import draw, evaluate_run
    from ecg_lightning.reports.console import make_console
    from ecg_lightning.reports.evaluation_tables import evaluation_sections
    from ecg_lightning.reports.files import check_files, write_report
    from ecg_lightning.reports.terminal import print_sections
    from ecg_lightning.results.results import without_nan

    files = {"--csv": csv, "--latex": latex, "--markdown": markdown}
    _check_split(split)
    check_files({**files, "--reliability": reliability, "--abstention": abstention})
    found = evaluate_run(run, split, root, resamples)
    sections = evaluation_sections(found)
    write_report(sections, csv, latex, markdown)
    if reliability or abstention:
        draw(run, split, resamples, reliability, abstention)
    if as_json:
        typer.echo(json.dumps(without_nan(found)))
    else:
        print_sections(sections, make_console())


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs of train.py, or of a sweep. The first run is the reference."),
    ],
    split: Annotated[str, typer.Option(help="test or val.")] = "test",
    resamples: Annotated[int, typer.Option(help="Number of bootstrap resamples, by patient.", min=100)] = 1000,
    average: Annotated[bool, typer.Option("--average", help="Add a last row with the average of all runs.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the scores and the differences with their intervals to this .png file.")
    ] = None,
    csv: _Csv = None,
    latex: _Latex = None,
    markdown: _Markdown = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare runs on the same records: paired differences to the first run, with intervals and a verdict.

    Runs that differ only in their seed are averaged and count as one.
    """
    from ecg_lightning.commands.evaluations import compare_runs, named_runs, save_figure
    from ecg_lightning.reports.console import make_console
    from ecg_lightning.reports.evaluation_tables import comparison_sections
    from ecg_lightning.reports.files import check_files, write_report
    from ecg_lightning.reports.terminal import print_sections
    from ecg_lightning.results.results import without_nan

    files = {"--csv": csv, "--latex": latex, "--markdown": markdown}
    _check_split(split)
    runs = named_runs(runs)
    if len(runs) < 2:
        raise UserError(
            f"{runs[0]} has nothing to compare with. Name two runs or more, or score this one: ecg-lightning "
            f"evaluate {runs[0]}"
        )
    check_files({**files, "--figure": figure})
    rows = compare_runs(runs, split, resamples, average)
    sections = comparison_sections(rows, split)
    write_report(sections, csv, latex, markdown)
    if figure:
        from ecg_lightning.reports.comparison_figure import comparison_figure  # matplotlib

        save_figure(comparison_figure(rows, split), figure, "--figure")
    if as_json:
        typer.echo(json.dumps(without_nan(rows)))
    else:
        print_sections(sections, make_console())


def reproduce(
    root: Annotated[Path, typer.Option(help="PTB-XL's folder. Only the complete data set can reproduce the table.")],
    output: Annotated[Path, typer.Option(help="Folder for the runs. Finished runs in it are not repeated.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Model of the benchmark. Repeat the option for several models.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Label task. Repeat the option for several tasks.")] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds per model and task.", min=1)] = 1,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="Additional setting, such as hardware=cuda. Repeat the option for several settings."),
    ] = None,
) -> None:
    """Run the protocol of the PTB-XL benchmark, and print the results beside the published ones."""
    from ecg_lightning.commands import reproduction
    from ecg_lightning.reports.console import make_console

    models, tasks = model or ["resnet1d_wang"], task or ["superdiagnostic"]
    for option, chosen, known in (("model", models, reproduction.PUBLISHED), ("task", tasks, reproduction.TASKS)):
        if unknown := [name for name in chosen if name not in known]:
            raise UserError(f"--{option} {unknown[0]}: the published table has {', '.join(known)}")
    code = reproduction.run_protocol(models, tasks, seeds, root, output, setting or [])
    if rows := reproduction.reproduction_rows(output):
        reproduction.print_reproduction(rows, make_console())
    raise typer.Exit(code)


def _check_split(split: str) -> None:
    if split not in ("test", "val"):
        raise UserError(f"--split {split}: allowed are test, val")
