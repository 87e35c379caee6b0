import json

import pytest
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.results.results import RunResult
from ecg_lightning.version import __version__


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_labels_counts_by_split(synthetic_root):
    tables = [
        "--database",
        synthetic_root / "ptbxl_database.csv",
        "--statements",
        synthetic_root / "scp_statements.csv",
    ]
    done = call("labels", *tables, "--json")
    assert done.exit_code == 0
    splits = json.loads(done.stdout)["splits"]
    assert splits["all"]["records"] == 200
    assert sum(splits[name]["labelled"] for name in ("train", "val", "test")) == splits["all"]["labelled"]
    table = call("labels", *tables).stdout
    assert f"{splits['train']['NORM']:,}" in table
    assert call("labels", *tables, "--rule", "eq100").stdout != table


def test_models_are_listed_in_a_width_that_fits():
    told = call("models").stdout
    assert "resnet1d_wang       0.47 M  12 × 1000" in told
    assert max(map(len, told.splitlines())) <= 80
    assert {one["name"] for one in json.loads(call("models", "--json").stdout)} >= {"vit", "deit_base"}


def test_tab_completion_knows_the_commands():
    environment = {"_ECG_LIGHTNING_COMPLETE": "complete_bash", "COMP_WORDS": "ecg-lightning mod", "COMP_CWORD": "1"}
    assert CliRunner().invoke(app, [], prog_name="ecg-lightning", env=environment).stdout.split() == ["models"]


def test_what_is_no_run_is_told_apart(tmp_path):
    run, sweep, failed = tmp_path / "run", tmp_path / "sweep", tmp_path / "failed"
    for folder in (run / "checkpoints", sweep / "0_vit", failed, tmp_path / "empty"):
        folder.mkdir(parents=True)
    for path in (run / "predictions.csv", run / "checkpoints" / "best.ckpt", run / "model.onnx", sweep / "sweep.json"):
        path.touch()
    (sweep / "0_vit" / "predictions.csv").touch()
    RunResult("failed", "no room").write(failed)
    for arguments, said in (
        (("evaluate", run / "checkpoints" / "best.ckpt"), f"is a file. Name the folder of its run: {run}"),
        (
            ("evaluate", sweep),
            f"Compare its runs with ecg-lightning compare {sweep}, or name one of its runs: {sweep}/0_vit",
        ),
        (("evaluate", failed), "holds a run with the status failed: no room"),
        (("evaluate", tmp_path / "none"), "is not there. Name the folder of a run"),
        (("compare", run), f"{run} has nothing to compare with. Name two runs or more"),
        (("benchmark", run), f"{run} is a folder. Name the files in it: {run}/model.onnx"),
        (
            ("benchmark", tmp_path / "empty"),
            "is a folder. Name an exported file or a checkpoint; this folder holds neither",
        ),
    ):
        done = call(*arguments)
        assert done.exit_code in (2, 3)
        assert said in done.stderr, done.stderr


@pytest.mark.parametrize("rule", ["ge5", "none"])
def test_unknown_rule(rule, synthetic_root):
    tables = [
        "--database",
        synthetic_root / "ptbxl_database.csv",
        "--statements",
        synthetic_root / "scp_statements.csv",
    ]
    done = call("labels", *tables, "--rule", rule)
    assert done.exit_code == 2
    assert "benchmark, ge50, eq100" in done.stderr


def test_missing_table_is_one_sentence(tmp_path):
    done = call("labels", "--database", tmp_path / "no.csv", "--statements", tmp_path / "no.csv")
    assert done.exit_code == 3
    assert "no.csv is not there" in done.stderr


def test_synthesize_writes_and_refuses_a_foreign_folder(tmp_path):
    done = call("synthesize", tmp_path / "new", "--records", 100)
    assert done.exit_code == 0
    assert (tmp_path / "new" / "ptbxl_database.csv").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = call("synthesize", tmp_path / "mine", "--records", 100)
    assert done.exit_code == 3
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_version():
    assert call("--version").stdout.strip() == __version__
