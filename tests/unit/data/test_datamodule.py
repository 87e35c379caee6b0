"""The Lightning data modules: splits, batches, order and statistics."""

from __future__ import annotations

import inspect
import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from ecg_lightning.data import ECGBatch, PTBXLDataModule
from ecg_lightning.data.datamodule import ECGDataModule, EpochShuffle, SignalDataset
from ecg_lightning.data.ptbxl_source import SyntheticSource
from ecg_lightning.data.schema import SyntheticConfig
from ecg_lightning.errors import ConfigError, DataError

EditTable = Callable[[Path, Callable[[pd.DataFrame], object]], None]


def loaded(root: Path, splits: Sequence[str] = ("train", "val", "test"), **settings: object) -> PTBXLDataModule:
    module = PTBXLDataModule(root, **settings)  # type: ignore[arg-type]
    module.load(splits)
    return module


def folds_of(dataset: SignalDataset, table: pd.DataFrame) -> set[int]:
    return set(table.set_index("ecg_id")["strat_fold"][dataset.ecg_ids.tolist()])


def source_signals(root: Path, dataset: SignalDataset, table: pd.DataFrame) -> np.ndarray:
    """The split's signals, (N, 12, T), by numpy alone."""
    names = table.set_index("ecg_id")["filename_lr"][dataset.ecg_ids.tolist()]
    return np.stack([np.fromfile(root / f"{name}.dat", "<i2").reshape(-1, 12).T for name in names])


def gathered(loader: DataLoader[ECGBatch]) -> ECGBatch:
    batches = list(loader)
    return ECGBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


# --- splits -------------------------------------------------------------------------------------------------------


def test_signature() -> None:
    parameters = inspect.signature(PTBXLDataModule).parameters
    assert next(iter(parameters)) == "root"
    assert (parameters["sampling_rate"].default, parameters["batch_size"].default) == (100, 32)
    module = PTBXLDataModule(root="~/ptbxl", sampling_rate=500, batch_size=8)
    assert module.root == Path.home() / "ptbxl"
    assert (module.batch_size, module.n_samples, module.classes) == (8, 5000, ("CD", "HYP", "MI", "NORM", "STTC"))


def test_splits_are_the_official_folds(pristine: Path, table: pd.DataFrame) -> None:
    datasets = loaded(pristine, keep_unlabelled=True).datasets
    assert {name: folds_of(dataset, table) for name, dataset in datasets.items()} == {
        "train": set(range(1, 9)),
        "val": {9},
        "test": {10},
    }
    assert sorted(itertools.chain(*(dataset.ecg_ids.tolist() for dataset in datasets.values()))) == list(range(1, 121))


def test_other_folds(pristine: Path, table: pd.DataFrame) -> None:
    datasets = loaded(pristine, train_folds=[1, 10], val_folds=[3], test_folds=[4, 5]).datasets
    assert {name: folds_of(dataset, table) for name, dataset in datasets.items()} == {
        "train": {1, 10},
        "val": {3},
        "test": {4, 5},
    }


@pytest.mark.parametrize(
    ("stage", "splits"),
    [("fit", {"train", "val"}), ("validate", {"val"}), ("test", {"test"}), ("predict", {"test"})],
)
def test_setup_loads_what_the_stage_needs(pristine: Path, stage: str, splits: set[str]) -> None:
    module = PTBXLDataModule(pristine)
    module.setup(stage)
    assert set(module.datasets) == splits
    assert len(module.root_hash or "") == 64
    assert module.version == "synthetic"


def test_setup_keeps_what_is_loaded(pristine: Path) -> None:
    module = loaded(pristine)
    before = dict(module.datasets)
    for stage in ("fit", "validate", "test", "predict"):
        module.setup(stage)
    assert all(module.datasets[split] is dataset for split, dataset in before.items())


def test_only_the_needed_folds_need_to_be_there(ptbxl: Path, table: pd.DataFrame) -> None:
    for name in table["filename_lr"][table["strat_fold"] != 10]:
        (ptbxl / f"{name}.dat").unlink()
    assert folds_of(loaded(ptbxl, ["test"]).datasets["test"], table) == {10}
    with pytest.raises(DataError, match="records are missing"):
        loaded(ptbxl, ["val", "test"])


def test_table_of_one_fold_is_enough_for_the_test(ptbxl: Path, table: pd.DataFrame) -> None:
    table[table["strat_fold"] == 10].to_csv(ptbxl / "ptbxl_database.csv", index=False)
    assert folds_of(loaded(ptbxl, ["test"]).datasets["test"], table) == {10}
    with pytest.raises(DataError, match=r"holds no labelled record of the train folds .*data\.train_folds="):
        loaded(ptbxl)


def test_missing_test_fold_says_how_to_go_without(ptbxl: Path, table: pd.DataFrame) -> None:
    table[table["strat_fold"] < 10].to_csv(ptbxl / "ptbxl_database.csv", index=False)
    with pytest.raises(DataError, match=r"of the test folds \[10\]\. .*data\.test_folds=.*, or set test=false"):
        loaded(ptbxl)
    assert len(loaded(ptbxl, ["train", "val"]).datasets) == 2


def test_one_class_training_labels_are_refused(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(ptbxl, lambda rows: rows["scp_codes"].where(rows["strat_fold"] > 8, "{'NORM': 100.0}").pipe(
        lambda codes: rows.__setitem__("scp_codes", codes)))  # fmt: skip
    with pytest.raises(DataError, match=r"a single class \(classes: NORM\), so nothing can be learned"):
        loaded(ptbxl)
    assert len(loaded(ptbxl, ["val", "test"]).datasets) == 2  # nothing is learned from those


def test_a_split_without_any_superclass_is_refused(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(
        ptbxl,
        lambda rows: rows.__setitem__("scp_codes", rows["scp_codes"].mask(rows["strat_fold"] == 9, "{'SR': 0.0}")),
    )
    module = PTBXLDataModule(ptbxl, keep_unlabelled=True)
    with pytest.raises(DataError, match=r"none of the \d+ val records has a class.*data\.val_folds"):
        module.load(("train", "val"))


def test_an_absent_superclass_is_told(ptbxl: Path, edit_table: EditTable, caplog: pytest.LogCaptureFixture) -> None:
    edit_table(
        ptbxl,
        lambda rows: rows.__setitem__("scp_codes", rows["scp_codes"].mask(rows["strat_fold"] == 9, "{'NORM': 100.0}")),
    )
    loaded(ptbxl)
    assert (
        "no val record has the class CD, HYP, MI, STTC, so macro means of this split average 1 classes" in caplog.text
    )
    assert "no train record" not in caplog.text


def test_left_out_records_are_counted(ptbxl: Path, table: pd.DataFrame) -> None:
    (ptbxl / f"{table['filename_lr'][0]}.dat").unlink()
    (ptbxl / f"{table['filename_lr'][1]}.dat").write_bytes(b"12")
    module = PTBXLDataModule(ptbxl, on_bad_record="skip")
    module.setup()
    assert set(module.datasets) == {"train", "val", "test"}
    assert module.n_left_out == 2
    apart = PTBXLDataModule(ptbxl, on_bad_record="skip")
    for split in ("train", "val", "test", "train"):  # each with its own folds, and one again
        apart.load((split,))
    assert apart.n_left_out == 2


def test_a_loader_before_setup_says_so(pristine: Path) -> None:
    module = PTBXLDataModule(pristine)
    for loader in (module.train_dataloader, module.val_dataloader, module.test_dataloader):
        with pytest.raises(DataError, match=r"Call setup\(\) first"):
            loader()
    with pytest.raises(ConfigError, match="batch_size=0"):
        PTBXLDataModule(pristine, batch_size=0)


def share_patient(rows: pd.DataFrame, one: int, other: int) -> None:
    """Gives one record of each of two folds the same patient."""
    codes = rows["scp_codes"].str.contains("NORM")
    first, second = (rows.index[(rows["strat_fold"] == fold) & codes][0] for fold in (one, other))
    rows.loc[[first, second], "patient_id"] = 4242


@pytest.mark.parametrize(("one", "other"), [(1, 9), (8, 10), (9, 10)])
def test_patient_in_two_splits(ptbxl: Path, edit_table: EditTable, one: int, other: int) -> None:
    edit_table(ptbxl, lambda rows: share_patient(rows, one, other))
    with pytest.raises(DataError, match=r"1 patients occur in two splits \(first: patient 4242\)"):
        loaded(ptbxl)


def test_patient_in_two_splits_that_are_loaded_one_after_the_other(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(ptbxl, lambda rows: share_patient(rows, 3, 10))
    module = PTBXLDataModule(ptbxl)
    module.setup("fit")
    with pytest.raises(DataError, match="patient 4242"):
        module.setup("test")


def test_patient_in_two_folds_of_one_split(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(ptbxl, lambda rows: share_patient(rows, 3, 4))
    assert len(loaded(ptbxl).datasets) == 3


@pytest.mark.parametrize("folds", [{"train_folds": range(1, 10)}, {"val_folds": [10]}, {"test_folds": [1]}])
def test_overlapping_folds(pristine: Path, folds: dict[str, Sequence[int]]) -> None:
    with pytest.raises(DataError, match=r"patients occur in two splits.*Choose disjoint folds"):
        loaded(pristine, **folds)


# --- batches ------------------------------------------------------------------------------------------------------


def test_batch(pristine: Path) -> None:
    batch = next(iter(loaded(pristine, batch_size=16).train_dataloader()))
    assert isinstance(batch, ECGBatch)
    assert batch._fields == ("signals", "targets", "places")
    assert (batch.places.dtype, len({*batch.places.tolist()})) == (torch.int64, 16)
    assert (batch.signals.dtype, tuple(batch.signals.shape)) == (torch.int16, (16, 12, 1000))
    assert (batch.targets.dtype, tuple(batch.targets.shape)) == (torch.float32, (16, 5))
    assert set(batch.targets.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_batches_are_all_records_in_order(
    pristine: Path, table: pd.DataFrame, split: str, num_workers: int
) -> None:
    module = loaded(pristine, batch_size=5, num_workers=num_workers)
    dataset, batch = module.datasets[split], gathered(getattr(module, f"{split}_dataloader")())
    np.testing.assert_array_equal(batch.signals.numpy(), source_signals(pristine, dataset, table))
    assert torch.equal(batch.targets, dataset.targets)
    assert dataset.ecg_ids.tolist() == sorted(dataset.ecg_ids.tolist())


def test_predict_batches_are_the_test_batches(pristine: Path) -> None:
    module = loaded(pristine)
    assert torch.equal(gathered(module.predict_dataloader()).signals, gathered(module.test_dataloader()).signals)


def test_batch_equals_its_single_records(pristine: Path) -> None:
    dataset = loaded(pristine).datasets["train"]
    indices = [7, 0, 3, 3, len(dataset) - 1]
    batch, singles = dataset.__getitems__(indices), [dataset[index] for index in indices]
    assert torch.equal(batch.signals, torch.stack([single.signals for single in singles]))
    assert torch.equal(batch.targets, torch.stack([single.targets for single in singles]))


def test_changing_a_batch_does_not_change_the_data(pristine: Path, table: pd.DataFrame) -> None:
    module = loaded(pristine)
    for batch in module.val_dataloader():
        batch.signals.zero_()
        batch.targets.zero_()
    dataset = module.datasets["val"]
    np.testing.assert_array_equal(
        gathered(module.val_dataloader()).signals.numpy(), source_signals(pristine, dataset, table)
    )
    assert gathered(module.val_dataloader()).targets.any()


def test_500_hz(pristine_500: Path) -> None:
    module = loaded(pristine_500, ["val"], sampling_rate=500, batch_size=4)
    assert next(iter(module.val_dataloader())).signals.shape == (4, 12, 5000)


# --- training order -----------------------------------------------------------------------------------------------


def order(seed: int, epoch: int, n_records: int = 50) -> list[int]:
    return list(EpochShuffle(n_records, seed, epoch))


def test_order_is_a_permutation_of_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    first = order(3, 5)
    torch.manual_seed(2)
    torch.rand(7)
    assert order(3, 5) == first
    assert sorted(first) == list(range(50))
    others = [order(3, 6), order(4, 5), order(0, 0), list(range(50))]
    assert all(first != other for other in others)


def test_training_order_follows_the_epoch_that_lightning_sets(pristine: Path) -> None:
    def orders(seed: int) -> list[list[int]]:
        module = loaded(pristine, ["train", "val"], seed=seed, batch_size=8)
        loader, seen = module.train_dataloader(), []
        for epoch in (0, 1, 2):
            loader.sampler.set_epoch(epoch)
            seen.append(list(loader.sampler))
            list(loader)  # reading moves no hidden state
        return seen

    first = orders(0)
    assert orders(0) == first
    assert len({tuple(epoch) for epoch in [*first, *orders(1)]}) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_reads_only_what_it_has_not_seen(pristine: Path, workers: int) -> None:
    module = loaded(pristine, ["train", "val"], batch_size=8, seed=3, num_workers=workers)
    module.start_at(2, 1)
    loader = module.train_dataloader()
    whole = list(EpochShuffle(len(module.datasets["train"]), 3, epoch=2))
    batches = list(loader)
    assert len(batches) == len(loader) - 1
    assert torch.cat([batch.places for batch in batches]).tolist() == whole[8 : 8 * len(loader)]
    loader.sampler.set_epoch(3)
    assert len(list(loader)) == len(loader)


def test_training_batches_are_the_records_in_that_order(pristine: Path) -> None:
    module = loaded(pristine, ["train", "val"], batch_size=8, seed=3)
    dataset, loader = module.datasets["train"], module.train_dataloader()
    batch = gathered(loader)
    expected = list(EpochShuffle(len(dataset), 3))[: len(batch.targets)]
    assert torch.equal(batch.signals, dataset.__getitems__(expected).signals)
    assert torch.equal(batch.targets, dataset.targets[expected])


def test_incomplete_training_batch_is_left_out(pristine: Path) -> None:
    n_records = len(loaded(pristine).datasets["train"])
    sizes = {
        batch_size: [len(batch.targets) for batch in loaded(pristine, batch_size=batch_size).train_dataloader()]
        for batch_size in (7, n_records - 1, n_records, n_records + 1)
    }
    assert sizes == {
        7: [7] * (n_records // 7),
        n_records - 1: [n_records - 1],
        n_records: [n_records],
        n_records + 1: [n_records],  # the only batch there is
    }
    assert n_records % 7, "the fixture shows nothing"


# --- statistics ---------------------------------------------------------------------------------------------------


def test_mean_and_std_equal_numpy(pristine: Path, table: pd.DataFrame) -> None:
    dataset = loaded(pristine).datasets["train"]
    millivolts = source_signals(pristine, dataset, table).astype(np.float64) / 1000
    for per_lead, axes in ((True, (0, 2)), (False, (0, 1, 2))):
        mean, std = dataset.mean_and_std(per_lead)
        assert mean.shape == std.shape == ((12, 1) if per_lead else (1, 1))
        np.testing.assert_allclose(mean.numpy().ravel(), np.ravel(millivolts.mean(axis=axes)), rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(std.numpy().ravel(), np.ravel(millivolts.std(axis=axes)), rtol=1e-5)


def test_flat_lead_has_a_spread_to_divide_by(
    ptbxl: Path, table: pd.DataFrame, write_record: Callable[..., None]
) -> None:
    for name in table["filename_lr"]:
        signals = np.fromfile(ptbxl / f"{name}.dat", "<i2").reshape(-1, 12).T.copy()
        signals[4] = 250
        write_record((ptbxl / name).parent, Path(name).name, signals)
    mean, std = loaded(ptbxl).datasets["train"].mean_and_std(per_lead=True)
    assert float(mean[4]) == pytest.approx(0.25)
    assert float(std[4]) == pytest.approx(0.001)


# --- synthetic ----------------------------------------------------------------------------------------------------


def test_synthetic_module_writes_and_reads(tmp_path: Path) -> None:
    root = tmp_path / "made"
    module = ECGDataModule(SyntheticSource(SyntheticConfig(root=str(root), n_records=100)), batch_size=4)
    assert not root.exists(), "nothing is written before it is needed"
    module.setup("fit")
    assert (root / "ptbxl_database.csv").exists()
    assert next(iter(module.train_dataloader())).signals.shape == (4, 12, 1000)
    again = ECGDataModule(SyntheticSource(SyntheticConfig(root=str(root), n_records=100)), batch_size=4)
    again.setup("fit")
    assert again.root_hash == module.root_hash


def test_synthetic_folder_is_below_the_cache_by_default(cache_dir: Path) -> None:
    module = ECGDataModule(SyntheticSource(SyntheticConfig(n_records=100, data_seed=2, sampling_rate=500)))
    module.load(["val"])
    assert module.root == cache_dir / "synthetic" / "100-records-seed2-500hz"
    assert next(iter(module.val_dataloader())).signals.shape[1:] == (12, 5000)


def test_synthetic_module_leaves_other_folders_alone(ptbxl: Path) -> None:
    (ptbxl / "SYNTHETIC.json").unlink()
    before = sorted(ptbxl.rglob("*"))
    with pytest.raises(DataError, match="holds other files than a synthetic data set"):
        ECGDataModule(SyntheticSource(SyntheticConfig(root=str(ptbxl), n_records=120))).setup("fit")
    assert sorted(ptbxl.rglob("*")) == before


def test_real_module_never_writes_the_synthetic_folder(ptbxl: Path) -> None:
    shutil.rmtree(ptbxl)
    with pytest.raises(DataError, match="does not exist; nothing was downloaded"):
        PTBXLDataModule(ptbxl).setup("fit")
    assert not ptbxl.exists()


# --- the real records ---------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_training_statistics(ptbxl_root: Path) -> None:
    """Ten-second ECGs in mV: centred, with a spread of a few tenths."""
    module = loaded(ptbxl_root, ["test"], on_bad_record="skip")
    mean, std = module.datasets["test"].mean_and_std(per_lead=True)
    assert mean.abs().max() < 0.05
    assert 0.05 < std.min() < std.max() < 0.6


@pytest.mark.parametrize("setting", [{"sampling_rate": 250}, {"label_rule": "any"}, {"on_bad_record": "ignore"}])
def test_unknown_settings_are_refused(setting, tmp_path):
    (name,) = setting
    with pytest.raises(ConfigError, match=f"{name}=.*allowed are"):
        PTBXLDataModule(tmp_path, **setting)
