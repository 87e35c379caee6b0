"""The interface of a data set. Training, evaluation and the leakage check use it instead of tables of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.cache import SignalCache
from ecg_lightning.errors import ConfigError, DataError

OWN = "own"
"""The task, label rule and version of a data set with the user's own labels."""


@dataclass(frozen=True)
class Records:
    """The usable records of a data set.

    Attributes:
        ecg_ids: (N,) the data set's record numbers; not contiguous.
        patient_ids: (N,) patient numbers; one patient may have several records.
        folds: (N,) folds from 1 to 10.
        targets: uint8 (N, C) multi-hot, in the order of the source's classes.
        rows: (N,) each record's row in the cache.
        cache: the signals.
        root_hash: SHA-256 over the tables and all signals of the folder, independent of the folds in use.
        version: the data set's version, or `synthetic`, `own` or `unknown` if it has none.
        left_out: fold → number of missing or bad records that were skipped.
    """

    ecg_ids: npt.NDArray[np.int64]
    patient_ids: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    targets: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    cache: SignalCache
    root_hash: str
    version: str
    left_out: dict[int, int]


@dataclass(frozen=True)
class Grouping:
    """A grouping of records.

    Attributes:
        values: (N,) the name of each record's group; empty if unknown.
        names: the groups in the order in which they are listed; if empty, the most frequent group comes first.
    """

    values: npt.NDArray[np.str_]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cohort:
    """A data set's table without its signals: folds, labels, and the patient columns if it has them.

    Attributes:
        where: the table's file, for messages.
        ecg_ids: (N,) record numbers.
        folds: (N,) folds.
        classes: names of the C classes.
        targets: uint8 (N, C) multi-hot.
        ages: (N,) ages in years, NaN if unknown; None if the table has no such column.
        sexes: (N,) 0 for male and 1 for female, NaN if unknown; None if the table has no such column.
        groups: other columns that records are grouped by, such as the device.
        keeps_unlabelled: whether records without any class are used for training.
    """

    where: str
    ecg_ids: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    targets: npt.NDArray[np.uint8]
    ages: npt.NDArray[np.float64] | None = None
    sexes: npt.NDArray[np.float64] | None = None
    groups: Mapping[str, Grouping] = field(default_factory=dict)
    keeps_unlabelled: bool = False

    def rows_of(self, ecg_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the (M,) rows of some records in this table.

        Raises:
            DataError: the table does not hold a record.
        """
        if unknown := sorted({*ecg_ids.tolist()} - {*self.ecg_ids.tolist()}):
            raise DataError(f"{self.where} has no record {unknown[0]}. Name the data folder of this run with --root")
        order = np.argsort(self.ecg_ids)
        rows: npt.NDArray[np.int64] = order[np.searchsorted(self.ecg_ids, ecg_ids, sorter=order)]
        return rows

    def columns_of(self, classes: Sequence[str]) -> list[int]:
        """Return the columns of some classes in `targets`.

        Raises:
            DataError: the table does not have a class.
        """
        if unknown := [name for name in classes if name not in self.classes]:
            raise DataError(f"{self.where} has no class {unknown[0]}. Name the data folder of this run with --root")
        return [self.classes.index(name) for name in classes]


class ECGSource(ABC):
    """A data set: its name, classes, signals, folds, patients and licence. Each subclass is one data set.

    Attributes:
        root: the data set's folder.
        sampling_rate: the sampling rate of its signals in Hz.
        n_samples: the number of samples per lead of its signals.
        task: the name of the label task.
        label_rule: the name of the rule that makes the labels.
        tables: the files that hold its labels, for messages.
        licence: the licence and attribution, as exported files state them.
        needs_every_class: whether a class without a positive training record is refused.
    """

    root: Path
    sampling_rate: int
    n_samples: int
    task: str
    label_rule: str
    tables: str
    licence: str
    needs_every_class: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the data set. Folds are compared only between data sets of the same name."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the targets' columns."""

    @abstractmethod
    def read(self, folds: Sequence[int]) -> Records:
        """Return the checked records of some folds. The files of other folds need not exist.

        Raises:
            DataError: the folder, a table, a record or its labels cannot be used.
        """

    @abstractmethod
    def cohort(self) -> Cohort:
        """Return the table without its signals.

        Raises:
            DataError: the table cannot be used.
        """

    @classmethod
    def licence_of(cls, data: Mapping[str, Any]) -> str:
        """Return the licence and attribution of the data set that `data` settings describe."""
        return cls.licence

    def match(self, predicted: Sequence[str]) -> tuple[str, ...]:
        """Limit the targets to a model's classes, and return those that have labels here, in the model's order.

        Args:
            predicted: the model's classes. A data set whose classes are fixed gives them back.

        Raises:
            DataError: no class has labels here.
        """
        return tuple(predicted)

    def files(self) -> dict[str, str]:
        """Return the settings that name the data set's files, with absolute paths."""
        return {"root": str(self.root.absolute())}

    def prepare(self) -> None:  # noqa: B027 - most data sets exist already
        """Write the data set's files if it makes its own. A data set of real records is only read."""

    def notes(self) -> list[str]:
        """Return notes on the records for the reader of the scores."""
        return []


def named_path(name: str, value: str | Path | None) -> Path:
    """Return the path of a setting that must be given.

    Raises:
        ConfigError: it is not set.
    """
    if value is None:
        raise ConfigError(
            f"data.{name} is not set. Name the {'folder' if name == 'root' else 'file'} with data.{name}=…"
        )
    return Path(value).expanduser()
