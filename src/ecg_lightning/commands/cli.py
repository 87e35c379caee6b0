"""The `ecg-lightning` command: the two mains, and tools for data; each loads only what it needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ecg_lightning.errors import UserError
from ecg_lightning.version import __version__

if TYPE_CHECKING:
    from ecg_lightning.paper.schema import PageConfig

app = typer.Typer(
    help="PTB-XL ECGs to a small, fast, honestly measured classifier. Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_Csv = Annotated[Path | None, typer.Option("--csv", help="Also write the table as CSV, with one row per class or run.")]
_Latex = Annotated[Path | None, typer.Option("--latex", help="Also write all tables as LaTeX (booktabs).")]
_Markdown = Annotated[Path | None, typer.Option("--markdown", help="Also write all tables as Markdown.")]

# Hydra itself reads the arguments after the command, even --help.
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(context_settings=_HYDRA, help="Train a model, or several in a sweep; the same as python train.py.")
def train(context: typer.Context) -> None:
    """Run `train.py`'s main with the rest of the command line."""
    from ecg_lightning.commands import launching

    sys.argv = ["ecg-lightning train", *context.args]
    launching.train()


@app.command(context_settings=_HYDRA, help="Compress a trained model; the same as python compress.py.")
def compress(context: typer.Context) -> None:
    """Run `compress.py`'s main with the rest of the command line."""
    from ecg_lightning.commands import launching

    sys.argv = ["ecg-lightning compress", *context.args]
    launching.compress()


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the networks with their number of parameters and input shape."""
    from ecg_lightning.models.catalogue import networks

    known = networks()

    if as_json:
        typer.echo(json.dumps([network._asdict() for network in known]))
        return
    typer.echo("model".ljust(15) + "parameters".rjust(11) + "  " + "input".ljust(14) + "network")
    for network in known:
        millions, shape = f"{network.parameters / 1e6:.2f} M", " × ".join(map(str, network.input))
        typer.echo(network.name.ljust(15) + millions.rjust(11) + "  " + shape.ljust(14) + network.about)
    typer.echo(
        "\nChoose one with model=NAME. 12 × 1000 is the signal, leads × samples at 100 Hz;\n1 × 64 × 512 is an "
        "image of it; frontend.size sets the size. model=ensemble\naverages trained networks: "
        "model.members=[FILE,FILE]. model=custom\ntrains your own network: model.network=package.module:function."
    )


@app.command()
def labels(
    database: Annotated[Path, typer.Option(help="PTB-XL's ptbxl_database.csv.")],
    statements: Annotated[Path, typer.Option(help="PTB-XL's scp_statements.csv.")],
    rule: Annotated[
        str,
        typer.Option(
            help="Label rule: count codes of any likelihood (benchmark), of at least 50 (ge50), or of 100 (eq100)."
        ),
    ] = "benchmark",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count records and superclass labels by split (train: folds 1–8, val: 9, test: 10)."""
    from ecg_lightning.data import labels as ptbxl_labels

    try:
        if rule not in ptbxl_labels.LABEL_RULES:
            raise UserError(f"--rule {rule}: allowed are {', '.join(ptbxl_labels.LABEL_RULES)}")
        table = ptbxl_labels.read_database(database)
        codes = ptbxl_labels.read_statements(statements)
        targets = ptbxl_labels.label_targets(table["scp_codes"].astype(str).tolist(), codes, rule, str(database))
    except UserError as error:
        _fail(error)
    counts = ptbxl_labels.counts_by_split(targets, table["strat_fold"].to_numpy())
    if as_json:
        typer.echo(json.dumps({"rule": rule, "splits": counts}))
        return
    columns = ("records", "labelled", *ptbxl_labels.SUPERCLASSES)
    typer.echo(f"label rule {rule}")
    typer.echo("split".ljust(7) + "".join(name.rjust(10) for name in columns))
    for split, row in counts.items():
        typer.echo(split.ljust(7) + "".join(f"{row[name]:,}".rjust(10) for name in columns))


@app.command()
def synthesize(
    root: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or new.")],
    records: Annotated[int, typer.Option(help="Number of records.", min=100)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the data; the same seed writes the same bytes.", min=0)] = 0,
    rate: Annotated[list[int] | None, typer.Option(help="Sampling rates in Hz: 100, 500 or both.")] = None,
) -> None:
    """Write synthetic ECGs in PTB-XL's layout, for trying and testing. They have no medical meaning."""
    from ecg_lightning.data.synthetic import write_synthetic_ptbxl

    try:
        write_synthetic_ptbxl(root, records, seed, tuple(rate or (100,)))
    except UserError as error:
        _fail(error)
    typer.echo(f"{records} synthetic records are in {root}. Train on them with data=ptbxl data.root={root}")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder of WFDB headers (.hea), which is searched with all below it.")],
    out: Annotated[Path, typer.Option(help="Write the table to this new .csv file.")],
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns snomed and class. Default: SNOMED CT codes to PTB-XL's superclasses."
        ),
    ] = None,
    keep_unlabelled: Annotated[
        bool, typer.Option("--keep-unlabelled", help="Keep records without a mapped code, as negatives of all classes.")
    ] = False,
) -> None:
    """Make a table for data=folder from headers with SNOMED CT codes ("# Dx: …"), as in the PhysioNet Challenges."""
    from ecg_lightning.data.snomed import SUPERCLASSES_FILE, import_headers, read_mapping, write_table
    from ecg_lightning.reports.import_printing import imported_as_text

    try:
        if out.suffix.lower() != ".csv":
            raise UserError(f"--out {out}: the table is a CSV file. Give its name the ending .csv")
        _check_new(out)
        found = import_headers(source, read_mapping(mapping or SUPERCLASSES_FILE), keep_unlabelled=keep_unlabelled)
        write_table(out, found.rows)
    except UserError as error:
        _fail(error)
    except OSError as error:
        _fail(UserError(f"{error.filename or out}: {error.strerror or error}"))
    typer.echo(imported_as_text(found, source, out, keep_unlabelled=keep_unlabelled))


@app.command()
def verify(
    root: Annotated[Path, typer.Argument(help="PTB-XL's folder, complete or in part. Nothing is written to it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a PTB-XL folder: checksums, tables, records, patients, labels. The exit code is 3 if anything is wrong."""
    from ecg_lightning.data.verify import verify_folder
    from ecg_lightning.reports.verify_printing import print_report, track

    try:
        report = verify_folder(root, track)
    except UserError as error:
        _fail(error)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(3)


@app.command()
def predict(
    records: Annotated[
        list[str] | None,
        typer.Argument(
            help="WFDB records (with or without .hea), tables (.csv, .tsv, .txt), .npy files, folders of these, or "
            "patterns such as 'DIR/*.hea'."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="An exported .onnx or .xml file, a checkpoint, or a run's folder. Default: the example model of this "
            "package."
        ),
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Predict the example records in this package.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the predictions to this new .csv file instead of the terminal.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Sampling rate in Hz of .npy files and tables. Default: the table's own rate."),
    ] = None,
    units: Annotated[str | None, typer.Option(help="Units of tables and .npy files: mV (the default) or uV.")] = None,
    runtime: Annotated[
        str | None, typer.Option(help="onnxruntime or openvino. Default: the runtime that fits the file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict the classes of ECG recordings with a trained model. Research use only, not for diagnosis."""
    from ecg_lightning.data.recordings.search import find_recordings
    from ecg_lightning.deployment.example import EXAMPLE_MODEL, EXAMPLE_RECORDS
    from ecg_lightning.deployment.predictor import Predictor, predict_records
    from ecg_lightning.reports.prediction_printing import (
        predictions_as_csv,
        predictions_as_json,
        predictions_as_text,
        refusals_as_lines,
    )
    from ecg_lightning.system.disk import write_whole

    try:
        if example == bool(records):
            raise UserError("give either recordings or --example, which predicts the example records in this package")
        if runtime not in (None, "onnxruntime", "openvino"):
            raise UserError(f"--runtime {runtime}: allowed are onnxruntime, openvino")
        units = _known_units(units)
        if out and out.suffix.lower() != ".csv":
            raise UserError(f"--out {out}: the table is a CSV file. Give its name the ending .csv")
        if out:
            _check_new(out)
        found = [*EXAMPLE_RECORDS] if example else find_recordings(records or [], rate)
        predictor = Predictor(model or EXAMPLE_MODEL, runtime)
        predictions = predict_records(predictor, found, rate, units, _track)
        if out:
            write_whole(out, predictions_as_csv(predictor, predictions))
    except UserError as error:
        _fail(error)
    except OSError as error:
        _fail(UserError(f"{error.filename or out}: {error.strerror or error}"))
    failed = [prediction.error for prediction in predictions if prediction.error]
    if as_json:
        typer.echo(json.dumps(predictions_as_json(predictor.path, predictor, predictions)))
    else:
        if model is None:
            typer.echo(f"model: {predictor.path.name}, the example model of this package; use yours with --model FILE")
        if out:
            n_predicted = len(predictions) - len(failed)
            typer.echo(f"predictions of {n_predicted:,} of {len(predictions):,} records are in {out}")
        else:
            typer.echo(predictions_as_text(predictor, predictions))
    for line in refusals_as_lines(predictions):
        typer.echo(line, err=True)
    if failed:
        typer.echo(f"{len(failed):,} of {len(predictions):,} records could not be read", err=True)
        raise typer.Exit(failed[0].exit_code)


@app.command()
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
    from ecg_lightning.data.wfdb import DURATION_S
    from ecg_lightning.paper.page import Page
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
        _check_new(out)
        recording, rate = read_unchanged(record.expanduser(), seconds=DURATION_S, rate=rate, units=_known_units(units))
        with needing("train", "drawing"):
            from ecg_lightning.reports.figure_files import write_figure
            from ecg_lightning.reports.paper_figure import paper_figure
        name = record.stem if record.is_file() else record.name
        figure = paper_figure(recording.millivolts_CT, rate, page, name, dpi)
        (path,) = write_figure(figure, out.with_suffix(""), [suffix])
    except UserError as error:
        _fail(error)
    except OSError as error:
        _fail(UserError(f"{error.filename or out}: {error.strerror or error}"))
    typer.echo(f"{record} is drawn on {path}, {page.width_mm:g} × {page.height_mm:g} mm; print it at 100 %")
    for note in recording.notes:
        typer.echo(f"note: {note}")


def _track(batches: Sequence[int]) -> Iterable[int]:
    """Yield the batches, and show the progress on a terminal."""
    if len(batches) < 2 or not sys.stderr.isatty():
        return batches
    from rich.console import Console
    from rich.progress import track

    return track(batches, "predicting", console=Console(stderr=True), transient=True)


@app.command()
def benchmark(
    files: Annotated[list[Path], typer.Argument(help="Exported .onnx or .xml files, or checkpoints.")],
    batch: Annotated[
        list[int] | None,
        typer.Option(help="Records per call. Repeat the option to measure several batch sizes.", min=1),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads per call. Default: all cores.", min=1)] = None,
    rounds: Annotated[int, typer.Option(help="Number of rounds. Each round measures every case once.", min=1)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure exported models on this machine: latency, throughput, memory, size, and the kernels that run."""
    from ecg_lightning.deployment.measuring.benchmark import benchmark as measured
    from ecg_lightning.reports.prediction_printing import benchmark_as_text

    try:
        result = measured(files, batch or [1], threads, rounds)
    except UserError as error:
        _fail(error)
    typer.echo(json.dumps(result) if as_json else benchmark_as_text(result))


@app.command()
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
    try:
        _check_split(split)
        check_files({**files, "--reliability": reliability, "--abstention": abstention})
        found = evaluate_run(run, split, root, resamples)
        sections = evaluation_sections(found)
        write_report(sections, csv, latex, markdown)
        if reliability or abstention:
            draw(run, split, resamples, reliability, abstention)
    except UserError as error:
        _fail(error)
    if as_json:
        typer.echo(json.dumps(without_nan(found)))
    else:
        print_sections(sections, make_console())


@app.command()
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
    try:
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
    except UserError as error:
        _fail(error)
    if as_json:
        typer.echo(json.dumps(without_nan(rows)))
    else:
        print_sections(sections, make_console())


@app.command()
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
    try:
        for option, chosen, known in (("model", models, reproduction.PUBLISHED), ("task", tasks, reproduction.TASKS)):
            if unknown := [name for name in chosen if name not in known]:
                raise UserError(f"--{option} {unknown[0]}: the published table has {', '.join(known)}")
        code = reproduction.run_protocol(models, tasks, seeds, root, output, setting or [])
        if rows := reproduction.reproduction_rows(output):
            reproduction.print_reproduction(rows, make_console())
    except UserError as error:
        _fail(error)
    raise typer.Exit(code)


def _check_split(split: str) -> None:
    if split not in ("test", "val"):
        raise UserError(f"--split {split}: allowed are test, val")


def _check_new(out: Path) -> None:
    if out.exists():
        raise UserError(f"--out {out}: this file exists already. Name another file, or remove this one")


def _page_settings(chosen: Mapping[str, Any]) -> PageConfig:
    """Return the settings of a page, checked as the same keys of frontend=paper are."""
    from dataclasses import fields

    from ecg_lightning.components.setting import check_value
    from ecg_lightning.paper.schema import PageConfig

    bounds = {entry.name: entry.metadata for entry in fields(PageConfig)}
    for name, value in chosen.items():
        check_value(f"--{name.replace('_', '-')}", value, bounds[name])
    return PageConfig(**chosen)


def _known_units(units: str | None) -> str | None:
    known = {"mv": "mV", "uv": "uV", "µv": "uV", "μv": "uV"}.get((units or "").lower(), units)
    if known not in (None, "mV", "uV"):
        raise UserError(f"--units {units}: allowed are mV, uV")
    return known


def _fail(error: UserError) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(error.exit_code)
