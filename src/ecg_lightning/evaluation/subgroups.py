"""Scores of parts of a split: by sex, age, device, signal quality and origin of the record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.decisions import Decided, macro_scores
from ecg_lightning.evaluation.predictions import Predictions, read_table_of

MIN_POSITIVES = 20
"""A class with fewer positive records in a group is left out of its scores."""

_SEX = {0: "male", 1: "female"}  # PTB-XL's coding (Wagner et al. 2020, table 2)
_AGES = {"under 40": (0, 40), "40–64": (40, 65), "65–79": (65, 80), "80 and over": (80, np.inf)}
_NOISE = ("baseline_drift", "static_noise", "burst_noise", "electrodes_problems")


@dataclass(frozen=True)
class Subgroup:
    """Scores of one group.

    Attributes:
        by: what the records are grouped by.
        name: of the group.
        n_records: in it.
        classes: that have at least `MIN_POSITIVES` positive records and as many others in it.
        f1: macro F1 over these classes, None where there are none.
        auroc: macro AUROC over these classes, None where there are none.
    """

    by: str
    name: str
    n_records: int
    classes: tuple[str, ...]
    f1: Interval | None
    auroc: Interval | None


def subgroups(decided: Decided, split: Predictions, root: Path, n_resamples: int = 1000) -> list[Subgroup]:
    """Score every group of a split, with the calibration and the thresholds of the whole.

    Args:
        decided: of the split.
        split: what was predicted.
        root: the PTB-XL folder, whose table knows the records.
        n_resamples: of the bootstrap by patient.

    Raises:
        DataError: the table cannot be used, or does not know a record.
    """
    rows, found = read_table_of([split], root).loc[split.ecg_ids], []
    for by, name, chosen_N in _groups(rows, root):
        targets_NC = split.targets_NC[chosen_N]
        positives_C = targets_NC.sum(axis=0)
        kept_C = (positives_C >= MIN_POSITIVES) & (len(targets_NC) - positives_C >= MIN_POSITIVES)
        f1 = auroc = None
        if kept_C.any():
            weights_RN = bootstrap.patient_weights(split.patient_ids[chosen_N], n_resamples)
            part = Decided(decided.probabilities_NC[chosen_N][:, kept_C], decided.thresholds_C[kept_C])
            f1, auroc = map(bootstrap.interval, macro_scores(part, targets_NC[:, kept_C], weights_RN))
        classes = tuple(name for name, kept in zip(split.classes, kept_C, strict=True) if kept)
        found.append(Subgroup(by, name, len(targets_NC), classes, f1, auroc))
    return found


def _groups(rows: pd.DataFrame, root: Path) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """What records are grouped by, each group's name, and its (N,) members."""
    if "sex" in rows:
        for code, name in _SEX.items():
            yield "sex", name, (rows["sex"] == code).to_numpy()
    if "age" in rows:
        age = pd.to_numeric(rows["age"], errors="coerce")  # 300 stands for more than 89
        for name, (least, below) in _AGES.items():
            yield "age", name, ((age >= least) & (age < below)).to_numpy()
    if "device" in rows:
        devices = rows["device"].fillna("not given").astype(str).str.split().str.join(" ")
        for name in devices.value_counts().index:
            yield "device", str(name), (devices == name).to_numpy()
    if set(_NOISE) <= set(rows):
        flagged = (
            rows[list(_NOISE)].astype("string").fillna("").apply(lambda column: column.str.strip() != "").any(axis=1)
        )
        for name, chosen in (("flagged", flagged), ("clean", ~flagged)):
            yield "noise", name, chosen.to_numpy()
    if (provenance := root / "PROVENANCE.csv").is_file():  # a subset whose 100 Hz records are partly made from 500 Hz
        origins = pd.read_csv(provenance).set_index("ecg_id")["origin_100hz"].reindex(rows.index)
        for name in origins.dropna().unique():
            yield "origin", str(name), (origins == name).to_numpy()
