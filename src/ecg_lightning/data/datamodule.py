"""PTB-XL as a LightningDataModule: whole batches of int16 signals, nothing computed per sample."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from ecg_lightning import stopping
from ecg_lightning.data.cache import default_cache_dir
from ecg_lightning.data.identity import N_PTBXL, PTBXL, dataset_name, synthetic_name
from ecg_lightning.data.labels import LABEL_RULES, SPLITS, TASKS
from ecg_lightning.data.ptbxl import (
    FILENAME_COLUMN,
    Records,
    check_learnable,
    check_patients,
    check_root,
    check_scorable,
    read_classes,
    read_ptbxl,
)
from ecg_lightning.data.synthetic import is_written, write_synthetic_ptbxl
from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.errors import ConfigError, DataError
from ecg_lightning.long_steps import long_step

log = logging.getLogger(__name__)

TASK_KEYS = ("sampling_rate", "label_rule", "task")
"""Settings of the data that make a checkpoint's task what it is."""

STAGE_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class ECGBatch(NamedTuple):
    """One batch.

    Attributes:
        signals: int16 (B, 12, T), 1 µV a unit, leads in the order of `wfdb.LEADS`.
        targets: float32 (B, C) multi-hot, classes in the order of the data module's.
        places: int64 (B,), where the records stand in their split.
    """

    signals: Tensor
    targets: Tensor
    places: Tensor | None = None


class SignalDataset(Dataset[ECGBatch]):
    """Records of one split; a whole batch is one `index_select` on the memory-mapped cache."""

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
        """A whole batch at once; PyTorch's loader calls this in place of `__getitem__`."""
        chosen = torch.as_tensor(indices)
        signals = self._signals_NCT.index_select(0, self.rows.index_select(0, chosen))
        return ECGBatch(signals, self.targets.index_select(0, chosen), chosen)

    def mean_and_std(self, per_lead: bool) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation in mV: (12, 1) each where `per_lead`, else over all leads, (1, 1)."""
        n_leads, n_samples = self._signals_NCT.shape[1:]
        sums = torch.zeros(2, n_leads, dtype=torch.float64)
        for first in range(0, len(self), 1024):
            rows = self.rows[first : first + 1024]
            signals = self._signals_NCT.index_select(0, rows).double()
            sums += torch.stack([signals.sum(dim=(0, 2)), signals.square().sum(dim=(0, 2))])
        mean, square = (sums if per_lead else sums.mean(dim=1, keepdim=True)) / (len(self) * n_samples)
        std = (square - mean.square()).clamp_min(1.0).sqrt()  # a flat lead has no spread to divide by
        return (mean[:, None] * 1e-3).float(), (std[:, None] * 1e-3).float()


class EpochShuffle(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run sees the order it would have seen.

    Lightning names the epoch by `set_epoch`, but only after the first epoch's loader processes have begun to read.

    Args:
        n_records: of the split.
        seed: of the order.
        epoch: the first one, from 0.
        n_seen: records of it that were seen, and are left out.
    """

    def __init__(self, n_records: int, seed: int, epoch: int = 0, n_seen: int = 0) -> None:
        self.n_records = n_records
        self.seed = seed
        self.epoch = epoch
        self.n_seen = n_seen

    def __len__(self) -> int:
        """Records of a whole epoch, also where its first ones are left out."""
        return self.n_records

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.n_records, generator=generator)[self.n_seen :].tolist())

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch, from its first record on."""
        if epoch != self.epoch:
            self.epoch, self.n_seen = epoch, 0


class EpochInOrder(SequentialSampler):
    """The same records in the same order each epoch, for `trainer.overfit_batches`; see `EpochShuffle`."""

    def __init__(self, dataset: Dataset[ECGBatch], epoch: int = 0, n_seen: int = 0) -> None:
        super().__init__(dataset)  # type: ignore[arg-type]  # a dataset with a length
        self.epoch = epoch
        self.n_seen = n_seen

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n_seen, len(self)))

    set_epoch = EpochShuffle.set_epoch


class PTBXLDataModule(L.LightningDataModule):
    """PTB-XL's official folds: 1–8 for training, 9 for validation, 10 for the test.

    Example:
        >>> from ecg_lightning import PTBXLDataModule
        >>> data = PTBXLDataModule("PTBXL", sampling_rate=100, batch_size=32)
        >>> data.setup("fit")
        >>> batch = next(iter(data.train_dataloader()))
        >>> print(data, batch.signals.shape, batch.targets.shape)  # int16 (32, 12, 1000) in µV; (32, 5) labels

    Args:
        root: PTB-XL's own folder; it is only read.
        sampling_rate: 100 or 500 Hz.
        batch_size: records a batch, for each device.
        label_rule: `benchmark` (likelihood ignored), `ge50` or `eq100`.
        task: one of `labels.TASKS`.
        train_folds: folds of the training split.
        val_folds: folds of the validation split.
        test_folds: folds of the test split.
        keep_unlabelled: keep records without a superclass, as all-zero targets.
        on_bad_record: `error` or `skip`.
        cache_dir: folder of the signal cache; the user's cache folder by default.
        num_workers: loader processes; 0 is fastest here, since a batch costs 0.1 ms.
        seed: of the training order.
    """

    def __init__(
        self,
        root: str | Path,
        sampling_rate: int = 100,
        batch_size: int = 32,
        label_rule: str = "benchmark",
        task: str = "superdiagnostic",
        train_folds: Sequence[int] = SPLITS["train"],
        val_folds: Sequence[int] = SPLITS["val"],
        test_folds: Sequence[int] = SPLITS["test"],
        keep_unlabelled: bool = False,
        on_bad_record: str = "error",
        cache_dir: str | Path | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("sampling_rate", sampling_rate, tuple(FILENAME_COLUMN)),
            ("label_rule", label_rule, tuple(LABEL_RULES)),
            ("task", task, tuple(TASKS)),
            ("on_bad_record", on_bad_record, ("error", "skip")),
        ):
            if value not in allowed:
                raise ConfigError(f"{name}={value!r}: allowed are {', '.join(map(str, allowed))}")
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: must be at least 1")
        self.root = Path(root).expanduser()
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.label_rule = label_rule
        self.task = task
        self.folds = {"train": tuple(train_folds), "val": tuple(val_folds), "test": tuple(test_folds)}
        self.keep_unlabelled = keep_unlabelled
        self.on_bad_record = on_bad_record
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
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

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the targets' columns."""
        if self.task != "superdiagnostic":  # whose classes are known without the folder
            self._prepare()
        return read_classes(self.root, self.task)

    @cached_property
    def dataset(self) -> str:
        """The data set's name, see `identity.dataset_name`."""
        check_root(self.root)
        return dataset_name(self.root)

    @property
    def n_samples(self) -> int:
        """Samples a lead."""
        return DURATION_S * self.sampling_rate

    @property
    def n_left_out(self) -> int:
        """Records of all loaded splits that are missing or bad and were skipped."""
        return sum(self._left_out.values())

    def load(self, splits: Iterable[str]) -> None:
        """Read, check and keep the named splits; only their folds need to be there.

        Raises:
            DataError: the folder, a table, a record, a split or its labels cannot be used.
        """
        self._prepare()
        wanted = {split: self.folds[split] for split in splits}
        records = read_ptbxl(
            self.root,
            sampling_rate=self.sampling_rate,
            label_rule=self.label_rule,
            task=self.task,
            folds=sorted({fold for folds in wanted.values() for fold in folds}),
            keep_unlabelled=self.keep_unlabelled,
            on_bad_record=self.on_bad_record,
            cache_dir=self.cache_dir,
        )
        if self.root_hash is None:
            self._log_part(len(records.cache.row_of))
        for split, folds in wanted.items():
            chosen = np.isin(records.folds, folds)
            if not chosen.any():
                raise DataError(
                    f"{self.root} holds no labelled record of the {split} folds {list(folds)}. Choose other folds "
                    f"with data.{split}_folds=[…]" + (", or set test=false" if split == "test" else "")
                )
            self.datasets[split] = SignalDataset(records, np.flatnonzero(chosen))
            check_scorable(records.targets[chosen], split, self.classes)
        loaded = self.datasets.values()  # those of earlier calls, too
        check_patients(
            np.concatenate([dataset.patient_ids for dataset in loaded]),
            np.repeat(np.arange(len(loaded)), [len(dataset) for dataset in loaded]),
        )
        if "train" in wanted:
            check_learnable(records.targets[np.isin(records.folds, wanted["train"])], self.classes)
        self.root_hash, self.version = records.root_hash, records.version
        self._left_out |= records.left_out

    def _log_part(self, n_records: int) -> None:
        """Say that PTB-XL is not complete here: files may be missing, or rows of the table."""
        if self.dataset == PTBXL and n_records < N_PTBXL:
            log.info("%s holds %s of the %s records of PTB-XL", self.root, f"{n_records:,}", f"{N_PTBXL:,}")

    def _prepare(self) -> None:
        """Nothing: the folder is the user's."""

    def setup(self, stage: str | None = None) -> None:
        """Lightning's hook: load what the stage needs and is not loaded yet; without a stage, all."""
        needed = STAGE_SPLITS[stage] if stage else tuple(self.folds)
        if absent := [split for split in needed if split not in self.datasets]:
            self.load(absent)

    def train_dataloader(self) -> DataLoader[ECGBatch]:
        """Shuffled batches; the last incomplete one is left out, since batch norm cannot train on one record."""
        dataset = self._loaded("train")
        epoch, n_seen = self._start[0], self._start[1] * self.batch_size
        sampler: Sampler[int] = EpochShuffle(len(dataset), self.seed, epoch, n_seen)
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            sampler = EpochInOrder(dataset, epoch, n_seen)
        return self._loader("train", sampler=sampler, drop_last=len(dataset) > self.batch_size)

    def start_at(self, epoch: int, batch: int) -> None:
        """Let the next training begin within an epoch; what is before that place is not read.

        Args:
            epoch: from 0.
            batch: batches of the epoch that were seen.
        """
        self._start = (epoch, batch)

    def val_dataloader(self) -> DataLoader[ECGBatch]:
        """Batches of the validation split, in the table's order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[ECGBatch]:
        """Batches of the test split, in the table's order."""
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


class SyntheticPTBXLDataModule(PTBXLDataModule):
    """The embedded default: a PTB-XL-shaped folder from a physiological model, read as real data is.

    For trying and testing the framework: its scores have no medical meaning.

    Args:
        root: the folder to write to; under the cache folder by default. A folder made by others is refused.
        n_records: how many records.
        data_seed: of the records; the same seed gives the same bytes.
        **settings: as for `PTBXLDataModule`.
    """

    def __init__(
        self, root: str | Path | None = None, n_records: int = 2000, data_seed: int = 0, **settings: object
    ) -> None:
        rate = settings.get("sampling_rate", 100)
        cache_dir = Path(str(settings.get("cache_dir") or default_cache_dir())).expanduser()
        super().__init__(
            root or cache_dir / "synthetic" / f"{n_records}-records-seed{data_seed}-{rate}hz",
            **settings,  # type: ignore[arg-type]  # checked by PTBXLDataModule's own signature
        )
        self.n_records = n_records
        self.data_seed = data_seed

    @property
    def dataset(self) -> str:  # known before the folder is written
        """The data set's name."""
        return synthetic_name(self.data_seed)

    def is_written(self) -> bool:
        """Return whether the folder holds these very records, so that nothing would be written.

        Raises:
            DataError: it holds something else.
        """
        return is_written(self.root, self.n_records, self.data_seed, (self.sampling_rate,))

    def _prepare(self) -> None:
        """Write the folder where it is not there yet; it is then read as PTB-XL."""
        if self.is_written():
            return
        with long_step(log, f"writing {self.n_records:,} synthetic records to {self.root}"):
            write_synthetic_ptbxl(self.root, self.n_records, self.data_seed, (self.sampling_rate,))


def _already_a_batch(batch: Any) -> Any:
    """`__getitems__` gives an `ECGBatch`, which needs no collating."""
    return batch
