"""A data set as a LightningDataModule. Batches of int16 signals are read whole; nothing is computed per sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from ecg_lightning.components.setting import from_plain
from ecg_lightning.data.labels import SPLITS
from ecg_lightning.data.ptbxl_source import PTBXLSource
from ecg_lightning.data.schema import PTBXLConfig
from ecg_lightning.data.source import ECGSource, Records
from ecg_lightning.data.splits import check_learnable, check_patients, check_scorable
from ecg_lightning.errors import ConfigError, DataError
from ecg_lightning.system import stopping

TASK_KEYS = ("sampling_rate", "label_rule", "task")
"""The data settings that define a checkpoint's task."""

STAGE_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class ECGBatch(NamedTuple):
    """One batch of signals and targets.

    Attributes:
        signals: int16 (B, 12, T) in units of 1 µV, leads in the order of `wfdb.LEADS`.
        targets: float32 (B, C) multi-hot, classes in the order of the data module's classes.
        places: int64 (B,), the positions of the records in their split.
    """

    signals: Tensor
    targets: Tensor
    places: Tensor | None = None


class SignalDataset(Dataset[ECGBatch]):
    """The records of one split. A whole batch is one `index_select` on the memory-mapped cache."""

    def __init__(self, records: Records, chosen: np.ndarray) -> None:
        self.records = records
        self.rows = torch.from_numpy(records.rows[chosen])
        self.targets = torch.from_numpy(records.targets[chosen]).float()
        self.ecg_ids = records.ecg_ids[chosen]
        self.patient_ids = records.patient_ids[chosen]
        self._signals_NCT = torch.from_numpy(records.cache.signals_NCT)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> ECGBatch:
        return ECGBatch(self._signals_NCT[self.rows[index]], self.targets[index], torch.tensor(index))

    def __getitems__(self, indices: Sequence[int]) -> ECGBatch:
        """Return a whole batch at once. PyTorch's loader calls this in place of `__getitem__`."""
        chosen = torch.as_tensor(indices)
        signals = self._signals_NCT.index_select(0, self.rows.index_select(0, chosen))
        return ECGBatch(signals, self.targets.index_select(0, chosen), chosen)

    def mean_and_std(self, per_lead: bool) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation in mV: (12, 1) each if `per_lead`, else (1, 1) over all leads."""
        n_leads, n_samples = self._signals_NCT.shape[1:]
        sums = torch.zeros(2, n_leads, dtype=torch.float64)
        for first in range(0, len(self), 1024):
            rows = self.rows[first : first + 1024]
            signals = self._signals_NCT.index_select(0, rows).double()
            sums += torch.stack([signals.sum(dim=(0, 2)), signals.square().sum(dim=(0, 2))])
        mean, square = (sums if per_lead else sums.mean(dim=1, keepdim=True)) / (len(self) * n_samples)
        std = (square - mean.square()).clamp_min(1.0).sqrt()  # avoids division by 0 for a flat lead
        return (mean[:, None] * 1e-3).float(), (std[:, None] * 1e-3).float()


class EpochShuffle(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run sees the records in the same order.

    Lightning calls `set_epoch`, but only after the first epoch's loader processes have begun to read.

    Args:
        n_records: the number of records in the split.
        seed: the seed of the order.
        epoch: the first epoch, from 0.
        n_seen: the number of records of that epoch that were seen already; they are left out.
    """

    def __init__(self, n_records: int, seed: int, epoch: int = 0, n_seen: int = 0) -> None:
        self.n_records = n_records
        self.seed = seed
        self.epoch = epoch
        self.n_seen = n_seen

    def __len__(self) -> int:
        """Return the number of records in a whole epoch, even if its first records are left out."""
        return self.n_records

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.n_records, generator=generator)[self.n_seen :].tolist())

    def set_epoch(self, epoch: int) -> None:
        """Go to the first record of another epoch."""
        if epoch != self.epoch:
            self.epoch, self.n_seen = epoch, 0


class EpochInOrder(SequentialSampler):
    """The same records in the same order in each epoch, for `trainer.overfit_batches`; see `EpochShuffle`."""

    def __init__(self, dataset: Dataset[ECGBatch], epoch: int = 0, n_seen: int = 0) -> None:
        super().__init__(dataset)  # type: ignore[arg-type]  # a dataset with a length
        self.epoch = epoch
        self.n_seen = n_seen

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n_seen, len(self)))

    set_epoch = EpochShuffle.set_epoch


class ECGDataModule(L.LightningDataModule):
    """The splits of a data set, as batches.

    Args:
        source: the data set.
        batch_size: the number of records per batch, for each device.
        train_folds: the folds of the training split.
        val_folds: the folds of the validation split.
        test_folds: the folds of the test split.
        num_workers: the number of loader processes; 0 is fastest here, because a batch costs 0.1 ms.
        seed: the seed of the training order.
    """

    def __init__(
        self,
        source: ECGSource,
        batch_size: int = 32,
        train_folds: Sequence[int] = SPLITS["train"],
        val_folds: Sequence[int] = SPLITS["val"],
        test_folds: Sequence[int] = SPLITS["test"],
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: must be at least 1")
        self.source = source
        self.batch_size = batch_size
        self.folds = {"train": tuple(train_folds), "val": tuple(val_folds), "test": tuple(test_folds)}
        self.num_workers = num_workers
        self.seed = seed
        self.datasets: dict[str, SignalDataset] = {}
        self.root_hash: str | None = None
        self.version: str | None = None
        self._left_out: dict[int, int] = {}
        self._start = (0, 0)

    def __repr__(self) -> str:
        loaded = " · ".join(f"{split} {len(dataset):,}" for split, dataset in self.datasets.items())
        return f"{type(self).__name__}({self.root}, {self.sampling_rate} Hz, {self.task}; {loaded or 'nothing loaded'})"

    __str__ = __repr__

    @property
    def root(self) -> Path:
        """The data set's folder."""
        return self.source.root

    @property
    def sampling_rate(self) -> int:
        """The sampling rate of the signals in Hz."""
        return self.source.sampling_rate

    @property
    def n_samples(self) -> int:
        """The number of samples per lead."""
        return self.source.n_samples

    @property
    def task(self) -> str:
        """The name of the label task."""
        return self.source.task

    @property
    def label_rule(self) -> str:
        """The name of the rule that makes the labels."""
        return self.source.label_rule

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the targets' columns."""
        return self.source.classes

    @property
    def dataset(self) -> str:
        """The data set's name. Folds are comparable only between data sets of the same name."""
        return self.source.name

    @property
    def n_left_out(self) -> int:
        """The number of missing or bad records that all loaded splits skipped."""
        return sum(self._left_out.values())

    def load(self, splits: Iterable[str]) -> None:
        """Read, check and keep the named splits. Only the files of their folds need to exist.

        Raises:
            DataError: the folder, a table, a record, a split or its labels cannot be used.
        """
        self.source.prepare()
        wanted = {split: self.folds[split] for split in splits}
        records = self.source.read(sorted({fold for folds in wanted.values() for fold in folds}))
        for split, folds in wanted.items():
            chosen = np.isin(records.folds, folds)
            if not chosen.any():
                raise DataError(
                    f"{self.root} holds no labelled record of the {split} folds {list(folds)}. Choose other folds "
                    f"with data.{split}_folds=[…]" + (", or set test=false" if split == "test" else "")
                )
            self.datasets[split] = SignalDataset(records, np.flatnonzero(chosen))
            check_scorable(records.targets[chosen], split, self.classes)
        loaded = self.datasets.values()  # including those of earlier calls
        check_patients(
            np.concatenate([dataset.patient_ids for dataset in loaded]),
            np.repeat(np.arange(len(loaded)), [len(dataset) for dataset in loaded]),
        )
        if "train" in wanted:
            targets = records.targets[np.isin(records.folds, wanted["train"])]
            check_learnable(targets, self.classes, self.source.tables, self.source.needs_every_class)
        self.root_hash, self.version = records.root_hash, records.version
        self._left_out |= records.left_out

    def setup(self, stage: str | None = None) -> None:
        """Load the splits that a Lightning stage needs and that are not loaded yet; without a stage, all splits."""
        needed = STAGE_SPLITS[stage] if stage else tuple(self.folds)
        if absent := [split for split in needed if split not in self.datasets]:
            self.load(absent)

    def train_dataloader(self) -> DataLoader[ECGBatch]:
        """Return shuffled batches. The last incomplete one is dropped: batch norm cannot train on one record."""
        dataset = self._loaded("train")
        epoch, n_seen = self._start[0], self._start[1] * self.batch_size
        sampler: Sampler[int] = EpochShuffle(len(dataset), self.seed, epoch, n_seen)
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            sampler = EpochInOrder(dataset, epoch, n_seen)
        return self._loader("train", sampler=sampler, drop_last=len(dataset) > self.batch_size)

    def start_at(self, epoch: int, batch: int) -> None:
        """Let the next training begin within an epoch. Records before that position are not read.

        Args:
            epoch: the epoch, from 0.
            batch: the number of batches of the epoch that were seen already.
        """
        self._start = (epoch, batch)

    def val_dataloader(self) -> DataLoader[ECGBatch]:
        """Return batches of the validation split, in the table's order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[ECGBatch]:
        """Return batches of the test split, in the table's order."""
        return self._loader("test")

    predict_dataloader = test_dataloader

    def _loaded(self, split: str) -> SignalDataset:
        if split not in self.datasets:
            raise DataError(f"the {split} split is not loaded. Call setup() first")
        return self.datasets[split]

    def _loader(self, split: str, sampler: Sampler[int] | None = None, drop_last: bool = False) -> DataLoader[ECGBatch]:
        return DataLoader(
            self._loaded(split),
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            collate_fn=_already_a_batch,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=stopping.outlive_stops,
        )


class PTBXLDataModule(ECGDataModule):
    """A data module of PTB-XL's official folds: 1–8 for training, 9 for validation, 10 for the test.

    Examples:
        >>> from ecg_lightning import PTBXLDataModule
        >>> data = PTBXLDataModule("PTBXL", sampling_rate=100, batch_size=32)
        >>> data.setup("fit")
        >>> batch = next(iter(data.train_dataloader()))
        >>> print(data, batch.signals.shape, batch.targets.shape)  # int16 (32, 12, 1000) in µV; (32, 5) labels

    Args:
        root: PTB-XL's own folder; it is only read.
        sampling_rate: 100 or 500 Hz.
        batch_size: the number of records per batch, for each device.
        label_rule: `benchmark` (likelihood ignored), `ge50` or `eq100`.
        task: a task of `labels.TASKS`.
        train_folds: the folds of the training split.
        val_folds: the folds of the validation split.
        test_folds: the folds of the test split.
        keep_unlabelled: keep records without a superclass, as all-zero targets.
        on_bad_record: `error` or `skip`.
        cache_dir: folder of the signal cache; the user's cache folder by default.
        num_workers: the number of loader processes; 0 is fastest here, because a batch costs 0.1 ms.
        seed: the seed of the training order.
    """

    def __init__(
        self,
        root: str | Path,
        sampling_rate: int = PTBXLConfig.sampling_rate,
        batch_size: int = PTBXLConfig.batch_size,
        label_rule: str = PTBXLConfig.label_rule,
        task: str = PTBXLConfig.task,
        train_folds: Sequence[int] = SPLITS["train"],
        val_folds: Sequence[int] = SPLITS["val"],
        test_folds: Sequence[int] = SPLITS["test"],
        keep_unlabelled: bool = PTBXLConfig.keep_unlabelled,
        on_bad_record: str = PTBXLConfig.on_bad_record,
        cache_dir: str | Path | None = None,
        num_workers: int = PTBXLConfig.num_workers,
        seed: int = 0,
    ) -> None:
        given = {
            "root": str(root),
            "sampling_rate": sampling_rate,
            "label_rule": label_rule,
            "task": task,
            "keep_unlabelled": keep_unlabelled,
            "on_bad_record": on_bad_record,
            "cache_dir": str(cache_dir) if cache_dir else None,
        }
        source = PTBXLSource(from_plain(PTBXLConfig, given, "data"))
        super().__init__(source, batch_size, train_folds, val_folds, test_folds, num_workers, seed)


def _already_a_batch(batch: Any) -> Any:
    """Return the batch unchanged. `__getitems__` returns an `ECGBatch`, which needs no collating."""
    return batch
