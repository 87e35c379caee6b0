"""PTB-XL's two tables, against Python's own csv module."""

from __future__ import annotations

import ast
import csv
import io
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from ecg_lightning.data.labels import SUPERCLASSES, TASKS, read_statements
from ecg_lightning.data.ptbxl import read_ptbxl
from fuzz.good_files import LEADS, N_SAMPLES, ptbxl_folder
from fuzz.lanes import Target, WrongAnswerError
from fuzz.mutation import damaged_bytes, damaged_text

_MISSING = {"", "nan", "NaN", "None", "null", "NULL", "NA", "N/A", "n/a", "<NA>", "#N/A", "-nan", "-NaN"}


def targets(folder: Path) -> list[Target]:
    """Return the targets, with their good files in `folder`."""
    root = ptbxl_folder(folder)
    database, statements = ((root / name).read_text() for name in ("ptbxl_database.csv", "scp_statements.csv"))
    other = folder / "other"
    other.mkdir()
    shutil.copy(root / "scp_statements.csv", other)
    return [
        Target("ptbxl_database.csv", _damaged(database), partial(_check_database, root, folder / "cache")),
        Target(
            "scp_statements.csv",
            st.tuples(_damaged(statements), st.sampled_from(sorted(TASKS))),
            partial(_check_statements, other / "scp_statements.csv"),
        ),
    ]


def _damaged(good: str) -> st.SearchStrategy[bytes]:
    return st.one_of(damaged_text(good, ","), damaged_text(good, ","), damaged_bytes(good.encode(), 3))


def _rows(content: bytes) -> list[dict[str, str]]:
    """Rows by column, by the csv module; a row may be short of cells, and has none too many."""
    table = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if row]
    header = table[0]
    if any(len(row) > len(header) for row in table):
        raise WrongAnswerError("a row with more cells than the table has columns was accepted")
    return [dict(zip(header, row + [""] * (len(header) - len(row)), strict=True)) for row in table[1:]]


def _whole(text: str) -> int:
    return int(text) if text.strip().lstrip("+-").isdecimal() and text.isascii() else int(float(text))


def _check_database(root: Path, cache: Path, content: bytes) -> None:
    (root / "ptbxl_database.csv").write_bytes(content)
    found = read_ptbxl(root, cache_dir=cache, on_bad_record="skip")
    rows = _rows(content)
    classes = _classes((root / "scp_statements.csv").read_bytes(), "superdiagnostic")
    expected = {_whole(row["ecg_id"]): row for row in rows}
    if len(expected) != len(rows):
        raise WrongAnswerError("an ecg_id that stands twice was accepted")
    for place, ecg_id in enumerate(found.ecg_ids.tolist()):
        row = expected.get(ecg_id)
        if row is None:
            raise WrongAnswerError(f"ecg_id {ecg_id} is not in the table")
        for name, value in (("patient_id", found.patient_ids), ("strat_fold", found.folds)):
            if _whole(row[name]) != value[place]:
                raise WrongAnswerError(f"ecg_id {ecg_id}: {name} is {value[place]}, the table says {row[name][:40]}")
        codes = ast.literal_eval(row["scp_codes"])
        names = {classes[code] for code in codes} - {None}
        if names != {name for name, flag in zip(SUPERCLASSES, found.targets[place], strict=True) if flag}:
            raise WrongAnswerError(f"ecg_id {ecg_id}: classes differ, codes {row['scp_codes'][:80]}")
        signals_TC = np.fromfile(root / f"{row['filename_lr']}.dat", "<i2").reshape(N_SAMPLES, len(LEADS))
        if not np.array_equal(found.cache.signals_NCT[found.rows[place]], signals_TC.T):
            raise WrongAnswerError(f"ecg_id {ecg_id}: another record's signals")


def _classes(content: bytes, task: str) -> dict[str, str | None]:
    """SCP code → class of a task."""
    flag, column = TASKS[task]
    rows = _rows(content)
    first = next(iter(rows[0]))
    found: dict[str, str | None] = {}
    for row in rows:
        if row[first] in _MISSING:
            continue
        counts = flag is None or (row[flag] not in _MISSING and _number(row[flag]) == 1.0)
        found[row[first]] = row[column or first] if counts else None
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _check_statements(path: Path, drawn: tuple[bytes, str]) -> None:
    content, task = drawn
    path.write_bytes(content)
    found = read_statements(path, task)
    expected = _classes(content, task)
    differing = [code for code in {*found, *expected} if found.get(code) != expected.get(code)]
    if differing:
        code = differing[0]
        raise WrongAnswerError(f"{task}: {code[:40]!r} is {found.get(code)!r}, the table says {expected.get(code)!r}")
