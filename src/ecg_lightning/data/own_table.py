"""The table of a folder of records. It has one row per record, with its path, patient, fold and labels.

The columns may have any order: `path`; `patient`; `fold` (1 to 10) or `split` (train, val, test); `age`, `sex` and
`device`. Every other column is a label of 0 and 1. Only `path` and one label are needed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.labels import MAX_TABLE_BYTES
from ecg_lightning.data.stratification import stratified_folds
from ecg_lightning.data.wfdb import RecordError, record_path
from ecg_lightning.errors import DataError
from ecg_lightning.system.regular_files import read_regular
from ecg_lightning.text import counted

log = logging.getLogger(__name__)

N_FOLDS = 10
MAX_CLASS_NAME = 64
"""The largest number of characters in a class name, as in exported files."""

_OWN = ("path", "patient", "fold", "split", "age", "sex", "device")
_MEANT = {
    **dict.fromkeys(("gender", "sexe", "m/f"), "sex"),
    **dict.fromkeys(("patient_id", "patientid", "patient id", "pid", "subject", "subject_id"), "patient"),
    **dict.fromkeys(("filename", "file", "record"), "path"),
    **dict.fromkeys(("age_years", "years"), "age"),
    **dict.fromkeys(("strat_fold", "folds"), "fold"),
}
"""Common names of columns, and the column that they mean here."""

_FLAGS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_SEXES = {"m": 0.0, "male": 0.0, "f": 1.0, "female": 1.0, "": np.nan}
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_HELD_OUT = {"val": 9, "test": 10}
"""The folds of the splits that a table names. Its training records are distributed over folds 1 to 8."""

_MAX_CELLS = 5_000_000
_SUFFIXES = (".hea", ".dat", ".mat")
_SHOWN = 60  # characters of a cell or a column name that a message shows


@dataclass(frozen=True)
class OwnTable:
    """A checked table of records.

    Attributes:
        paths: the N paths below the folder, with `/`.
        lines: (N,) each record's line in the file, for messages.
        patients: (N,) patient numbers from 0. If the table names no patients, each record counts as one patient.
        has_patients: whether the table names patients.
        folds: (N,) folds from 1 to 10.
        labels: class name → (N,) 0 or 1.
        ages: (N,) ages in years, NaN if unknown; None without the column.
        sexes: (N,) 0 for male and 1 for female, NaN if unknown; None without the column.
        devices: (N,) device names; None without the column.
        digest: SHA-256 of paths, patients and folds. Tables with equal digests hold the same records in the same folds.
    """

    paths: tuple[str, ...]
    lines: npt.NDArray[np.int64]
    patients: npt.NDArray[np.int64]
    has_patients: bool
    folds: npt.NDArray[np.int64]
    labels: dict[str, npt.NDArray[np.uint8]]
    ages: npt.NDArray[np.float64] | None
    sexes: npt.NDArray[np.float64] | None
    devices: npt.NDArray[np.str_] | None
    digest: str


def read_own_table(path: Path, root: Path, labels: Sequence[str] | None = None) -> OwnTable:
    """Read and check the table of a folder of records.

    Args:
        path: the CSV file, in UTF-8, with commas, semicolons or tabs.
        root: the folder that the paths are relative to.
        labels: the label columns; by default all columns without another meaning.

    Raises:
        DataError: the table cannot be used. The message names the file, the line, the column and the remedy.
    """
    columns, lines = _read_columns(path)
    if "path" not in columns:
        raise DataError(f"{path} has no column path. Its columns are {_listed(columns)}. Name each record's file in it")
    if "fold" in columns and "split" in columns:
        raise DataError(f"{path} has both a column fold and a column split. Remove one of them")
    found_labels = _labels(path, columns, lines, labels)
    paths = _paths(path, columns["path"], lines, root)
    names = columns.get("patient", list(paths))
    if empty := [line for name, line in zip(names, lines, strict=True) if not name]:
        raise DataError(f"{path}, line {empty[0]}: patient is empty. Fill it in, or remove the column")
    patients = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    targets = np.stack([*found_labels.values()], axis=1)
    folds = _folds(path, columns, lines, names, patients, targets)
    rows = sorted(f"{one}\0{name}\0{fold}" for one, name, fold in zip(paths, names, folds, strict=True))
    devices = columns.get("device")
    return OwnTable(
        tuple(paths),
        np.array(lines),
        patients,
        "patient" in columns,
        folds,
        found_labels,
        None if "age" not in columns else _ages(path, columns["age"], lines),
        None if "sex" not in columns else _sexes(path, columns["sex"], lines),
        None if devices is None else np.array([" ".join(text.split()) or "not given" for text in devices]),
        hashlib.sha256("\n".join(rows).encode()).hexdigest(),
    )


def _read_columns(path: Path) -> tuple[dict[str, list[str]], list[int]]:
    """Return the stripped cells of each named column, and the line of each row."""
    what = "a CSV table with a row for each record"
    try:
        text = read_regular(path, MAX_TABLE_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is not there. Name {what} with data.table=FILE") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not in UTF-8 (byte {error.start + 1}). Save it as CSV UTF-8, and check the class names"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Name {what}") from None
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    if text.count(delimiter) + text.count("\n") > _MAX_CELLS:
        raise DataError(f"{path} has more than {_MAX_CELLS:,} cells. Remove columns that are no labels")
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}. Save it as CSV again") from None
    if not rows:
        raise DataError(f"{path} is empty. It needs a column path and at least one column of labels")
    names = [name.lower() if name.lower() in _OWN else name for name in rows[0]]
    if len(names) < 2:
        raise DataError(
            f"{path} has one column, {names[0][:_SHOWN]!r}. It needs a column path and at least one column of labels, "
            "with commas, semicolons or tabs between them"
        )
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{path} has two columns {twice[0][:_SHOWN]!r}. Remove or rename one")
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, line {line} has {counted(len(row), 'cell')}, and the first line has {len(names)} columns. "
                "Put cells that hold the separator into quotes"
            )
    if len(rows) < 2:
        raise DataError(f"{path} holds no record, only its first line")
    cells = list(zip(*rows[1:], strict=True))
    return {name: [*cells[place]] for place, name in enumerate(names) if name}, lines[1:]


def _paths(path: Path, cells: Sequence[str], lines: Sequence[int], root: Path) -> list[str]:
    """Return the records' paths, after checking that none leads out of the folder or occurs twice."""
    first: dict[str, int] = {}
    paths = []
    for text, line in zip(cells, lines, strict=True):
        one = text.replace("\\", "/").removeprefix("./")
        if not one:
            raise DataError(f"{path}, line {line}: path is empty. Name the record's file below {root}")
        try:
            record_path(root, one)
        except RecordError:
            raise DataError(
                f"{path}, line {line}: the path {text[:_SHOWN]!r} leads out of the data folder. Paths are relative to "
                f"data.root={root}, without .."
            ) from None
        key = next((one.removesuffix(end) for end in _SUFFIXES if one.lower().endswith(end)), one)
        if key in first:
            raise DataError(
                f"{path}, line {line}: the record {text[:_SHOWN]!r} is in line {first[key]} already. Keep one of them"
            )
        first[key] = line
        paths.append(one)
    return paths


def _labels(
    path: Path, columns: dict[str, list[str]], lines: Sequence[int], asked: Sequence[str] | None
) -> dict[str, npt.NDArray[np.uint8]]:
    own = [name for name in columns if name not in _OWN]
    names = own if asked is None else list(asked)
    if absent := [name for name in names if name not in own]:
        raise DataError(f"{path} has no label column {absent[0][:_SHOWN]!r}. Its label columns are {_listed(own)}")
    if not names:
        raise DataError(f"{path} has no label column: each of its columns {_listed(columns)} has another meaning")
    for name in names:
        if len(name) > MAX_CLASS_NAME or not name.isprintable():
            raise DataError(
                f"{path}: the column {name[:_SHOWN]!r} has a name that is no class name. Use at most "
                f"{MAX_CLASS_NAME} characters, without control characters"
            )
        if name == "macro":
            raise DataError(f"{path}: a class cannot be called macro, which names the mean of all. Rename the column")
    found = {}
    for name in names:
        flags = [_FLAGS.get(cell.lower()) for cell in columns[name]]
        if None in flags:
            row = flags.index(None)
            cell = columns[name][row]
            meant = _MEANT.get(name.lower())
            way_out = f"If it holds the {meant}, call the column {meant}. " if meant else ""
            raise DataError(
                f"{path}, line {lines[row]}: {name} is {repr(cell[:_SHOWN]) if cell else 'empty'}. A label is 0 or 1 "
                f"(or true or false), with a column for each class. {way_out}If this column is no label, list those "
                "that are: data.labels=[A,B]"
            )
        found[name] = np.array(flags, dtype=np.uint8)
    return found


def _folds(
    path: Path,
    columns: dict[str, list[str]],
    lines: Sequence[int],
    names: Sequence[str],
    patients: npt.NDArray[np.int64],
    targets: npt.NDArray[np.uint8],
) -> npt.NDArray[np.int64]:
    """Return the (N,) folds of the table. Without a column of folds they are stratified, within each named split."""
    if "fold" in columns:
        allowed = {str(fold): fold for fold in range(1, N_FOLDS + 1)}
        given = [allowed.get(cell.removesuffix(".0"), 0) for cell in columns["fold"]]
        if 0 in given:
            row = given.index(0)
            raise DataError(
                f"{path}, line {lines[row]}: fold is {columns['fold'][row][:_SHOWN]!r}. Give a whole number from 1 to "
                f"{N_FOLDS}"
            )
        _check_together(path, names, given, "folds")
        return np.array(given, dtype=np.int64)
    if "split" not in columns:
        return stratified_folds(patients, targets, N_FOLDS)
    splits = [_SPLITS.get(cell.lower(), "") for cell in columns["split"]]
    if "" in splits:
        row = splits.index("")
        raise DataError(
            f"{path}, line {lines[row]}: split is {columns['split'][row][:_SHOWN]!r}. Write train, val or test"
        )
    _check_together(path, names, splits, "splits")
    folds = np.array([_HELD_OUT.get(split, 0) for split in splits], dtype=np.int64)
    train = folds == 0
    if train.any():
        folds[train] = stratified_folds(
            np.unique(patients[train], return_inverse=True)[1].astype(np.int64), targets[train], N_FOLDS - 2
        )
    return folds


def _check_together(path: Path, names: Sequence[str], parts: Sequence[object], what: str) -> None:
    first: dict[str, object] = {}
    for name, part in zip(names, parts, strict=True):
        if first.setdefault(name, part) != part:
            raise DataError(
                f"{path}: patient {name[:_SHOWN]!r} is in two {what} ({first[name]} and {part}), so scores would be "
                f"optimistic. Give all records of a patient one of the {what}"
            )


def _sexes(path: Path, cells: Sequence[str], lines: Sequence[int]) -> npt.NDArray[np.float64]:
    for cell, line in zip(cells, lines, strict=True):
        if cell.lower() not in _SEXES:
            raise DataError(
                f"{path}, line {line}: sex is {cell[:_SHOWN]!r}. Write male or female, or leave it empty; numbers do "
                "not say which is which"
            )
    return np.array([_SEXES[cell.lower()] for cell in cells])


def _ages(path: Path, cells: Sequence[str], lines: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the (N,) ages in years. An empty cell and an impossible age are not known."""
    ages = []
    for cell, line in zip(cells, lines, strict=True):
        try:
            age = float(cell or "nan")
        except ValueError:
            raise DataError(
                f"{path}, line {line}: age is {cell[:_SHOWN]!r}. Write the years as a number, or leave it empty"
            ) from None
        ages.append(age if 0 <= age < 400 else np.nan)
    return np.array(ages)


def _listed(names: Sequence[str] | dict[str, list[str]]) -> str:
    return ", ".join(name[:_SHOWN] for name in [*names][:20]) or "none"
