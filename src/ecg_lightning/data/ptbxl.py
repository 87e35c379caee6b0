"""A PTB-XL folder: its tables are checked and labelled, and its records read, before any training starts."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecg_lightning.data.cache import SignalCache, cache_folder, open_cache
from ecg_lightning.data.labels import SUPERCLASSES, label_targets, read_database, read_statements, task_classes
from ecg_lightning.data.source import Records
from ecg_lightning.errors import DataError
from ecg_lightning.text import printable

log = logging.getLogger(__name__)

FILENAME_COLUMN = {100: "filename_lr", 500: "filename_hr"}
TABLES = ("ptbxl_database.csv", "scp_statements.csv")
SYNTHETIC_MARKER = "SYNTHETIC.json"
"""The file that marks a folder as synthetic."""

SYNTHETIC_DEVICE = "SYNTHETIC"
"""The recording device in a synthetic folder's table."""

MAX_MARKER_BYTES = 65_536

_NAMED = 120  # characters of a file name that a message shows

VERSIONS = {21837: "1.0.1", 21801: "1.0.2", 21799: "1.0.3"}
"""The number of records in each PTB-XL version (PhysioNet's pages)."""


def read_ptbxl(
    root: Path,
    *,
    sampling_rate: int = 100,
    label_rule: str = "benchmark",
    task: str = "superdiagnostic",
    folds: Sequence[int] = tuple(range(1, 11)),
    keep_unlabelled: bool = False,
    on_bad_record: str = "error",
    cache_dir: Path | None = None,
) -> Records:
    """Return the records of `folds` from PTB-XL's own folder (1.0.1 to 1.0.3, full or partial).

    Args:
        root: the folder that holds `ptbxl_database.csv`; it is only read.
        sampling_rate: 100 or 500 Hz.
        label_rule: a rule of `labels.LABEL_RULES`.
        task: a task of `labels.TASKS`.
        folds: the folds that are needed; the files of other folds need not exist.
        keep_unlabelled: keep records without any class of the task, as all-zero targets.
        on_bad_record: `error` stops at missing or bad records, `skip` leaves them out and counts them.
        cache_dir: the folder of the signal cache; the user's cache folder by default.

    Raises:
        DataError: the folder is not PTB-XL, has no signals at this rate, or holds records that cannot be used.
    """
    table, targets = read_tables(root, label_rule, task)
    strat_folds = table["strat_fold"].to_numpy()
    needed = np.isin(strat_folds, list(folds))
    if not needed.any():
        raise DataError(
            f"{root} holds no record of the folds {sorted(folds)}. Choose other folds, or use a more complete copy"
        )
    _check_rate(root, table[needed], sampling_rate)
    # One cache serves the whole folder, so that other folds do not read it again.
    names = table[FILENAME_COLUMN[sampling_rate]].astype(str).tolist()
    cache = open_cache(root, names, sampling_rate, cache_folder(cache_dir))
    _report_bad(root, table, sampling_rate, cache, needed, on_bad_record)
    read = np.array([index in cache.row_of for index in range(len(table))])
    usable = needed & read
    chosen = np.flatnonzero(usable if keep_unlabelled else _labelled(usable, targets))
    if not chosen.size:
        raise DataError(
            f"{root} holds no usable labelled record in the folds {sorted(folds)}. Choose other folds, or set "
            "data.keep_unlabelled=true"
        )
    return Records(
        ecg_ids=table.index.to_numpy(dtype=np.int64)[chosen],
        patient_ids=table["patient_id"].to_numpy(dtype=np.int64)[chosen],
        folds=table["strat_fold"].to_numpy(dtype=np.int64)[chosen],
        targets=targets[chosen],
        rows=np.array([cache.row_of[int(index)] for index in chosen], dtype=np.int64),
        cache=cache,
        root_hash=_root_hash(root, cache),
        left_out={fold: int((strat_folds[~read] == fold).sum()) for fold in folds},
        version="synthetic" if (root / SYNTHETIC_MARKER).exists() else version_of(len(table)),
    )


def _labelled(usable: npt.NDArray[np.bool_], targets: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return the usable records that have a class, and log the number of the others."""
    labelled = targets.any(axis=1)
    if n_unlabelled := int((usable & ~labelled).sum()):
        log.info("%d records without a class are left out (data.keep_unlabelled=true keeps them)", n_unlabelled)
    return usable & labelled


def check_root(root: Path) -> None:
    """Refuse a folder that is not PTB-XL's. The folder is never created, and nothing is downloaded into it.

    Raises:
        DataError: the folder or one of its two tables does not exist.
    """
    if not root.is_dir():
        why = "is not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"{root} {why}; nothing was downloaded. Name the folder that holds ptbxl_database.csv with "
            "data.root=DIR, in Python with root=DIR, or try data=synthetic"
        )
    if absent := [name for name in TABLES if not (root / name).is_file()]:
        raise DataError(
            f"{root} is not a PTB-XL folder: {' and '.join(absent)} {'are' if absent[1:] else 'is'} missing. Name "
            "the folder that holds PTB-XL's own files (ptbxl_database.csv, scp_statements.csv, records100/)"
        )


def read_classes(root: Path, task: str) -> tuple[str, ...]:
    """Return the classes of a task, from the folder's own statements.

    Raises:
        DataError: the folder is not PTB-XL, or its statements cannot be used.
    """
    if task == "superdiagnostic":
        return SUPERCLASSES
    check_root(root)
    return task_classes(read_statements(root / TABLES[1], task))


def read_tables(
    root: Path, label_rule: str = "benchmark", task: str = "superdiagnostic"
) -> tuple[pd.DataFrame, npt.NDArray[np.uint8]]:
    """Return both tables of a PTB-XL folder: its records, and their (N, C) targets.

    Raises:
        DataError: the folder is not PTB-XL, or its labels cannot be right.
    """
    check_root(root)
    database, statements = (root / name for name in TABLES)
    table, codes = read_database(database), read_statements(statements, task)
    targets = label_targets(
        table["scp_codes"].astype(str).tolist(),
        codes,
        label_rule,
        str(database),
        task_classes(codes),
    )
    if not targets.any():
        raise DataError(
            f"no record of {root} has any class of the task {task} by the rule {label_rule}: scp_statements.csv does "
            "not belong to this ptbxl_database.csv, or its scp_codes are empty. Restore both files from one PTB-XL "
            "version"
        )
    return table, targets


def version_of(n_records: int) -> str:
    """Return the PTB-XL version with this number of records, or `unknown` for a subset or another data set."""
    return VERSIONS.get(n_records, "unknown")


def _root_hash(root: Path, cache: SignalCache) -> str:
    tables = (hashlib.sha256((root / name).read_bytes()).hexdigest() for name in TABLES)
    return hashlib.sha256("|".join([*tables, cache.content_hash]).encode()).hexdigest()


def _check_rate(root: Path, table: pd.DataFrame, sampling_rate: int) -> None:
    """Refuse a rate without any signal file. The message names the other rate if that one has files."""
    if _any_file(root, table, sampling_rate):
        return
    other = 600 - sampling_rate
    if _any_file(root, table, other):
        raise DataError(
            f"{root} holds signal files at {other} Hz, but none at {sampling_rate} Hz. Set data.sampling_rate={other}"
        )
    first = table[FILENAME_COLUMN[sampling_rate]].iloc[0][:_NAMED]
    looked = f"{root} holds no signal file of these folds, at 100 or 500 Hz (first missing file: {first}.dat)"
    if (root / f"records{sampling_rate}").is_dir():
        raise DataError(
            f"{looked}. Compare the file names in records{sampling_rate}/ with the column "
            f"{FILENAME_COLUMN[sampling_rate]} of {TABLES[0]}"
        )
    raise DataError(f"{looked}. Copy records{sampling_rate}/ to {root}")


def _check_other_rate(root: Path, table: pd.DataFrame, sampling_rate: int, missing: Sequence[int]) -> None:
    """Refuse a rate if all records that are missing at it exist at the other rate, as in a partial copy of PTB-XL."""
    other = 600 - sampling_rate
    there = sum(_any_file(root, table.iloc[[index]], other) for index in missing)
    if there == len(missing):
        raise DataError(
            f"{root} has the files of {len(missing):,} records at {other} Hz, but not at {sampling_rate} Hz. Set "
            f"data.sampling_rate={other}, or copy records{sampling_rate}/ to {root}"
        )


def _any_file(root: Path, table: pd.DataFrame, sampling_rate: int) -> bool:
    # os.path.exists returns False where Path.exists raises: for a name that is too long or a folder without access.
    return any(os.path.exists(f"{root}/{name}.dat") for name in table[FILENAME_COLUMN[sampling_rate]])  # noqa: PTH110


def _report_bad(
    root: Path,
    table: pd.DataFrame,
    sampling_rate: int,
    cache: SignalCache,
    needed: npt.NDArray[np.bool_],
    on_bad_record: str,
) -> None:
    """Log missing and bad records among the needed ones, or refuse them if `on_bad_record` is `error`."""
    names, ecg_ids = table[FILENAME_COLUMN[sampling_rate]].astype(str).tolist(), table.index.to_numpy()
    n_needed = int(needed.sum())
    complaints = []
    missing = [index for index in cache.missing if needed[index]]
    if on_bad_record == "error" and len(missing) > n_needed / 2:
        _check_other_rate(root, table, sampling_rate, missing)
    if missing:
        complaints.append(
            f"the files of {len(missing):,} of {n_needed:,} records are missing under {root} "
            f"(first: {names[missing[0]][:_NAMED]})"
        )
    if bad := {index: reason for index, reason in cache.bad.items() if needed[index]}:
        index, reason = next(iter(bad.items()))
        complaints.append(
            f"{len(bad):,} of {n_needed:,} records are bad "
            f"(first: {root / names[index][:_NAMED]}, ecg_id {ecg_ids[index]}: {reason})"
        )
    if complaints and on_bad_record == "error":
        raise DataError(
            f"{'; '.join(complaints)}. Restore the files, or set data.on_bad_record=skip to leave these records out"
        )
    for complaint in complaints:
        log.warning("left out: %s", printable(complaint))
    for index, reason in bad.items():
        log.info("left out: %s (ecg_id %d): %s", printable(names[index][:_NAMED]), ecg_ids[index], printable(reason))
