"""What a data set is. Training, evaluation and the check for leakage ask a source, and no table of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.cache import SignalCache
from ecg_lightning.errors import DataError

OWN = "own"
"""Task, label rule and version of a data set with labels of its own."""


@dataclass(frozen=True)
class Records:
    """The usable records of a data set.

    Attributes:
        ecg_ids: (N,) the data set's record numbers; not contiguous.
        patient_ids: (N,) patients; one patient may have several records.
        folds: (N,) folds, 1 to 10.
        targets: uint8 (N, C) multi-hot, in the order of the source's classes.
        rows: (N,) each record's row in the cache.
        cache: the signals.
        root_hash: SHA-256 over the tables and all signals of the folder, whichever folds are used.
        version: the data set's version; `synthetic`, `own` or `unknown` where it has none.
        left_out: by fold, the records that are missing or bad and were skipped.
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
    """What records can be grouped by.

    Attributes:
        values: (N,) the name of each record's group; empty where it is not known.
        names: the groups in the order in which they are listed; empty: the most frequent one first.
    """

    values: npt.NDArray[np.str_]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cohort:
    """A data set's table without its signals: folds, labels, and the patients' columns where it has them.

    Attributes:
        where: the table's file, for messages.
        ecg_ids: (N,) record numbers.
        folds: (N,) folds.
        classes: names of the C classes.
        targets: uint8 (N, C) multi-hot.
        ages: (N,) years, NaN where not known; None where the table has no such column.
        sexes: (N,) 0 male and 1 female, NaN where not known; None where the table has no such column.
        groups: other columns by which records are grouped, such as the device.
        keeps_unlabelled: whether a record without any class is one to learn from.
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
            DataError: the table does not know a record.
        """
        if unknown := sorted({*ecg_ids.tolist()} - {*self.ecg_ids.tolist()}):
            raise DataError(f"{self.where} has no record {unknown[0]}. Name the data folder of this run with --root")
        order = np.argsort(self.ecg_ids)
        rows: npt.NDArray[np.int64] = order[np.searchsorted(self.ecg_ids, ecg_ids, sorter=order)]
        return rows

    def columns_of(self, classes: Sequence[str]) -> list[int]:
        """Return the columns of some classes in `targets`.

        Raises:
            DataError: the table does not know a class.
        """
        if unknown := [name for name in classes if name not in self.classes]:
            raise DataError(f"{self.where} has no class {unknown[0]}. Name the data folder of this run with --root")
        return [self.classes.index(name) for name in classes]


class ECGSource(ABC):
    """A data set: its name, classes, signals, folds, patients and licence. One subclass is one data set.

    Attributes:
        root: the data set's folder.
        sampling_rate: Hz of the signals that it gives.
        n_samples: samples a lead of the signals that it gives.
        task: name of the label task.
        label_rule: name of the rule by which labels are made.
        tables: the files that hold its labels, for messages.
        licence: licence and attribution, as exported files state them.
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
        """The name of the data set: folds are only compared between data sets of one name."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the targets' columns."""

    @abstractmethod
    def read(self, folds: Sequence[int]) -> Records:
        """Read and check the records of some folds; records of other folds need not be there.

        Raises:
            DataError: the folder, a table, a record or its labels cannot be used.
        """

    @abstractmethod
    def cohort(self) -> Cohort:
        """Return the table without its signals.

        Raises:
            DataError: it cannot be used.
        """

    @classmethod
    def licence_of(cls, data: Mapping[str, Any]) -> str:
        """Return the licence and attribution of the data set that some `data` settings describe."""
        return cls.licence

    def files(self) -> dict[str, str]:
        """Return the settings that name the data set's files, with absolute paths."""
        return {"root": str(self.root.absolute())}

    def prepare(self) -> None:  # noqa: B027 - most data sets are there
        """Write what is not there yet; a data set of real records is only read."""

    def notes(self) -> list[str]:
        """Return what a reader of the scores must know of the records that were read."""
        return []
