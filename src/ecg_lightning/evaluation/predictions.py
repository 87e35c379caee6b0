"""A run's predictions, record by record: a table that evaluations and comparisons read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecg_lightning.data.labels import read_table
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation.calibration import LINKS, logit, probabilities
from ecg_lightning.system.disk import write_whole

if TYPE_CHECKING:
    from ecg_lightning.data.datamodule import SignalDataset

PREDICTIONS_FILE = "predictions.csv"
_KEYS = ("split", "ecg_id", "patient_id")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """The logits and labels of one split's records.

    Attributes:
        classes: the names of the C classes.
        link: the function from logits to probabilities; see `calibration.probabilities`.
        ecg_ids: (N,) PTB-XL's record numbers.
        patient_ids: (N,) patient numbers.
        targets_NC: (N, C) labels.
        logits_NC: (N, C) logits.
        spreads_NC: (N, C) standard deviations of the probabilities of an ensemble's members; None for one model.
    """

    classes: tuple[str, ...]
    link: str
    ecg_ids: npt.NDArray[np.int64]
    patient_ids: npt.NDArray[np.int64]
    targets_NC: npt.NDArray[np.bool_]
    logits_NC: Floats
    spreads_NC: Floats | None = None

    def probabilities(self, temperature: float = 1.0) -> Floats:
        """Return the (N, C) probabilities of the logits divided by the temperature."""
        return probabilities(self.logits_NC, temperature, self.link)


def predictions_of(
    classes: Sequence[str],
    link: str,
    dataset: SignalDataset,
    logits_NC: Floats,
    spreads_NC: Floats | None = None,
) -> Predictions:
    """Return the predictions of a model, or of its exported file, for the first N records of a split."""
    n_records = len(logits_NC)
    return Predictions(
        classes=tuple(classes),
        link=link,
        ecg_ids=dataset.ecg_ids[:n_records],
        patient_ids=dataset.patient_ids[:n_records],
        targets_NC=dataset.targets[:n_records].numpy().astype(bool),
        logits_NC=logits_NC,
        spreads_NC=spreads_NC,
    )


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """Return predictions of different records, by models of the same classes, as one. Spreads are dropped."""
    return Predictions(
        parts[0].classes,
        parts[0].link,
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("ecg_ids", "patient_ids", "targets_NC", "logits_NC")
        ),
    )


def aligned(part: Predictions, like: Predictions) -> Predictions:
    """Return predictions in the order of the records of other predictions.

    Raises:
        DataError: classes, records or labels differ.
    """
    rows = np.argsort(part.ecg_ids)
    if part.classes != like.classes:
        raise DataError(
            f"the runs predict different classes ({', '.join(part.classes)} and {', '.join(like.classes)}). Name "
            "runs of one data.task"
        )
    if len(rows) == len(like.ecg_ids):
        found = of_rows(part, rows[np.argsort(np.argsort(like.ecg_ids))])
        if np.array_equal(found.ecg_ids, like.ecg_ids) and np.array_equal(found.targets_NC, like.targets_NC):
            return found
    raise DataError(
        f"the runs predict different records or labels ({len(part.ecg_ids)} and {len(like.ecg_ids)} records). "
        "Name runs with the same folds, records and label rule"
    )


def in_order(predictions: Predictions) -> Predictions:
    """Return predictions sorted by record number."""
    return of_rows(predictions, np.argsort(predictions.ecg_ids))


def of_rows(predictions: Predictions, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Predictions:
    """Return the predictions of some of the records. `rows` holds their indices, or a flag for each record."""
    spreads_NC = predictions.spreads_NC
    return replace(
        predictions,
        ecg_ids=predictions.ecg_ids[rows],
        patient_ids=predictions.patient_ids[rows],
        targets_NC=predictions.targets_NC[rows],
        logits_NC=predictions.logits_NC[rows],
        spreads_NC=None if spreads_NC is None else spreads_NC[rows],
    )


def averaged(parts: Sequence[Predictions]) -> Predictions:
    """Return the mean probabilities of several models on the same records, in the first one's order, without spreads.

    Raises:
        DataError: classes, records or labels differ, or only some of the models treat classes as independent.
    """
    first = parts[0]
    if len(links := {part.link for part in parts}) > 1:
        raise DataError(
            f"predictions of {' and '.join(sorted(links))} models cannot be averaged. Name runs with one model.loss"
        )
    mean_NC = np.mean([aligned(part, first).probabilities() for part in parts], axis=0)
    logits_NC = logit(mean_NC) if first.link == "sigmoid" else np.log(np.maximum(mean_NC, np.finfo(np.float64).tiny))
    return replace(first, logits_NC=logits_NC, spreads_NC=None)


def write_predictions(path: Path, splits: Mapping[str, Predictions]) -> None:
    """Write one row per record, with the name of its split. The file is written whole or not at all.

    Args:
        path: the path of the .csv file.
        splits: the predictions by split name: `val`, `test`.
    """
    tables = []
    for split, one in splits.items():
        columns: dict[str, object] = {"split": split, "ecg_id": one.ecg_ids, "patient_id": one.patient_ids}
        for column, name in enumerate(one.classes):
            columns[f"target/{name}"] = one.targets_NC[:, column].astype(int)
        for column, name in enumerate(one.classes):
            columns[f"logit/{one.link}/{name}"] = one.logits_NC[:, column]
        if one.spreads_NC is not None:
            columns |= {f"spread/{name}": one.spreads_NC[:, column] for column, name in enumerate(one.classes)}
        tables.append(pd.DataFrame(columns))
    write_whole(path, pd.concat(tables).to_csv(index=False))


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Return the predictions that `write_predictions` wrote, by split.

    Raises:
        DataError: the file does not exist or is not such a table.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is not there. Name a finished run of train.py. For an older run's checkpoint, make one with "
            "python train.py model=ensemble model.members=[FILE]"
        )
    table = read_table(path, (), "the predictions of a finished run, so run the model again")
    logits = [str(name).split("/", 2) for name in table.columns if str(name).startswith("logit/")]
    classes = tuple(parts[-1] for parts in logits)
    links = {parts[1] for parts in logits if len(parts) == 3}
    targets = [f"target/{name}" for name in classes]
    if absent := [name for name in (*_KEYS, *targets) if name not in table.columns] or links.difference(LINKS):
        raise DataError(
            f"{path} is not a table of predictions (missing or unknown: {', '.join(sorted(absent))}); run the model "
            "again"
        )
    if not classes or len(links) != 1:
        raise DataError(f"{path} is not a table of predictions (it holds no logits); run the model again")
    (link,) = links
    spreads = [f"spread/{name}" for name in classes if f"spread/{name}" in table.columns]
    values = table[[*targets, *(f"logit/{link}/{name}" for name in classes), *spreads]]
    if (
        not all(pd.api.types.is_numeric_dtype(kind) for kind in values.dtypes)
        or not np.isfinite(values.to_numpy()).all()
    ):
        raise DataError(f"{path} holds values that are not finite numbers; run the model again")
    if not table[targets].isin([0, 1]).all(axis=None):
        raise DataError(f"{path} holds targets other than 0 and 1; run the model again")
    if not all(pd.api.types.is_integer_dtype(table[name]) for name in ("ecg_id", "patient_id")):
        raise DataError(f"{path} holds an ecg_id or patient_id that is not a whole number; run the model again")
    if (again := table.duplicated(["split", "ecg_id"])).any():
        raise DataError(f"{path} holds the record {table['ecg_id'][again].iloc[0]} twice; run the model again")
    return {
        str(split): Predictions(
            classes,
            link,
            part["ecg_id"].to_numpy(np.int64),
            part["patient_id"].to_numpy(np.int64),
            part[targets].to_numpy().astype(bool),
            part[[f"logit/{link}/{name}" for name in classes]].to_numpy(np.float64),
            part[spreads].to_numpy(np.float64) if len(spreads) == len(classes) else None,
        )
        for split, part in table.groupby("split", sort=False)
    }
