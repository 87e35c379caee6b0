"""PTB-XL as a source, and synthetic records in PTB-XL's layout as a source."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecg_lightning.data.cache import cache_folder
from ecg_lightning.data.identity import N_PTBXL, PTBXL, dataset_name, synthetic_name
from ecg_lightning.data.labels import read_table
from ecg_lightning.data.ptbxl import TABLES, check_root, read_classes, read_ptbxl, read_tables
from ecg_lightning.data.schema import PTBXLConfig, SyntheticConfig
from ecg_lightning.data.source import Cohort, ECGSource, Grouping, Records, named_path
from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.system.long_steps import long_step

log = logging.getLogger(__name__)

_NOISE = ("baseline_drift", "static_noise", "burst_noise", "electrodes_problems")
_PROVENANCE = "PROVENANCE.csv"
"""The table of a subset that lists which 100 Hz records were made from 500 Hz records."""


class PTBXLSource(ECGSource):
    """PTB-XL's own folder, version 1.0.1 to 1.0.3, in whole or in part.

    Args:
        settings: the settings; `root` is the folder that holds `ptbxl_database.csv`, and is only read.
    """

    tables = " and ".join(TABLES)
    licence = "trained on PTB-XL, CC BY 4.0 (Wagner et al. 2020, doi 10.13026/kfzx-aw45)"

    def __init__(self, settings: PTBXLConfig) -> None:
        self.root = named_path("root", settings.root)
        self.sampling_rate = settings.sampling_rate
        self.n_samples = DURATION_S * settings.sampling_rate
        self.label_rule = settings.label_rule
        self.task = settings.task
        self.keep_unlabelled = settings.keep_unlabelled
        self.on_bad_record = settings.on_bad_record
        self.cache_dir = cache_folder(settings.cache_dir)
        self._was_read = False

    @cached_property
    def name(self) -> str:
        """The data set's name; see `identity.dataset_name`."""
        check_root(self.root)
        return dataset_name(self.root)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names of the task."""
        if self.task != "superdiagnostic":  # the superclasses are known without the folder
            self.prepare()
        return read_classes(self.root, self.task)

    def read(self, folds: Sequence[int]) -> Records:
        """Return the records of some folds; see `ptbxl.read_ptbxl`."""
        records = read_ptbxl(
            self.root,
            sampling_rate=self.sampling_rate,
            label_rule=self.label_rule,
            task=self.task,
            folds=folds,
            keep_unlabelled=self.keep_unlabelled,
            on_bad_record=self.on_bad_record,
            cache_dir=self.cache_dir,
        )
        if not self._was_read and self.name == PTBXL and (n_records := len(records.cache.row_of)) < N_PTBXL:
            log.info("%s holds %s of the %s records of PTB-XL", self.root, f"{n_records:,}", f"{N_PTBXL:,}")
        self._was_read = True
        return records

    def cohort(self) -> Cohort:
        """Return the folder's table, with the columns that PTB-XL's records can be grouped by."""
        table, targets = read_tables(self.root, self.label_rule, self.task)
        known = {name: table[name].to_numpy(np.float64) for name in ("age", "sex") if name in table}
        return Cohort(
            str(self.root / TABLES[0]),
            table.index.to_numpy(np.int64),
            table["strat_fold"].to_numpy(np.int64),
            self.classes,
            targets,
            known.get("age"),
            known.get("sex"),
            _groupings(table, self.root),
        )


class SyntheticSource(PTBXLSource):
    """Records of a physiological model in PTB-XL's layout, without medical meaning.

    Args:
        settings: the settings; `root` is the folder to write to, under the cache folder by default. A folder made by
            others is refused.
    """

    licence = "trained on synthetic ECGs"

    def __init__(self, settings: SyntheticConfig) -> None:
        n_records, data_seed, rate = settings.n_records, settings.data_seed, settings.sampling_rate
        own = cache_folder(settings.cache_dir) / "synthetic" / f"{n_records}-records-seed{data_seed}-{rate}hz"
        super().__init__(replace(settings, root=settings.root or str(own)))
        self.n_records = n_records
        self.data_seed = data_seed

    @property
    def name(self) -> str:  # known before the folder is written
        """The data set's name."""
        return synthetic_name(self.data_seed)

    def is_written(self) -> bool:
        """Return whether the folder already holds these records, so that nothing would be written.

        Raises:
            DataError: the folder holds something else.
        """
        from ecg_lightning.data.synthetic import is_written  # evaluations of PTB-XL need no heart model

        return is_written(self.root, self.n_records, self.data_seed, (self.sampling_rate,))

    def prepare(self) -> None:
        """Write the folder if it does not exist yet. It is then read like PTB-XL."""
        if self.is_written():
            return
        from ecg_lightning.data.synthetic import write_synthetic_ptbxl

        with long_step(log, f"writing {self.n_records:,} synthetic records to {self.root}"):
            write_synthetic_ptbxl(self.root, self.n_records, self.data_seed, (self.sampling_rate,))


def _groupings(table: pd.DataFrame, root: Path) -> dict[str, Grouping]:
    """Return the groupings of PTB-XL's records: device, noise flags, and the origin of a subset's records."""
    found: dict[str, Grouping] = {}
    if "device" in table:
        devices = table["device"].fillna("not given").astype(str).str.split().str.join(" ")
        found["device"] = Grouping(_texts(devices))
    if set(_NOISE) <= set(table):
        noted = table[list(_NOISE)].astype("string").fillna("").apply(lambda column: column.str.strip() != "")
        flagged = np.where(noted.any(axis=1).to_numpy(), "flagged", "clean")
        found["noise"] = Grouping(flagged, ("flagged", "clean"))
    if (provenance := root / _PROVENANCE).is_file():
        origins = read_table(provenance, ("ecg_id", "origin_100hz"), "the origin of each record of this subset")
        of_record = origins.drop_duplicates("ecg_id").set_index("ecg_id")["origin_100hz"].reindex(table.index)
        found["origin"] = Grouping(_texts(of_record.fillna("").astype(str)))
    return found


def _texts(column: pd.Series[str]) -> npt.NDArray[np.str_]:
    return column.to_numpy(dtype=np.str_)
