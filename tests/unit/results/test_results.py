"""The record of a run: which code it came from, and which data."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from ecg_lightning.results import results
from ecg_lightning.results.equality import differing
from ecg_lightning.training.announce import data_name


def test_the_revision_is_of_this_code_and_not_of_the_repository_around_it(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    installed = tmp_path / "site-packages" / "results.py"
    installed.parent.mkdir()
    shutil.copy(results.__file__, installed)
    monkeypatch.setattr(results, "__file__", str(installed))
    assert results.git_revision() is None
    for command in (["init"], ["commit", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    assert results.git_revision() is None
    for command in (["add", "."], ["commit", "-m", "ours"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert head.startswith(results.git_revision() or "nothing")
    installed.write_text("changed")
    assert (results.git_revision() or "").endswith("-dirty")


@pytest.mark.parametrize(
    ("version", "dataset", "name"),
    [
        ("synthetic", "synthetic, seed 0", "synthetic data"),
        ("1.0.3", "PTB-XL", "PTB-XL 1.0.3"),
        ("unknown", "PTB-XL", "a part of PTB-XL"),
        ("unknown", "table 0a1b", "records that are not PTB-XL's (table 0a1b)"),
    ],
)
def test_a_run_names_its_data(version, dataset, name):
    assert data_name(SimpleNamespace(version=version, dataset=dataset)) == name


def test_one_batch_is_not_all_of_them():
    one, other = ({"trainer": {"limit_train_batches": limit}} for limit in (1, 1.0))
    assert differing(one, other) == ["trainer.limit_train_batches"]
    assert not differing(one, {"trainer": {"limit_train_batches": 1, "limit_val_batches": None}})
