"""Commands for models: models, predict and benchmark. Each loads only what it needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecg_lightning.errors import UserError
from ecg_lightning.text import explain_os_error

if TYPE_CHECKING:
    from ecg_lightning.deployment.predictor import Prediction, Predictor


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
        "image of it; frontend.size sets the size. model=timm trains\nany image network of timm: model.name=NAME. "
        "model=ensemble averages trained\nnetworks: model.members=[FILE,FILE]. model=custom trains your own network:\n"
        "model.network=package.module:function."
    )


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
    from ecg_lightning.data.recordings.voltage import named_units
    from ecg_lightning.deployment.example import EXAMPLE_MODEL, EXAMPLE_RECORDS
    from ecg_lightning.deployment.predictor import Predictor, predict_records
    from ecg_lightning.reports.files import check_new_csv
    from ecg_lightning.reports.prediction_printing import predictions_as_csv, predictions_as_json
    from ecg_lightning.system.disk import write_whole

    try:
        if example == bool(records):
            raise UserError("give either recordings or --example, which predicts the example records in this package")
        if runtime not in (None, "onnxruntime", "openvino"):
            raise UserError(f"--runtime {runtime}: allowed are onnxruntime, openvino")
        units = named_units(units)
        if out:
            check_new_csv(out)
        found = [*EXAMPLE_RECORDS] if example else find_recordings(records or [], rate)
        predictor = Predictor(model or EXAMPLE_MODEL, runtime)
        predictions = predict_records(predictor, found, rate, units, _track)
        if out:
            write_whole(out, predictions_as_csv(predictor, predictions))
    except OSError as error:
        raise UserError(explain_os_error(error, out)) from None
    if as_json:
        typer.echo(json.dumps(predictions_as_json(predictor.path, predictor, predictions)))
    else:
        _print_predictions(predictor, predictions, out, of_example_model=model is None)
    _end_refused(predictions)


def _print_predictions(
    predictor: Predictor, predictions: Sequence[Prediction], out: Path | None, *, of_example_model: bool
) -> None:
    """Print the table of the predictions, or their number and the file that holds it."""
    from ecg_lightning.reports.prediction_printing import predictions_as_text

    if of_example_model:
        typer.echo(f"model: {predictor.path.name}, the example model of this package; use yours with --model FILE")
    if out:
        n_predicted = sum(not prediction.error for prediction in predictions)
        typer.echo(f"predictions of {n_predicted:,} of {len(predictions):,} records are in {out}")
    else:
        typer.echo(predictions_as_text(predictor, predictions))


def _end_refused(predictions: Sequence[Prediction]) -> None:
    """Print why records could not be read, and end with the exit code of the first one; go on if all were read."""
    from ecg_lightning.reports.prediction_printing import refusals_as_lines

    for line in refusals_as_lines(predictions):
        typer.echo(line, err=True)
    if failed := [prediction.error for prediction in predictions if prediction.error]:
        typer.echo(f"{len(failed):,} of {len(predictions):,} records could not be read", err=True)
        raise typer.Exit(failed[0].exit_code)


def _track(batches: Sequence[int]) -> Iterable[int]:
    """Yield the batches, and show the progress on a terminal."""
    if len(batches) < 2 or not sys.stderr.isatty():
        return batches
    from rich.console import Console
    from rich.progress import track

    return track(batches, "predicting", console=Console(stderr=True), transient=True)


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

    result = measured(files, batch or [1], threads, rounds)
    typer.echo(json.dumps(result) if as_json else benchmark_as_text(result))
