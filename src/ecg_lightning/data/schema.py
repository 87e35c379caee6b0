"""Settings of the data sets, without PyTorch and pandas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ecg_lightning.components.setting import MISSING, kind, setting, with_default


@dataclass
class DataConfig:
    """Any option of the group `data`."""

    own_labels: ClassVar[bool] = False
    """Whether the classes are those of the data set's own table."""

    kind: str = setting(MISSING, "name of the component")
    root: str | None = setting(None, "DIR: the folder of the records, or the folder that synthetic data are written to")
    sampling_rate: int = setting(100, "samples a second", min=50, max=2000)
    batch_size: int = setting(32, "records of a training step", min=1)
    train_folds: list[int] = setting(list(range(1, 9)), "folds of the training split")
    val_folds: list[int] = setting([9], "folds of the validation split")
    test_folds: list[int] = setting([10], "folds of the test split")
    on_bad_record: str = setting("error", "what a damaged record does", choices=("error", "skip"))
    cache_dir: str | None = setting(None, "DIR of the signal cache; null: the user's cache folder")
    num_workers: int = setting(0, "loader processes; 0 is fastest, because a batch costs 0.1 ms", min=0)


@dataclass
class PTBXLConfig(DataConfig):
    """PTB-XL, see `data.ptbxl_source.PTBXLSource`."""

    target: ClassVar[str] = "ecg_lightning.data.ptbxl_source.PTBXLSource"
    kind: str = kind("ptbxl")
    sampling_rate: int = setting(100, "samples a second", choices=(100, 500))
    label_rule: str = setting(
        "benchmark",
        "benchmark: likelihood is ignored; ge50: at least 50 %; eq100: 100 %",
        choices=("benchmark", "ge50", "eq100"),
    )
    task: str = setting(
        "superdiagnostic",
        "set of labels",
        choices=("superdiagnostic", "subdiagnostic", "diagnostic", "form", "rhythm", "all"),
    )
    keep_unlabelled: bool = setting(False, "whether records without a class are kept, with no label")


@dataclass
class SyntheticConfig(PTBXLConfig):
    """ECGs from a physiological model, see `data.ptbxl_source.SyntheticSource`."""

    target: ClassVar[str] = "ecg_lightning.data.ptbxl_source.SyntheticSource"
    kind: str = kind("synthetic")
    n_records: int = setting(2000, "number of records", min=100)
    data_seed: int = setting(0, "random seed of the records; the same seed gives the same bytes", min=0)


@dataclass
class FolderConfig(DataConfig):
    """A folder of records with a table of their labels, see `data.folder.FolderSource`."""

    own_labels: ClassVar[bool] = True
    target: ClassVar[str] = "ecg_lightning.data.folder.FolderSource"
    kind: str = kind("folder")
    table: str | None = setting(
        None, "FILE: CSV with path, patient, fold or split, and a column of 0 and 1 for each class"
    )
    labels: list[str] | None = setting(None, "columns that are classes; null: all that have no other meaning")
    duration_s: float = setting(10.0, "seconds of a record; longer ones are cut", min=1.0, max=600.0)
    pad: bool = setting(False, "whether shorter records end in zeros; else they are refused")
    record_rate: float | None = setting(None, "Hz of .npy files and of tables without a column of time", above=0.0)
    record_units: str | None = setting(None, "units of tables and .npy files", choices=("mV", "uV"))
    class_map: Any = setting(None, "with train=false: the table's column of the checkpoint's classes, {CLASS: COLUMN}")
    licence: str = setting("", "licence of the records, which exported files state")


@dataclass
class CheckpointDataConfig:
    """The data that a checkpoint was trained on. A setting that is null keeps the checkpoint's value."""

    root: str | None = setting(None, "DIR: the folder, if it was moved")
    batch_size: int | None = with_default(DataConfig, "batch_size", None)
    on_bad_record: str | None = with_default(DataConfig, "on_bad_record", None)
    cache_dir: str | None = with_default(DataConfig, "cache_dir", None)
    num_workers: int | None = with_default(DataConfig, "num_workers", None)
