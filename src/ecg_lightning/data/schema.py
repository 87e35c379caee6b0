"""Settings of the data sets, without PyTorch and pandas."""

# ruff: noqa: RUF009  # `setting` is a field, whose default is copied
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ecg_lightning.setting import kind, setting


@dataclass
class DataConfig:
    """PTB-XL, see `data.datamodule.PTBXLDataModule`."""

    target: ClassVar[str] = "ecg_lightning.data.datamodule.PTBXLDataModule"
    kind: str = kind("ptbxl")
    root: str | None = setting(None, "DIR: PTB-XL's folder, or the folder that synthetic data are written to")
    sampling_rate: int = setting(100, "samples a second", choices=(100, 500))
    batch_size: int = setting(32, "records of a training step", min=1)
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
    train_folds: list[int] = setting(list(range(1, 9)), "folds of the training split")
    val_folds: list[int] = setting([9], "folds of the validation split")
    test_folds: list[int] = setting([10], "folds of the test split")
    keep_unlabelled: bool = setting(False, "whether records without a class are kept, with no label")
    on_bad_record: str = setting("error", "what a damaged record does", choices=("error", "skip"))
    cache_dir: str | None = setting(None, "DIR of the signal cache; null: the user's cache folder")
    num_workers: int = setting(0, "loader processes; 0 is fastest, because a batch costs 0.1 ms", min=0)


@dataclass
class SyntheticConfig(DataConfig):
    """ECGs from a physiological model, see `data.datamodule.SyntheticPTBXLDataModule`."""

    target: ClassVar[str] = "ecg_lightning.data.datamodule.SyntheticPTBXLDataModule"
    kind: str = kind("synthetic")
    n_records: int = setting(2000, "number of records", min=100)
    data_seed: int = setting(0, "random seed of the records; the same seed gives the same bytes", min=0)


@dataclass
class CheckpointDataConfig:
    """The data that a checkpoint was trained on; null: as it was there."""

    root: str | None = setting(None, "DIR: the folder, if it was moved")
    batch_size: int | None = setting(None, "records of a training step", min=1)
    on_bad_record: str | None = setting(None, "what a damaged record does", choices=("error", "skip"))
    cache_dir: str | None = setting(None, "DIR of the signal cache")
    num_workers: int | None = setting(None, "loader processes", min=0)
