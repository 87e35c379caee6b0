"""The check of a PTB-XL folder: checksums, tables, every record, patients and labels. The folder is only read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ecg_lightning.data.checksums import SUMS_NAME, compare, read_checksums
from ecg_lightning.data.identity import N_PTBXL, PTBXL, dataset_name
from ecg_lightning.data.labels import (
    SPLITS,
    SUPERCLASSES,
    counts_by_split,
    label_targets,
    read_database,
    read_statements,
    task_classes,
)
from ecg_lightning.data.ptbxl import FILENAME_COLUMN, TABLES, version_of
from ecg_lightning.data.wfdb import DURATION_S, LEADS, RecordError, RecordReader, record_path
from ecg_lightning.errors import DataError

T = TypeVar("T")
Track = Callable[[Iterable[T], str], Iterable[T]]
"""The progress display over some items: `track(items, what is done with them)` yields the items."""

_COUNTED = ("records", "labelled", "CD", "HYP", "MI", "NORM", "STTC")
LABEL_COUNTS = {
    "train": dict(zip(_COUNTED, (17_418, 17_084, 3_907, 2_119, 4_379, 7_596, 4_186), strict=True)),
    "val": dict(zip(_COUNTED, (2_183, 2_146, 495, 268, 540, 955, 528), strict=True)),
    "test": dict(zip(_COUNTED, (2_198, 2_158, 496, 262, 550, 963, 521), strict=True)),
}
"""Records, labelled records and positives of PTB-XL 1.0.3 per official split, counted in its own tables."""

CLASS_COUNTS = {"superdiagnostic": 5, "subdiagnostic": 23, "diagnostic": 44, "form": 19, "rhythm": 12, "all": 71}
"""The number of classes of each task (Strodthoff et al. 2021, table 2)."""

_UNUSABLE = "tables that cannot be used"


@dataclass(frozen=True)
class Problem:
    """A kind of fault, and the items that have it.

    Attributes:
        what: a noun in the plural, such as `damaged records`.
        items: the items' names, with the reason if there is one.
    """

    what: str
    items: list[str]


@dataclass
class Check:
    """One part of the report.

    Attributes:
        name: a name of one or two words.
        found: a sentence about what was checked.
        problems: the faults.
        notes: further remarks that report no fault.
        done: whether the check could be made.
    """

    name: str
    found: str = ""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    done: bool = True

    def add(self, what: str, items: Iterable[object]) -> None:
        """Add a problem if it has any items."""
        if names := [str(item) for item in items]:
            self.problems.append(Problem(what, names))


@dataclass
class Report:
    """The findings of `verify_folder`.

    Attributes:
        root: the folder.
        dataset: the name of the data set (see `identity.dataset_name`); None if the table cannot be read.
        version: the PTB-XL version by its number of records; `unknown` for a subset.
        folds: fold → number of its records in the table.
        checks: the checks, in the order of the report.
    """

    root: Path
    dataset: str | None = None
    version: str = "unknown"
    folds: dict[int, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """The outcome: True if no check has a problem."""
        return not any(check.problems for check in self.checks)

    @property
    def n_records(self) -> int:
        """The number of rows in the table."""
        return sum(self.folds.values())

    def as_dict(self, n_names: int = 20) -> dict[str, Any]:
        """Return the report as plain values. Each problem has its count and its first `n_names` names."""
        return {
            "root": str(self.root),
            "ok": self.ok,
            "dataset": self.dataset,
            "version": self.version,
            "records": self.n_records,
            "records_of_ptbxl": N_PTBXL if self.dataset == PTBXL else None,
            "folds": {str(fold): count for fold, count in self.folds.items()},
            "checks": [
                {
                    "name": check.name,
                    "state": "wrong" if check.problems else "ok" if check.done else "not checked",
                    "found": check.found,
                    "problems": [
                        {"what": one.what, "count": len(one.items), "first": one.items[:n_names]}
                        for one in check.problems
                    ],
                    "notes": check.notes,
                }
                for check in self.checks
            ],
        }


def verify_folder(root: Path, track: Track[Any] | None = None) -> Report:
    """Check a PTB-XL folder, in whole or in part. Nothing is written to it.

    Args:
        root: the folder that holds `ptbxl_database.csv`.
        track: the progress display; see `Track`.

    Raises:
        DataError: this is not a folder, or it holds neither of PTB-XL's tables.
    """
    _check_input(root)
    track = track or (lambda items, _: items)
    report = Report(root)
    files, unlisted = _files(root)
    tables, table, statements = _check_tables(root, report)
    checksums, listed = _check_checksums(root, files, track)
    checksums.add("folders that cannot be listed", unlisted)
    report.checks += [tables, checksums]
    records = [_check_records(root, rate, table, files, listed, track) for rate in FILENAME_COLUMN]
    if not any(check.done for check in records):
        records[0].add("folders without signals", ["records100/, records500/: copy at least one of them there"])
    report.checks += records
    if table is not None:
        report.checks.append(_check_patients(table))
        report.checks.append(_check_labels(root, report.dataset, table, statements))
    return report


def _check_input(root: Path) -> None:
    way_out = "name the folder that holds ptbxl_database.csv"
    try:
        names = {entry.name for entry in os.scandir(root)}
    except FileNotFoundError:
        raise DataError(f"{root} is not there; {way_out}") from None
    except NotADirectoryError:
        raise DataError(f"{root} is a file; {way_out}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{root} cannot be listed ({error}); {way_out}") from None
    if not names:
        raise DataError(f"{root} is empty; {way_out}")
    if not names & {*TABLES}:
        raise DataError(f"{root} is not a PTB-XL folder: it has neither {' nor '.join(TABLES)}; {way_out}")


def _files(root: Path) -> tuple[set[str], list[str]]:
    """Return the names of all files below the folder, and the folders that cannot be listed.

    Links to folders are not followed.
    """
    unlisted: list[str] = []
    names = {
        f"{folder}/{name}".removeprefix(f"{root}/")
        for folder, _, names in os.walk(str(root), onerror=lambda error: unlisted.append(str(error)))
        for name in names
    }
    return names, unlisted


def _check_tables(root: Path, report: Report) -> tuple[Check, pd.DataFrame | None, Mapping[str, str | None] | None]:
    check = Check("tables")
    table, statements = None, None
    said: list[str] = []
    flags: list[str] = []
    try:
        table = read_database(root / TABLES[0])
    except DataError as error:
        check.add(_UNUSABLE, [error])
    else:
        report.dataset, report.version = dataset_name(root), version_of(len(table))
        report.folds = {fold: int((table["strat_fold"] == fold).sum()) for fold in range(1, 11)}
        of_all = f" of the {N_PTBXL:,}" if report.dataset == PTBXL and len(table) < N_PTBXL else ""
        said.append(f"{len(table):,}{of_all} records, {table['patient_id'].nunique():,} patients")
    try:
        statements = read_statements(root / TABLES[1])
        said.append(f"{len(statements)} SCP codes")
        if report.dataset == PTBXL:
            for task, expected in CLASS_COUNTS.items():
                n_classes = len(task_classes(read_statements(root / TABLES[1], task)))
                if n_classes != expected:
                    flags.append(f"{task}: {n_classes} instead of {expected}")
    except DataError as error:
        check.add(_UNUSABLE, [error])
    check.add(f"tasks whose number of classes in {TABLES[1]} differs from PTB-XL's", flags)
    check.found = "; ".join(said)
    return check, table, statements


def _check_checksums(root: Path, files: set[str], track: Track[str]) -> tuple[Check, set[str] | None]:
    check = Check("checksums")
    try:
        listed = read_checksums(root)
    except OSError as error:
        check.add("lists of checksums that cannot be read", [f"{SUMS_NAME}: {error}"])
        return check, None
    if listed is None:
        check.found, check.done = f"there is no {SUMS_NAME}, so changed tables cannot be detected", False
        return check, None
    compared = compare(root, listed.digests, lambda paths: track(paths, "comparing checksums of files"))
    n_here = len(listed.digests) - len(compared.absent)
    check.found = f"{compared.matching:,} of {n_here:,} files match {SUMS_NAME}"
    check.add("files that do not match their checksum (changed, or not completely downloaded)", compared.changed)
    check.add("files that cannot be read", compared.unreadable)
    check.add(f"paths in {SUMS_NAME} that lead out of the folder (not read)", listed.outside)
    check.add(f"malformed lines in {SUMS_NAME}", listed.malformed)
    unlisted = sorted((files & {*TABLES}) - listed.digests.keys())
    check.add(f"tables that {SUMS_NAME} does not list, so that changes to them cannot be detected", unlisted)
    if compared.absent:
        places = Counter(f"{path.partition('/')[0]}/" if "/" in path else path for path in compared.absent)
        named = ", ".join(f"{place} {count:,}" if place.endswith("/") else place for place, count in places.items())
        check.notes.append(f"{len(compared.absent):,} listed files are missing ({named[:200]})")
    if extra := sorted(files - listed.digests.keys() - {SUMS_NAME}):
        check.notes.append(f"{len(extra):,} files are not listed (first: {extra[0]})")
    return check, {*listed.digests}


def _check_records(
    root: Path, rate: int, table: pd.DataFrame | None, files: set[str], listed: set[str] | None, track: Track[str]
) -> Check:
    """Read and verify each record at one rate, and compare the files with the table's rows."""
    check = Check(f"{rate} Hz")
    on_disk = {name[:-4] for name in files if name.startswith(f"records{rate}/") and name.endswith((".hea", ".dat"))}
    rows = table[FILENAME_COLUMN[rate]].tolist() if table is not None else sorted(on_disk)
    here = [name for name in rows if name in on_disk or _has_file(root, name)]
    if not here and not on_disk:
        check.found, check.done = f"there is no record at {rate} Hz", False
        return check
    reader = RecordReader(rate)
    scratch_CT = np.empty((len(LEADS), DURATION_S * rate), dtype="<i2")
    bad = []
    for name in track(here, f"reading records at {rate} Hz"):
        try:
            reader.read_into(record_path(root, name), scratch_CT)
        except (RecordError, OSError) as error:
            bad.append(f"{name}: {_reason(error)}")
    check.found = f"{len(here) - len(bad):,} of {len(here):,} records have the right header, size and WFDB checksums"
    check.add("damaged or incomplete records", bad)
    if table is not None:
        check.add(f"records that have files but no row in {TABLES[0]}", sorted(on_disk - {*rows}))
    found = {*here}
    missing = [name for name in rows if name not in found]
    expected = missing if listed is None else [name for name in missing if f"{name}.dat" in listed]
    check.add(f"rows of {TABLES[0]} that have no files (deleted, or not downloaded)", expected)
    if left := len(missing) - len(expected):
        check.notes.append(
            f"{left:,} of {len(rows):,} rows have no file at {rate} Hz; {SUMS_NAME} does not list one either"
        )
    return check


def _has_file(root: Path, name: str) -> bool:
    try:
        path = record_path(root, name)
    except RecordError:
        return True  # reading the record reports the reason
    return any(os.path.lexists(path + suffix) for suffix in (".hea", ".dat"))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"its {str(error.filename)[-4:]} is missing"
    return getattr(error, "strerror", None) or str(error)


def _check_patients(table: pd.DataFrame) -> Check:
    """Report patients in two folds, because such patients would be trained on and scored."""
    check = Check("patients")
    split_of = {fold: split for split, folds in SPLITS.items() for fold in folds}
    folds = {str(patient): sorted({*own}) for patient, own in table.groupby("patient_id")["strat_fold"]}
    shared = {patient: own for patient, own in folds.items() if len(own) > 1}
    named = {patient: f"patient {patient}, folds {', '.join(map(str, own))}" for patient, own in shared.items()}
    two_splits = {patient for patient, own in shared.items() if len({split_of[fold] for fold in own}) > 1}
    check.found = f"{len(folds) - len(shared):,} of {len(folds):,} patients are in one fold only"
    check.add(
        "patients in two splits (folds 1–8, 9, 10), which make scores optimistic",
        (named[patient] for patient in shared if patient in two_splits),
    )
    check.add(
        "patients in two folds of one split, which make a cross-validation optimistic",
        (named[patient] for patient in shared if patient not in two_splits),
    )
    return check


def _check_labels(
    root: Path, dataset: str | None, table: pd.DataFrame, statements: Mapping[str, str | None] | None
) -> Check:
    check = Check("labels")
    if statements is None:
        check.found, check.done = f"labels were not counted, because {TABLES[1]} cannot be used", False
        return check
    try:
        targets = label_targets(table["scp_codes"].tolist(), statements, where=str(root / TABLES[0]))
    except DataError as error:
        check.add("labels that cannot be read", [error])
        return check
    counts = counts_by_split(targets, table["strat_fold"].to_numpy())
    positives = ", ".join(f"{name} {counts['all'][name]:,}" for name in SUPERCLASSES)
    check.found = f"{counts['all']['labelled']:,} of {len(table):,} records have a class: {positives}"
    if dataset == PTBXL and len(table) == N_PTBXL:
        check.add(
            "counts that differ from those of PTB-XL 1.0.3",
            (
                f"{split} {name} {counts[split][name]:,} instead of {expected:,}"
                for split, row in LABEL_COUNTS.items()
                for name, expected in row.items()
                if counts[split][name] != expected
            ),
        )
        check.notes.append("the counts were compared with those of PTB-XL 1.0.3")
    elif dataset == PTBXL:
        check.notes.append(
            f"the counts were not compared with PTB-XL's, because the table does not hold all {N_PTBXL:,} records"
        )
    return check
