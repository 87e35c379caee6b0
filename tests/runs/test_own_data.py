"""Own records with own labels go the way of PTB-XL: trained, scored, read again, and an external validation."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from ecg_lightning.commands.evaluations import evaluate_run
from ecg_lightning.errors import ConfigError, DataError
from ecg_lightning.training import run as training
from ecg_lightning.training.leakage import check_unseen

QUIET = ["trainer.max_epochs=1", "logger=none", "callbacks.figures=false", "hardware.threads=1", "data.batch_size=16"]
TINY = ["model=resnet1d_wang", "model.channels=4", "hardware.precision=32-true"]


@pytest.fixture(scope="module")
def own_folder(synthetic_root, tmp_path_factory):
    """Sixty records with labels of their own; the table names patients, but no folds."""
    root = tmp_path_factory.mktemp("own") / "clinic"
    root.mkdir()
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv")[:60]
    for name in table["filename_lr"]:
        for suffix in (".hea", ".dat"):
            shutil.copy(f"{synthetic_root / name}{suffix}", root)
    own = pd.DataFrame({"path": [Path(name).name for name in table["filename_lr"]], "patient": table["patient_id"]})
    own["age"], own["sex"] = table["age"], table["sex"].map({0: "male", 1: "female"})
    own["healthy heart"] = table["scp_codes"].str.contains("'NORM'").astype(int)
    own["sinus"] = table["scp_codes"].str.contains("'SR'").astype(int)
    own.to_csv(root / "table.csv", index=False)
    return root


def settings_of(root, *more):
    return ["data=folder", f"data.root={root}", "data.table=table.csv", *QUIET, *more]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "duration"),
    [(["healthy heart", "sinus"], 10), (["healthy heart"], 4)],
    ids=["two classes", "one class, 4 s"],
)
def test_own_records_are_trained_scored_and_validated_elsewhere(
    configure, own_folder, synthetic_root, tmp_path, labels, duration
):
    data = [f"data.labels=[{','.join(labels)}]", f"data.duration_s={duration}", "data.licence=CC0"]
    result = training.run(configure(*settings_of(own_folder, *data), *TINY, output_dir=tmp_path / "run"))
    assert list(result.chosen["thresholds"]["raw"]) == labels
    assert result.data["dataset"].startswith("clinic, table ")
    assert result.data["n_train"] + result.data["n_val"] + result.data["n_test"] == 60
    found = evaluate_run(tmp_path / "run", "test", None, 100)
    assert [*found["positives"]] == labels
    assert "age_and_sex" in found
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert f"12-lead ECGs of {duration} s" in card
    checkpoint = f"ckpt_path={tmp_path}/run/checkpoints/best.ckpt"
    again = training.run(
        configure("train=false", checkpoint, *settings_of(own_folder, *data), output_dir=tmp_path / "again")
    )
    assert again.metrics["test"]["auroc_macro"] == result.metrics["test"]["auroc_macro"]
    other = configure(
        "train=false", checkpoint, "data=ptbxl", f"data.root={synthetic_root}", *QUIET, output_dir=tmp_path
    )
    with pytest.raises(ConfigError, match=r"of its own table. Name a table with these labels: data=folder"):
        training.run(other)


@pytest.mark.slow
def test_a_ptbxl_model_is_validated_on_own_records(configure, own_folder, synthetic_root, tmp_path):
    trained = training.run(
        configure("data=ptbxl", f"data.root={synthetic_root}", *QUIET, *TINY, output_dir=tmp_path / "run")
    )
    external = [
        *("train=false", f"ckpt_path={tmp_path}/run/checkpoints/best.ckpt"),
        *settings_of(own_folder, "data.test_folds=[1,2,3,4,5,6,7,8,9,10]"),
    ]
    result = training.run(
        configure(*external, "data.class_map={NORM: healthy heart}", output_dir=tmp_path / "external")
    )
    for kind, own in trained.chosen["thresholds"].items():
        assert result.chosen["thresholds"][kind] == {"NORM": own["NORM"]}
    assert result.chosen["temperature"] == trained.chosen["temperature"]
    assert result.metrics["test"]["n_classes"] == 1
    assert result.data["n_test"] == 60
    assert result.notes[0].startswith(
        "the checkpoint was trained on synthetic, seed 0, but the records scored here are"
    )
    assert result.notes[1:5] == [
        "classes compared with the table's labels: NORM with healthy heart",
        "no labels in the table, so left out of all scores, macro means included: CD, HYP, MI, STTC",
        "labels in the table that the model does not predict: sinus",
        "thresholds and calibration are the checkpoint's own, and nothing was fitted here",
    ]
    assert json.loads((tmp_path / "external" / "result.json").read_text())["notes"] == result.notes
    found = evaluate_run(tmp_path / "external", "test", None, 100)
    assert [*found["positives"]] == ["NORM"]
    assert found["calibration"].keys() == {"none", "temperature", "platt"}  # the checkpoint's own
    assert "age_and_sex" not in found  # all records are scored
    with pytest.raises(DataError, match="has labels of none of the checkpoint's classes"):
        training.run(configure(*external, output_dir=tmp_path))


def test_folds_of_another_version_of_a_table_are_warned_of(caplog):
    folds = {"train": [1], "val": [2], "test": [9]}
    run = SimpleNamespace(dataset="clinic, table 0123", folds=folds)
    caplog.set_level("WARNING")
    check_unseen("FILE", {"folds": {"train": [9], "val": [1]}, "dataset": "clinic, table 4567"}, run)
    assert "was trained on clinic, table 4567, and this run reads clinic, table 0123" in caplog.text
    caplog.clear()
    check_unseen("FILE", {"folds": {"train": [9], "val": [1]}, "dataset": "PTB-XL"}, run)
    assert not caplog.text
    with pytest.raises(ConfigError, match="was trained on fold 9"):
        check_unseen("FILE", {"folds": {"train": [9], "val": [1]}, "dataset": run.dataset}, run)
