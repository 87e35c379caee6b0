"""`ecg-lightning reproduce`: the benchmark's protocol as one command, and a verdict that cannot flatter."""

import json
import os
import subprocess
import sys

import pytest
from tiny import ROOT
from typer.testing import CliRunner

from ecg_lightning.cli import app
from ecg_lightning.runs.reproduction import N_TEST, PUBLISHED, TASKS, reproduction_rows


def _cell(folder, name, score, model="xresnet1d101", task="superdiagnostic", n_test=2158, status="ok", overrides=()):
    (folder / name).mkdir()
    result = {
        "status": status,
        "choices": {"model": model},
        "overrides": ["experiment=benchmark", f"model={model}", "seed=1", "hardware=cuda", *overrides],
        "data": {"task": task, "n_test": n_test},
        "metrics": {"test": {"auroc_macro": score}} if status == "ok" else {},
    }
    (folder / name / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.928, "reproduced"), (0.9235, "reproduced"), (0.9325, "reproduced"), (0.922, "off"), (0.934, "off")],
)
def test_within_the_tolerance_is_reproduced(tmp_path, score, verdict):
    _cell(tmp_path, "0", score)
    (row,) = reproduction_rows(tmp_path)
    assert row["verdict"] == verdict
    assert row["published"] == 0.928


def test_seeds_are_averaged_and_failures_left_out(tmp_path):
    _cell(tmp_path, "0", 0.92)
    _cell(tmp_path, "1", 0.93)
    _cell(tmp_path, "2", 0, status="failed")
    _cell(tmp_path, "3", 0.9, task="form", n_test=880)
    super_row, form = reproduction_rows(tmp_path)
    assert super_row["auroc_macro"] == pytest.approx(0.925)
    assert (super_row["seeds"], form["seeds"], form["published"]) == (2, 1, 0.896)


def test_a_part_of_fold_10_reproduces_nothing(tmp_path):
    _cell(tmp_path, "0", 0.928, n_test=60)
    (row,) = reproduction_rows(tmp_path)
    assert row["verdict"] == "not comparable: 60 of fold 10's 2,158 records"


def test_other_settings_are_another_protocol(tmp_path):
    """However near its score comes; and they are no second seed of the same."""
    _cell(tmp_path, "0", 0.928)
    _cell(tmp_path, "1", 0.928, overrides=["trainer.max_epochs=1", "frontend/augmentation=mild"])
    own, other = reproduction_rows(tmp_path)
    assert (own["seeds"], own["verdict"]) == (1, "reproduced")
    assert (other["seeds"], other["verdict"]) == (
        1,
        "not the protocol: frontend/augmentation=mild trainer.max_epochs=1",
    )


def test_the_first_version_of_ptbxl_is_comparable(tmp_path):
    """Its fold 10 has a few records more, and the published table is of it."""
    _cell(tmp_path, "0", 0.93, n_test=2163)
    assert reproduction_rows(tmp_path)[0]["verdict"] == "reproduced"


def test_every_published_model_and_task_can_be_run(configure):
    for model in PUBLISHED:
        assert len(PUBLISHED[model]) == len(TASKS) == len(N_TEST)
        cfg = configure("experiment=benchmark", f"model={model}")
        recurrent = model.startswith("lstm")
        assert cfg.model.optimizer.lr == (1e-3 if recurrent else 1e-2)
        assert cfg.trainer.gradient_clip_val == (0.25 if recurrent else None)
        assert (cfg.model.window_s, cfg.model.aggregate) == (2.5, "max")
    for task in TASKS:
        configure("experiment=benchmark", f"data.task={task}")


def test_the_command_trains_and_compares(synthetic_root, tmp_path):
    small = ["trainer.max_epochs=1", "model.channels=8", "data.batch_size=16", "hardware.threads=1"]
    settings = [part for one in small for part in ("--setting", one)]
    command = ["reproduce", "--root", str(synthetic_root), "--output", f"{tmp_path}/it's", "--seeds", "2", *settings]
    done = subprocess.run(
        [sys.executable, "-c", "from ecg_lightning.cli import app; app()", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not comparable" in " ".join(done.stdout.split())
    assert len(list((tmp_path / "it's").glob("*/result.json"))) == 2


def test_what_was_not_published_is_refused():
    for option, value in (("--model", "vit"), ("--task", "quality")):
        done = CliRunner().invoke(app, ["reproduce", "--root", "x", "--output", "y", option, value])
        assert done.exit_code == 2
        assert f"{option} {value}: the published table has" in done.stderr
