"""The name of a data set, by which folds of two folders are compared: the same name means the same patients."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from ecg_lightning.data.labels import read_database
from ecg_lightning.data.ptbxl import MAX_MARKER_BYTES, SYNTHETIC_MARKER, TABLES
from ecg_lightning.data.regular_files import read_regular

PTBXL = "PTB-XL"
"""The name of any folder, version or part of PTB-XL."""

N_PTBXL = 21_799
"""Number of records of PTB-XL 1.0.3 (https://physionet.org/content/ptb-xl/1.0.3/)."""

_PATIENTS = Path(__file__).with_name("ptbxl_patients.txt")
"""Character k is the last hexadecimal digit of the `patient_id` of `ecg_id` k in PTB-XL 1.0.3 (CC BY 4.0), or a dot
where there is no such record."""

_SAME = 0.9  # share of records whose patient must agree; of another data set one in sixteen does by chance


def dataset_name(root: Path) -> str:
    """Return the name of the data set that a folder holds, whole or in part, at any rate.

    Returns:
        `PTB-XL`, recognised by its patients; `synthetic, seed N` of a synthetic folder, whose records and folds do not
        depend on their number; else `table HASH`, by the numbers of records and patients in its table.

    Raises:
        DataError: the folder's table cannot be used.
    """
    if (seed := _synthetic_seed(root)) is not None:
        return synthetic_name(seed)
    table = read_database(root / TABLES[0])
    if _is_ptbxl(table):
        return PTBXL
    pairs = np.stack([table.index.to_numpy(np.int64), table["patient_id"].to_numpy(np.int64)], axis=1)
    return f"table {hashlib.sha256(pairs[pairs[:, 0].argsort()].astype('<i8').tobytes()).hexdigest()[:12]}"


def synthetic_name(seed: int) -> str:
    """Return the name of the synthetic data set of a seed."""
    return f"synthetic, seed {seed}"


def _synthetic_seed(root: Path) -> int | None:
    try:
        marker = json.loads(read_regular(root / SYNTHETIC_MARKER, MAX_MARKER_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    seed = marker.get("seed") if isinstance(marker, dict) else None
    return seed if isinstance(seed, int) else None


def _is_ptbxl(table: pd.DataFrame) -> bool:
    known = np.frombuffer(_PATIENTS.read_text().replace("\n", "").encode(), dtype=np.uint8)
    ecg_ids = table.index.to_numpy(np.int64)
    inside = (ecg_ids >= 1) & (ecg_ids <= len(known))
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[table["patient_id"].to_numpy(np.int64) % 16]
    return bool((inside & (known[np.clip(ecg_ids, 1, len(known)) - 1] == digits)).mean() >= _SAME)
