"""Labels of PTB-XL: the two tables, the six tasks of the benchmark, the label rules and the counts per split.

Source: Wagner et al., "PTB-XL, a large publicly available electrocardiography dataset" (Sci Data 2020,
doi 10.1038/s41597-020-0495-6) and Strodthoff et al., "Deep Learning for ECG Analysis: Benchmarks and Insights
from PTB-XL" (JBHI 2021, doi 10.1109/JBHI.2020.3022989).
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecg_lightning.errors import DataError
from ecg_lightning.system.regular_files import read_regular

SUPERCLASSES = ("CD", "HYP", "MI", "NORM", "STTC")
"""The order of every target: conduction disturbance, hypertrophy, myocardial infarction, normal, ST/T change."""

TASKS = {
    "superdiagnostic": ("diagnostic", "diagnostic_class"),
    "subdiagnostic": ("diagnostic", "diagnostic_subclass"),
    "diagnostic": ("diagnostic", None),
    "form": ("form", None),
    "rhythm": ("rhythm", None),
    "all": (None, None),
}
"""The benchmark's tasks. Each has the flag of `scp_statements.csv` that a code needs (None: any code) and the column
that names its class (None: the code itself). They have 5, 23, 44, 19, 12 and 71 classes (Strodthoff et al. 2021,
table 2)."""

LABEL_RULES: dict[str, Callable[[float], bool]] = {
    # The benchmark counts a code whatever its likelihood, because 0 means "present but not graded".
    "benchmark": lambda likelihood: True,
    "ge50": lambda likelihood: likelihood >= 50.0,
    "eq100": lambda likelihood: likelihood == 100.0,
}

SPLITS: dict[str, tuple[int, ...]] = {"train": tuple(range(1, 9)), "val": (9,), "test": (10,)}
"""The official folds (`strat_fold`) of each split."""

MAX_TABLE_BYTES = 64 * 2**20
"""The largest size of a table that is read. PTB-XL's has 6.6 MB."""

_MAX_CELLS = 5_000_000  # PTB-XL's table has 0.6 million
_MAX_HEADER = 65_536
_MAX_CODES = 10_000  # in characters; PTB-XL's longest have 128
_DATABASE_COLUMNS = ("ecg_id", "patient_id", "scp_codes", "strat_fold", "filename_lr", "filename_hr")
_STATEMENT_COLUMNS = ("diagnostic", "diagnostic_class")
_WHOLE_NUMBER = r"(?a:\s*\d{1,15}(?:\.0*)?\s*)"  # a float64 holds 15 digits exactly
_FLAGS = {"1": True, "1.0": True, "0": False, "0.0": False, "": False}
_NUMBER = r"(?:0|[1-9][0-9]*)(?:\.[0-9]*)?"
_CODES = re.compile(rf"\{{(?:'[^'\\]+': {_NUMBER}(?:, '[^'\\]+': {_NUMBER})*)?\}}")
_CODE = re.compile(r"'([^']+)': ([0-9.]+)")


def read_database(path: Path) -> pd.DataFrame:
    """Read and check `ptbxl_database.csv`. Return one row per record, indexed by `ecg_id`.

    Raises:
        DataError: the file is missing or is not this table, or a row holds an unusable value.
    """
    table = read_table(path, _DATABASE_COLUMNS, "PTB-XL's ptbxl_database.csv", as_text=_DATABASE_COLUMNS)
    if table.empty:
        raise DataError(f"{path} holds no record; use PTB-XL's own ptbxl_database.csv")
    for column in ("ecg_id", "patient_id", "strat_fold"):
        whole = table[column].str.fullmatch(_WHOLE_NUMBER).fillna(False).astype(bool)
        numbers = table[column].where(whole, "0").astype(float).astype(np.int64)
        bad = ~whole | ((column == "strat_fold") & ~numbers.between(1, 10))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            allowed = "a fold from 1 to 10" if column == "strat_fold" else "a whole number of at most 15 digits"
            raise DataError(
                f"{path}, line {row + 2}: {column} is {str(table[column].iloc[row])[:40]}, expected {allowed}; "
                "restore the file from PTB-XL"
            )
        table[column] = numbers
    if (twice := table["ecg_id"].duplicated()).any():
        raise DataError(f"{path}: ecg_id {table['ecg_id'][twice].iloc[0]} occurs twice; restore the file from PTB-XL")
    for column in ("scp_codes", "filename_lr", "filename_hr"):
        if (empty := table[column].isna()).any():
            row = int(np.flatnonzero(empty)[0])
            raise DataError(f"{path}, line {row + 2}: {column} is empty; restore the file from PTB-XL")
        if column == "scp_codes":
            continue
        table[column] = table[column].str.replace("\\", "/")  # editors on Windows may write backslashes
        if (twice := table[column].duplicated()).any():
            raise DataError(
                f"{path}: {column} {table[column][twice].iloc[0]} occurs twice; restore the file from PTB-XL"
            )
    for column in {"age", "sex"} & {*table.columns}:
        table[column] = _finite_numbers(table[column])
    return table.set_index("ecg_id")


def read_statements(path: Path, task: str = "superdiagnostic") -> dict[str, str | None]:
    """Return every SCP code of `scp_statements.csv` → its class in a task, or None if it has none.

    Args:
        path: the path of `scp_statements.csv`.
        task: a task of `TASKS`; the superclasses by default.

    Raises:
        DataError: the file is missing, is not this table, or does not map to the five superclasses.
    """
    flag, column = TASKS[task]
    needed = (*_STATEMENT_COLUMNS, *(name for name in (flag, column) if name and name not in _STATEMENT_COLUMNS))
    table = read_table(path, needed, "PTB-XL's scp_statements.csv", as_text=needed)
    if (empty := table.iloc[:, 0].isna()).any():
        line = int(np.flatnonzero(empty)[0]) + 2
        raise DataError(f"{path}, line {line}: the SCP code is empty; restore the file from PTB-XL")
    codes = table.iloc[:, 0].astype(str)
    if (twice := codes.duplicated()).any():
        raise DataError(f"{path}: code {codes[twice].iloc[0]} occurs twice; restore the file from PTB-XL")
    chosen = pd.Series(True, table.index) if flag is None else _flags(table[flag], codes, path)
    names = table[column] if column else codes
    if (nameless := chosen & names.isna()).any():
        raise DataError(
            f"{path}: code {codes[nameless].iloc[0]} has {flag}=1 but no {column}; restore the file from PTB-XL"
        )
    classes = {code: str(name) if one else None for code, name, one in zip(codes, names, chosen, strict=True)}
    if task != "superdiagnostic":
        if not any(classes.values()):
            raise DataError(f"{path} has no code for the task {task}; use PTB-XL's own scp_statements.csv")
        return classes
    if (found := {name for name in classes.values() if name}) != set(SUPERCLASSES):
        raise DataError(
            f"{path}: its diagnostic classes are {sorted(found)}, expected {list(SUPERCLASSES)}; use "
            "scp_statements.csv from the same PTB-XL version as ptbxl_database.csv"
        )
    return classes


def task_classes(statements: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the classes that statements of `read_statements` map to, in the benchmark's alphabetical order."""
    return tuple(sorted({name for name in statements.values() if name}))


def label_targets(
    scp_codes: Sequence[str],
    statements: Mapping[str, str | None],
    rule: str = "benchmark",
    where: str = "scp_codes",
    classes: Sequence[str] = SUPERCLASSES,
) -> npt.NDArray[np.uint8]:
    """Return the (N, C) multi-hot targets of N records.

    Args:
        scp_codes: each record's codes in PTB-XL's notation: `{'NORM': 100.0, 'SR': 0.0}` (code: likelihood in %).
        statements: SCP code → class or None, from `read_statements`.
        rule: the rule for which likelihoods count, from `LABEL_RULES`.
        where: the table's name, for messages.
        classes: the classes of the columns, from `task_classes`.

    Returns:
        (N, C) array of 0 and 1, columns in the order of `classes`.

    Raises:
        DataError: a value is not such a dictionary, or names a code that the statements do not have.
    """
    counts = LABEL_RULES[rule]
    column = {code: classes.index(name) if name else None for code, name in statements.items()}
    targets = np.zeros((len(scp_codes), len(classes)), dtype=np.uint8)
    for row, text in enumerate(scp_codes):
        for code, likelihood in _parse_codes(text, f"{where}, record {row + 1}"):
            if code not in column:
                raise DataError(
                    f"{where}, record {row + 1}: SCP code {code!r} has no row in scp_statements.csv; use both "
                    "files from the same PTB-XL version"
                )
            if not 0 <= likelihood <= 100:
                raise DataError(
                    f"{where}, record {row + 1}: SCP code {code!r} has likelihood {likelihood:g}, expected 0 to 100 %; "
                    "restore the file from PTB-XL"
                )
            if (index := column[code]) is not None and counts(likelihood):
                targets[row, index] = 1
    return targets


def counts_by_split(targets: npt.NDArray[np.uint8], folds: npt.NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Return the numbers of records, labelled records and positives per superclass, by official split and in all."""
    counts = {}
    for split, members in {**SPLITS, "all": tuple(range(1, 11))}.items():
        chosen = targets[np.isin(folds, members)]
        positives = dict(zip(SUPERCLASSES, (int(n) for n in chosen.sum(axis=0)), strict=True))
        counts[split] = {"records": len(chosen), "labelled": int(chosen.any(axis=1).sum()), **positives}
    return counts


def _parse_codes(text: str, where: str) -> list[tuple[str, float]]:
    try:
        if _CODES.fullmatch(text):  # 59 times faster than literal_eval; PTB-XL's files hold nothing else
            return [(code, float(likelihood)) for code, likelihood in dict(_CODE.findall(text)).items()]
        codes: dict[str, float] = ast.literal_eval(text if len(text) <= _MAX_CODES else "")
        return [(str(code), float(likelihood)) for code, likelihood in codes.items()]
    except (ValueError, SyntaxError, AttributeError, TypeError, OverflowError, MemoryError, RecursionError):
        raise DataError(
            f"{where}: scp_codes is {text[:80]!r}, expected a dictionary such as {{'NORM': 100.0}}; "
            "restore the file from PTB-XL"
        ) from None


def _flags(column: pd.Series[str], codes: pd.Series[str], path: Path) -> pd.Series[bool]:
    """Return for each code whether it has a flag. PTB-XL writes 1 or nothing."""
    text = column.fillna("").str.strip()
    if (unknown := ~text.isin(list(_FLAGS))).any():
        raise DataError(
            f"{path}: code {codes[unknown].iloc[0]} has {column.name} {text[unknown].iloc[0][:40]}, expected 1 or "
            "nothing; restore the file from PTB-XL"
        )
    return text.map(_FLAGS).astype(bool)


def _finite_numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """Return the numbers of a column that no label depends on, with NaN for other values."""
    numbers = pd.to_numeric(column.astype(str), errors="coerce").astype(float)  # whole numbers may overflow
    return numbers.where(np.isfinite(numbers))


def read_table(path: Path, columns: Sequence[str], what: str, as_text: Sequence[str] = ()) -> pd.DataFrame:
    """Return the content of a CSV file of limited size.

    Args:
        path: the path of the file.
        columns: the required columns.
        what: the expected kind of file, for the error.
        as_text: the columns that are not converted to numbers.

    Raises:
        DataError: the file does not exist, is not a regular file, is too large, is not a table, or lacks a column.
    """
    try:
        content = read_regular(path, MAX_TABLE_BYTES)
        _check_shape(content)
        table = pd.read_csv(io.BytesIO(content), dtype=dict.fromkeys(as_text, str))
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes an extra cell as the name of its row
            raise ValueError("its rows have more cells than its first line has columns")
    except FileNotFoundError:
        raise DataError(f"{path} is not there; it should be {what}") from None
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path} cannot be read as a table ({str(error).strip()[:300]}); it should be {what}") from None
    if missing := [name for name in columns if name not in table.columns]:
        raise DataError(f"{path} has no column {', '.join(missing)}; it should be {what}")
    return table


def _check_shape(content: bytes) -> None:
    """Refuse duplicate column names, and what would cost pandas minutes: an endless line, or very many cells."""
    header = content[: _MAX_HEADER + 1].splitlines()[:1]
    if not header:
        return
    if len(header[0]) > _MAX_HEADER or header[0].count(b'"') % 2:
        raise ValueError("its first line does not end")
    columns = next(csv.reader([header[0].decode("utf-8-sig")]), [])
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise ValueError(f"two of its columns are named {twice[0][:40]!r}")
    n_columns = len(columns)
    n_lines = content.count(b"\n") + content.count(b"\r")
    if max(content.count(b","), n_columns * n_lines) > _MAX_CELLS:
        raise ValueError(f"it has more than {_MAX_CELLS:,} cells")
