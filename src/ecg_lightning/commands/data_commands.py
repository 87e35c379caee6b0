"""Commands for data sets: labels, synthesize, import and verify. Each loads only what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ecg_lightning.errors import UserError
from ecg_lightning.text import explain_os_error


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

    if rule not in ptbxl_labels.LABEL_RULES:
        raise UserError(f"--rule {rule}: allowed are {', '.join(ptbxl_labels.LABEL_RULES)}")
    table = ptbxl_labels.read_database(database)
    codes = ptbxl_labels.read_statements(statements)
    targets = ptbxl_labels.label_targets(table["scp_codes"].astype(str).tolist(), codes, rule, str(database))
    counts = ptbxl_labels.counts_by_split(targets, table["strat_fold"].to_numpy())
    if as_json:
        typer.echo(json.dumps({"rule": rule, "splits": counts}))
        return
    columns = ("records", "labelled", *ptbxl_labels.SUPERCLASSES)
    typer.echo(f"label rule {rule}")
    typer.echo("split".ljust(7) + "".join(name.rjust(10) for name in columns))
    for split, row in counts.items():
        typer.echo(split.ljust(7) + "".join(f"{row[name]:,}".rjust(10) for name in columns))


def synthesize(
    root: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or new.")],
    records: Annotated[int, typer.Option(help="Number of records.", min=100)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the data; the same seed writes the same bytes.", min=0)] = 0,
    rate: Annotated[list[int] | None, typer.Option(help="Sampling rates in Hz: 100, 500 or both.")] = None,
) -> None:
    """Write synthetic ECGs in PTB-XL's layout, for trying and testing. They have no medical meaning."""
    from ecg_lightning.data.synthetic import write_synthetic_ptbxl

    write_synthetic_ptbxl(root, records, seed, tuple(rate or (100,)))
    typer.echo(f"{records} synthetic records are in {root}. Train on them with data=ptbxl data.root={root}")


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
    from ecg_lightning.reports.files import check_new_csv
    from ecg_lightning.reports.import_printing import imported_as_text

    try:
        check_new_csv(out)
        found = import_headers(source, read_mapping(mapping or SUPERCLASSES_FILE), keep_unlabelled=keep_unlabelled)
        write_table(out, found.rows)
    except OSError as error:
        raise UserError(explain_os_error(error, out)) from None
    typer.echo(imported_as_text(found, source, out, keep_unlabelled=keep_unlabelled))


def verify(
    root: Annotated[Path, typer.Argument(help="PTB-XL's folder, complete or in part. Nothing is written to it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a PTB-XL folder: checksums, tables, records, patients, labels. The exit code is 3 if anything is wrong."""
    from ecg_lightning.data.verify import verify_folder
    from ecg_lightning.reports.verify_printing import print_report, track

    report = verify_folder(root, track)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(3)
