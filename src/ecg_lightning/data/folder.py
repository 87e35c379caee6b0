"""A folder of records with the user's own label table, as a source. Classes, rate and length are free."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.cache import MISSING, REFUSED, SignalCache, cache_folder, open_cache, stamp_of
from ecg_lightning.data.own_table import OwnTable, read_own_table
from ecg_lightning.data.recordings.csv_record import SUFFIXES as TABLES
from ecg_lightning.data.recordings.records import PADDED, read_record
from ecg_lightning.data.recordings.wfdb_record import SUFFIXES as WFDB
from ecg_lightning.data.schema import FolderConfig
from ecg_lightning.data.source import OWN, Cohort, ECGSource, Grouping, Records, named_path
from ecg_lightning.data.wfdb import MILLIVOLTS_PER_UNIT, RecordError
from ecg_lightning.errors import DataError
from ecg_lightning.text import counted, printable, shortened

log = logging.getLogger(__name__)

_MAX_HEADER_BYTES = 65_536
_LARGEST = 32_767  # the largest value of an int16, in units of 1 µV
_SHOWN = 5  # reading notes that are logged
_MAX_NAME = 60


class FolderReader:
    """A reader that puts recordings of any rate and length into the cache. It reads them as `predict` does.

    Args:
        table: the table's file; each table has its own cache.
        sampling_rate: the cache's sampling rate in Hz.
        duration_s: the seconds that are kept of each record.
        pad: whether zeros fill up shorter records.
        rate: the rate in Hz of .npy files and of tables without a time column.
        units: the units of .npy files and tables, `mV` or `uV`.
    """

    def __init__(
        self, table: Path, sampling_rate: int, duration_s: float, pad: bool, rate: float | None, units: str | None
    ) -> None:
        self.sampling_rate = sampling_rate
        self.n_samples = round(duration_s * sampling_rate)
        self.pad = pad
        self.rate = rate
        self.units = units
        self.settings = f"{self.n_samples} {pad} {rate} {units}"
        own = hashlib.sha256(str(table.resolve()).encode()).hexdigest()[:8]
        self.folder = f"{sampling_rate}hz-{duration_s:g}s-{own}"

    def stamp(self, root: Path, record: str) -> str:
        """Return a record's stamp; see `cache.CachedReader.stamp`. For WFDB, it covers the header's signal files."""
        path = root / record
        if path.suffix.lower() in (*TABLES, ".npy"):
            return stamp_of([str(path)])
        header = path if path.suffix.lower() == ".hea" else _header_of(path)
        try:
            with header.open("rb") as file:
                lines = file.read(_MAX_HEADER_BYTES).decode("latin-1").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return REFUSED if path.exists() else MISSING
        except OSError:
            return REFUSED
        named = {line.split()[0] for line in lines[1:] if line.strip() and not line.startswith("#")}
        return stamp_of([str(header), *(f"{header.parent}/{name}" for name in sorted(named) if "/" not in name)])

    def read_into(self, root: Path, record: str, out_CT: npt.NDArray[np.int16]) -> Sequence[str]:
        """Read a record; see `cache.CachedReader.read_into`."""
        path = root / record
        for one in (path, _header_of(path)):
            if one.is_symlink() or one.exists():
                _check_inside(root, one)
        try:
            recording = read_record(
                path,
                sampling_rate=self.sampling_rate,
                n_samples=self.n_samples,
                rate=self.rate,
                units=self.units,
                pad=self.pad,
            )
        except DataError as error:
            raise RecordError(_as_settings(str(error).removeprefix(f"{path}: "))) from None
        except (ArithmeticError, LookupError, ValueError) as error:  # a fault of the reader that names no record
            raise RecordError(f"it cannot be read ({type(error).__name__}: {error})") from None
        units_CT = np.rint(recording.millivolts_CT / MILLIVOLTS_PER_UNIT)
        if (largest := float(np.abs(units_CT).max())) > _LARGEST:
            raise RecordError(f"it reaches {largest * MILLIVOLTS_PER_UNIT:.0f} mV, more than the ±32 mV that are kept")
        out_CT[:] = units_CT
        return [_as_settings(note) for note in recording.notes]


def _header_of(path: Path) -> Path:
    record = path.with_suffix("") if path.suffix.lower() in WFDB else path
    header, in_capitals = (record.parent / f"{record.name}{suffix}" for suffix in (".hea", ".HEA"))
    return in_capitals if not header.exists() and in_capitals.exists() else header


def _check_inside(root: Path, path: Path) -> None:
    """Refuse links that lead out of the folder. A folder from elsewhere may hold them."""
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a circle of links
        inside = False
    if not inside:
        raise RecordError("it is a link that leads out of the data folder; copy the file in its place")


def _as_settings(reason: str) -> str:
    """Return the reader's message with this data set's settings in place of the options of `predict`."""
    reason = reason.replace("--rate HZ, in Python with fs=HZ", "data.record_rate=HZ")
    return reason.replace("--rate", "data.record_rate").replace("--units", "data.record_units")


class FolderSource(ECGSource):
    """A folder of WFDB records, CSV or NPY files, and one table of their labels; see `own_table`.

    Examples:
        >>> from ecg_lightning.data import ECGDataModule, FolderConfig, FolderSource
        >>> source = FolderSource(FolderConfig(root="ECGS", table="ECGS/table.csv", duration_s=10))
        >>> data = ECGDataModule(source, batch_size=32)
        >>> data.setup("fit")
        >>> print(data.classes, data)

    Args:
        settings: the settings with `root`, a folder that is only read, and `table`. The table's path is absolute, or
            relative to the working folder or to `root`.
    """

    task = OWN
    label_rule = OWN
    needs_every_class = True
    title: str | None = None
    """A name for the data set. By default it is the folder's name."""

    def __init__(self, settings: FolderConfig) -> None:
        self.root, table = named_path("root", settings.root), named_path("table", settings.table)
        self.file = table if table.is_absolute() or table.exists() else self.root / table
        self.tables = str(self.file)
        self.labels = settings.labels
        self.sampling_rate = settings.sampling_rate
        self.duration_s = settings.duration_s
        self.class_map = dict(settings.class_map or {})
        self.licence = self.licence_of({"licence": settings.licence})
        self.on_bad_record = settings.on_bad_record
        self.cache_dir = cache_folder(settings.cache_dir)
        self.reader = FolderReader(
            self.file,
            settings.sampling_rate,
            settings.duration_s,
            settings.pad,
            settings.record_rate,
            settings.record_units,
        )
        self.n_samples = self.reader.n_samples
        self._matching: list[str] = []
        self._only: tuple[str, ...] | None = None
        self._cache: SignalCache | None = None

    @cached_property
    def table(self) -> OwnTable:
        """The table, read once.

        Raises:
            DataError: the folder or the table cannot be used.
        """
        check_folder(self.root, self.file)
        return read_own_table(self.file, self.root, self.labels)

    @cached_property
    def name(self) -> str:
        """The title or the folder's name, and a hash of the table's records, patients and folds."""
        folder = "".join(one for one in self.root.resolve().name if one.isprintable())[:_MAX_NAME] or "folder"
        return f"{self.title or folder}, table {self.table.digest[:12]}"

    @cached_property
    def columns(self) -> dict[str, str]:
        """The mapping of class → table column: first `class_map`, then all other columns under their own names.

        Raises:
            DataError: `class_map` names a column that does not exist, or names one column twice.
        """
        mapped = [*self.class_map.values()]
        for name, column in self.class_map.items():
            if column not in self.table.labels:
                raise DataError(
                    f"data.class_map: {self.file} has no label column {column!r} for the class {name}. Its label "
                    f"columns are {', '.join([*self.table.labels][:20])}"
                )
            if mapped.count(column) > 1:
                raise DataError(f"data.class_map names the column {column!r} twice. Give each class its own column")
        own = {name: name for name in self.table.labels if name not in mapped and name not in self.class_map}
        return self.class_map | own

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names: the table's label columns in their order, or the classes that `match` found."""
        return self._only or tuple(self.columns)

    def match(self, predicted: Sequence[str]) -> tuple[str, ...]:
        """Limit the targets to a model's classes, and return those that the table labels, in the model's order.

        Args:
            predicted: the model's classes.

        Raises:
            DataError: the table labels none of the classes, or `class_map` names a class that the model does not have.
        """
        if unknown := [name for name in self.class_map if name not in predicted]:
            raise DataError(
                f"data.class_map: the checkpoint has no class {unknown[0]}. Its classes are {', '.join(predicted[:20])}"
            )
        found = tuple(name for name in predicted if name in self.columns)
        if not found:
            raise DataError(
                f"{self.file} has labels of none of the checkpoint's classes ({', '.join(predicted[:20])}). Name the "
                f"column of each, as in 'data.class_map={{{predicted[0]}: {next(iter(self.table.labels))}}}'"
            )
        compared = [f"{name} with {column}" if name != column else name for name, column in self._pairs(found)]
        self._matching = [f"classes compared with the table's labels: {', '.join(compared)}"]
        if absent := [name for name in predicted if name not in found]:
            self._matching.append(
                f"no labels in the table, so left out of all scores, macro means included: {', '.join(absent)}"
            )
        if idle := [column for name, column in self.columns.items() if name not in found]:
            self._matching.append(f"labels in the table that the model does not predict: {', '.join(idle)}")
        self._matching.append("thresholds and calibration are the checkpoint's own, and nothing was fitted here")
        self._only = found
        return found

    def _pairs(self, classes: Sequence[str]) -> list[tuple[str, str]]:
        return [(name, self.columns[name]) for name in classes]

    def read(self, folds: Sequence[int]) -> Records:
        """Return the records of some folds, resampled and cut."""
        table, n_records = self.table, len(self.table.paths)
        needed = np.isin(table.folds, list(folds))
        if not any(self.reader.stamp(self.root, path) != MISSING for path in table.paths):
            raise DataError(
                f"none of the {n_records:,} files of {self.file} is below {self.root} (first: {table.paths[0][:120]}). "
                "Name the folder that the paths are relative to with data.root=DIR"
            )
        cache = open_cache(self.root, table.paths, self.sampling_rate, self.cache_dir, self.reader)
        if self._cache is None:
            self._log(cache)
        self._cache = cache
        self._report_bad(cache, needed)
        read = np.array([index in cache.row_of for index in range(n_records)])
        chosen = np.flatnonzero(needed & read)
        content = [hashlib.sha256(self.file.read_bytes()).hexdigest(), cache.content_hash]
        return Records(
            ecg_ids=chosen + 1,
            patient_ids=table.patients[chosen] + 1,
            folds=table.folds[chosen],
            targets=self._targets()[chosen],
            rows=np.array([cache.row_of[int(index)] for index in chosen], dtype=np.int64),
            cache=cache,
            root_hash=hashlib.sha256("|".join(content).encode()).hexdigest(),
            version=OWN,
            left_out={fold: int((table.folds[~read] == fold).sum()) for fold in folds},
        )

    def cohort(self) -> Cohort:
        """Return the table with its patient columns."""
        table = self.table
        return Cohort(
            str(self.file),
            np.arange(1, len(table.paths) + 1),
            table.folds,
            self.classes,
            self._targets(),
            table.ages,
            table.sexes,
            {} if table.devices is None else {"device": Grouping(table.devices)},
            keeps_unlabelled=True,
        )

    @classmethod
    def licence_of(cls, data: Mapping[str, Any]) -> str:
        """Return the licence statement that exported files carry, from the setting `data.licence`."""
        licence = data.get("licence")
        stated = printable(" ".join(str(licence).split()))[:500] if licence else "licence not given"
        return f"trained on own records, {stated}"

    def files(self) -> dict[str, str]:
        """Return the settings that name the folder and the table, with absolute paths."""
        return {**super().files(), "table": str(self.file.absolute())}

    def notes(self) -> list[str]:
        """Return notes on the table and the records for the reader of the scores."""
        found = [*self._matching]
        if not self.table.has_patients:
            found.append(
                f"{self.file.name} has no column patient, so each record counts as a patient of its own; the scores "
                "are optimistic if patients have several records"
            )
        if self._cache and (padded := self._cache.notes.get(PADDED)):
            found.append(
                f"{counted(padded, 'record')} shorter than {self.duration_s:g} s {'was' if padded == 1 else 'were'} "
                "padded with zeros at the end"
            )
        return found

    def _targets(self) -> npt.NDArray[np.uint8]:
        return np.stack([self.table.labels[self.columns[name]] for name in self.classes], axis=1)

    def _log(self, cache: SignalCache) -> None:
        for note in self.notes():
            log.warning("%s", note)
        for note, count in sorted(cache.notes.items(), key=lambda one: -one[1])[:_SHOWN]:
            log.info("%s: %s", counted(count, "record"), printable(note))

    def _report_bad(self, cache: SignalCache, needed: npt.NDArray[np.bool_]) -> None:
        """Log missing and bad records among the needed ones, or refuse them if `on_bad_record` is `error`."""
        bad = dict.fromkeys(cache.missing, "its files are not there") | cache.bad
        named = [
            f"{self.table.paths[index][:120]} (line {self.table.lines[index]}): {printable(shortened(reason, 200))}"
            for index, reason in sorted(bad.items())
            if needed[index]
        ]
        if not named:
            return
        if self.on_bad_record == "error":
            raise DataError(
                f"{len(named):,} of the {int(needed.sum()):,} records of {self.file} cannot be used. First: {named[0]}"
                ". Correct them, or set data.on_bad_record=skip to leave them out"
            )
        log.warning("%s of %s records are left out", f"{len(named):,}", f"{int(needed.sum()):,}")
        for one in named:
            log.info("left out: %s", one)


def check_folder(root: Path, table: Path) -> None:
    """Refuse a folder or a table that does not exist.

    Raises:
        DataError: the folder or the table does not exist.
    """
    if not root.is_dir():
        why = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {why}. Name the folder that holds the records with data.root=DIR")
    if not table.exists():
        raise DataError(f"{table} is not there. Name the CSV table of the records with data.table=FILE")
