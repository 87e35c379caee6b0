"""The `ecg-lightning` command: the two mains, and tools for data; each loads only what it needs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ecg_lightning import __version__
from ecg_lightning.errors import UserError

app = typer.Typer(
    help="PTB-XL ECGs to a small, fast, honestly measured classifier. Research use only, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Hydra reads what follows the command itself, --help included.
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


@app.command(context_settings=_HYDRA, help="Train a model or a sweep; the same as python train.py.")
def train(context: typer.Context) -> None:
    """Run `train.py`'s main with the rest of the command line."""
    from ecg_lightning import launching

    sys.argv = ["ecg-lightning train", *context.args]
    launching.train()


@app.command(context_settings=_HYDRA, help="Compress a trained model; the same as python compress.py.")
def compress(context: typer.Context) -> None:
    """Run `compress.py`'s main with the rest of the command line."""
    from ecg_lightning import launching

    sys.argv = ["ecg-lightning compress", *context.args]
    launching.compress()


@app.command()
def labels(
    database: Annotated[Path, typer.Option(help="PTB-XL's ptbxl_database.csv.")],
    statements: Annotated[Path, typer.Option(help="PTB-XL's scp_statements.csv.")],
    rule: Annotated[str, typer.Option(help="Which likelihoods count: benchmark (any), ge50 or eq100.")] = "benchmark",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count records and superclass labels by split (train: folds 1–8, val: 9, test: 10)."""
    from ecg_lightning.data import labels as ptbxl_labels

    try:
        if rule not in ptbxl_labels.LABEL_RULES:
            raise UserError(f"--rule {rule}: allowed are {', '.join(ptbxl_labels.LABEL_RULES)}")
        table = ptbxl_labels.read_database(database)
        codes = ptbxl_labels.read_statements(statements)
        targets = ptbxl_labels.superclass_targets(table["scp_codes"].astype(str).tolist(), codes, rule, str(database))
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
    root: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or not there yet.")],
    records: Annotated[int, typer.Option(help="How many records.", min=100)] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 0,
    rate: Annotated[list[int] | None, typer.Option(help="Sampling rates in Hz: 100, 500 or both.")] = None,
) -> None:
    """Write synthetic ECGs in PTB-XL's layout: for trying and testing, without medical meaning."""
    from ecg_lightning.data.synthetic import write_synthetic_ptbxl

    try:
        write_synthetic_ptbxl(root, records, seed, tuple(rate or (100,)))
    except UserError as error:
        _fail(error)
    typer.echo(f"{records} synthetic records in {root}; train on them: data=ptbxl data.root={root}")


def _fail(error: UserError) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(error.exit_code)
