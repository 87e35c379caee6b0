import json

import pytest
from typer.testing import CliRunner

from ecg_lightning import __version__
from ecg_lightning.cli import app


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
