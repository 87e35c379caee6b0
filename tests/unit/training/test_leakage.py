"""The folds that a model has seen are compared with those that a run holds out, within one data set."""

import shutil
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import pandas as pd
import pytest
from stages import describe_tiny

from ecg_lightning.checkpoints.description import check_description
from ecg_lightning.checkpoints.loading import licences_of
from ecg_lightning.components.registry import renamed
from ecg_lightning.compression.pipeline import described_after
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.identity import dataset_name
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.data.ptbxl_source import PTBXLSource, SyntheticSource
from ecg_lightning.data.schema import FolderConfig, PTBXLConfig, SyntheticConfig
from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.errors import CheckpointError, ConfigError
from ecg_lightning.training.leakage import (
    check_held_out,
    check_taught,
    check_unseen,
    data_notes,
    dataset_of,
    is_other_data,
    learned_from,
)

TASK = {"sampling_rate": 100, "label_rule": "benchmark", "task": "superdiagnostic"}
FOLDS = {"train": [*range(1, 9)], "val": [9], "test": [10]}
TARGETS = {name: f"ecg_lightning.data.datamodule.{name}DataModule" for name in ("PTBXL", "SyntheticPTBXL")}


def run_on(dataset, train=(1, 2, 3), val=(4,), test=(5,)):
    return SimpleNamespace(dataset=dataset, folds={"train": train, "val": val, "test": test}, **TASK)


def checkpoint(dataset="PTB-XL", folds=FOLDS, **more):
    return {"folds": folds, "dataset": dataset, **TASK, **more}


def old_checkpoint(target, **settings):
    """As revision 6647fd0 described one: without the name of its data set."""
    data = renamed({"_target_": TARGETS[target], **settings})
    return {"folds": FOLDS, "data": data, **TASK}


@pytest.mark.parametrize("check", [check_taught, check_unseen, lambda what, seen, run: check_held_out(seen, run, what)])
def test_folds_leak_within_a_data_set_alone(check):
    with pytest.raises(
        ConfigError, match=r"^FILE was trained on fold 4, which this run holds out.*another checkpoint$"
    ):
        check("FILE", checkpoint(), run_on("PTB-XL"))
    check("FILE", checkpoint("synthetic, seed 0"), run_on("PTB-XL"))
    check("FILE", checkpoint(), run_on("synthetic, seed 0"))


def test_a_checkpoint_chosen_by_a_tested_fold_leaks_within_a_data_set_alone():
    run = run_on("PTB-XL", train=(1,), val=(2,), test=(9,))
    taught = checkpoint(folds={"train": [1], "val": [9], "test": [10]})
    with pytest.raises(ConfigError, match="was chosen by fold 9, which is a test fold of this run"):
        check_unseen("FILE", taught, run)
    check_unseen("FILE", taught | {"dataset": "table 0123456789ab"}, run)


def test_what_a_teacher_learned_from_leaks_within_a_data_set_alone():
    own = {"train": [1], "val": [2], "test": [3]}
    for dataset, leaks in (("PTB-XL", True), ("synthetic, seed 0", False)):
        taught = checkpoint(folds=own, learned_from=learned_from([checkpoint(dataset)]))
        if leaks:
            with pytest.raises(
                ConfigError, match=r"learned from a model .* that was trained on fold 4, .*other folds$"
            ):
                check_unseen("FILE", taught, run_on("PTB-XL"))
        else:
            check_unseen("FILE", taught, run_on("PTB-XL"))


def test_what_is_learned_from_keeps_its_data_set_over_generations():
    first = checkpoint("synthetic, seed 3")
    second = checkpoint("synthetic, seed 4", learned_from=learned_from([first]))
    third = checkpoint("PTB-XL", learned_from=learned_from([second, second]))
    assert [seen["dataset"] for seen in learned_from([third])] == ["PTB-XL", "synthetic, seed 4", "synthetic, seed 3"]
    with pytest.raises(ConfigError, match="learned from a model"):
        check_unseen("FILE", third, run_on("synthetic, seed 3"))


def test_an_unknown_data_set_counts_as_the_runs_own():
    own = {"train": [1], "val": [2], "test": [3]}
    described = {"folds": FOLDS, **TASK}
    said = "does not name its data set, which is therefore assumed to be this run's"
    with pytest.raises(ConfigError, match=rf"was trained on fold 4, .*{said}"):
        check_unseen("FILE", described, run_on("PTB-XL"))
    earlier = checkpoint("synthetic, seed 0", own, learned_from=[{"train": [4], "val": [6], "test": [7]}])
    with pytest.raises(ConfigError, match=rf"learned from a model .*{said}"):
        check_unseen("FILE", earlier, run_on("PTB-XL"))
    assert not is_other_data(described, run_on("PTB-XL"))


def test_evaluation_on_seen_folds_is_noted_within_a_data_set_alone():
    run = run_on("PTB-XL", test=(1, 9))
    notes = [note.partition(";")[0].rpartition(" was ")[2] for note in data_notes(checkpoint(), run)]
    assert notes == ["trained on the test folds [1]", "chosen by the test folds [9]"]


def test_an_evaluation_on_other_data_says_which():
    said = "but the records scored here are of synthetic, seed 1"
    for trained in ("PTB-XL", "synthetic, seed 0"):
        (note,) = data_notes(checkpoint(trained), run_on("synthetic, seed 1", test=(1, 9)))
        assert note == f"the checkpoint was trained on {trained}, {said}"
    (note,) = data_notes({"folds": FOLDS, **TASK}, run_on("PTB-XL", test=(10,)))
    assert note == "the checkpoint does not say which data it was trained on; the records scored here are of PTB-XL"
    assert data_notes(checkpoint(), run_on("PTB-XL", test=(10,))) == []


def test_the_name_of_an_earlier_checkpoint_follows_from_its_data(synthetic_root, tmp_path):
    assert dataset_of(old_checkpoint("SyntheticPTBXL", root=None, data_seed=7)) == "synthetic, seed 7"
    assert dataset_of(old_checkpoint("PTBXL", root=str(synthetic_root))) == "synthetic, seed 0"
    assert dataset_of(old_checkpoint("PTBXL", root=str(tmp_path / "gone"))) is None
    assert dataset_of({"folds": FOLDS}) is None


@pytest.mark.parametrize(("dataset", "train"), [("PTB-XL", [1, 2, 3, 4, 5, 6, 7, 8]), ("synthetic, seed 0", [1, 2, 3])])
def test_a_compressed_model_remembers_the_data_of_its_fine_tuning_and_of_its_training(configure, dataset, train):
    """Folds of its training and its fine-tuning are one list only within a data set."""
    trained = checkpoint("PTB-XL")
    before = describe_tiny(configure, "resnet1d_wang") | trained
    prepared = SimpleNamespace(datamodule=run_on(dataset), trained=SimpleNamespace(description=trained))
    described = before | described_after({"kind": "bf16"}, before, SimpleNamespace(data=None), prepared)
    assert described["stages"] == [{"kind": "bf16"}]
    assert described["dataset"] == dataset
    assert described["folds"]["train"] == train
    assert described["learned_from"] == [{**FOLDS, "dataset": "PTB-XL"}]
    with pytest.raises(ConfigError, match="was chosen by fold 9"):
        check_unseen("FILE", described, run_on("PTB-XL", val=(), test=(9,)))


def test_a_model_keeps_the_licence_of_each_data_set_once(configure, tmp_path):
    """The same records keep the licence that they have, unless a run sets another one."""
    ptbxl, own = PTBXLConfig(root="there"), partial(FolderConfig, root="there", table="table.csv")
    described = describe_tiny(configure, "resnet1d_wang") | checkpoint("PTB-XL", data=asdict(ptbxl), batch_size=32)
    described["classes"] = [*SUPERCLASSES]
    licences = []
    for dataset, data in (
        ("PTB-XL", ptbxl),
        ("clinic", own()),
        ("clinic", own(licence="CC0")),
        ("clinic", own()),
        ("ward", own()),
        ("PTB-XL", ptbxl),
    ):
        run = run_on(dataset)
        run.source = SimpleNamespace(files=lambda: {"root": str(tmp_path)})
        prepared = SimpleNamespace(datamodule=run, trained=SimpleNamespace(description=described))
        described |= described_after({"kind": "bf16"}, described, SimpleNamespace(data=data), prepared)
        check_description(described, tmp_path)
        assert described["data"]["root"] == str(tmp_path)
        licences.append(licences_of(described))
    ours = "trained on own records, "
    first = [PTBXLSource.licence, f"{ours}CC0"]
    assert licences == [
        [PTBXLSource.licence],
        [PTBXLSource.licence, f"{ours}licence not given"],
        first,
        first,
        [*first, f"{ours}licence not given"],
        [*first, f"{ours}licence not given"],
    ]
    described["licences"] = ["\x1b[2J"]
    with pytest.raises(CheckpointError, match="licences is"):
        check_description(described, tmp_path)


# --- names of data sets -------------------------------------------------------------------------------------------


def test_a_synthetic_data_set_is_named_by_its_seed(synthetic_root, tmp_path):
    """The number of records changes neither a record nor its fold: fewer of them are a part of the same data set."""
    write_synthetic_ptbxl(tmp_path / "few", n_records=20, seed=0)
    write_synthetic_ptbxl(tmp_path / "other", n_records=20, seed=1)
    names = [dataset_name(root) for root in (synthetic_root, tmp_path / "few", tmp_path / "other")]
    assert names == ["synthetic, seed 0", "synthetic, seed 0", "synthetic, seed 1"]
    assert SyntheticSource(SyntheticConfig(root=str(tmp_path / "none"), data_seed=5)).name == "synthetic, seed 5"
    folds = [pd.read_csv(root / "ptbxl_database.csv")["strat_fold"][:20] for root in (synthetic_root, tmp_path / "few")]
    assert folds[0].equals(folds[1])


@pytest.mark.parametrize("marker", [None, b"{", b"[" * 9_999, b"[1]", b'{"seed": "1"}', b"\xff"])
def test_other_data_sets_are_named_by_their_records_and_patients(synthetic_root, tmp_path, marker):
    root = tmp_path / "other"
    root.mkdir()
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        shutil.copy(synthetic_root / name, root)
    if marker is not None:
        (root / "SYNTHETIC.json").write_bytes(marker)
    name = PTBXLDataModule(root).dataset
    assert name.startswith("table ")
    table = pd.read_csv(root / "ptbxl_database.csv")
    table.iloc[::-1].drop(columns="age").to_csv(root / "ptbxl_database.csv", index=False)  # of the same records
    assert dataset_name(root) == name
    table.assign(patient_id=table["patient_id"] + 1).to_csv(root / "ptbxl_database.csv", index=False)
    assert dataset_name(root) != name


def test_ptbxl_is_known_by_its_columns_and_its_ids(synthetic_root, tmp_path):
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv").assign(device="CS-12")
    shutil.copy(synthetic_root / "scp_statements.csv", tmp_path)
    for own, name in (
        (table[:12], "PTB-XL"),
        (table.assign(ecg_id=table["ecg_id"] + 30_000), "table "),
        (table.drop(columns="nurse"), "table "),
    ):
        own.to_csv(tmp_path / "ptbxl_database.csv", index=False)
        assert dataset_name(tmp_path).startswith(name)


@pytest.mark.real_data
def test_the_real_folder_is_known(ptbxl_root):
    assert dataset_name(ptbxl_root) == "PTB-XL"
