"""`ecg-lightning reproduce`: the benchmark's protocol as one command, and a verdict that cannot flatter."""

import json

import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.commands.reproduction import N_RECORDS, PUBLISHED, TASKS, reproduction_rows


@pytest.fixture
def cell(configure, tmp_path, synthetic_root):
    def write(name, score, *overrides, model="xresnet1d101", task="superdiagnostic", records=None, status="ok"):
        n_train, n_test = records or N_RECORDS[task]
        own = [f"model={model}", f"data.task={task}", "seed=1", *overrides]
        cfg = configure("experiment=benchmark", "data=ptbxl", f"data.root={synthetic_root}", "hardware.threads=1", *own)
        (tmp_path / name).mkdir()
        OmegaConf.save(cfg, tmp_path / name / "config.yaml")
        result = {
            "status": status,
            "choices": {"model": model},
            "overrides": ["experiment=benchmark", *own],
            "data": {"task": task, "n_train": n_train, "n_test": n_test},
            "metrics": {"test": {"auroc_macro": score}} if status == "ok" else {},
        }
        (tmp_path / name / "result.json").write_text(json.dumps(result))

    return write


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.928, "reproduced"),
        (0.9235, "reproduced"),
        (0.9325, "reproduced"),
        (0.922, "not reproduced"),
        (0.934, "not reproduced"),
    ],
)
def test_within_the_tolerance_is_reproduced(cell, tmp_path, score, verdict):
    cell("0", score)
    (row,) = reproduction_rows(tmp_path)
    assert row["verdict"] == verdict
    assert row["published"] == 0.928


def test_seeds_are_averaged_and_failures_left_out(cell, tmp_path):
    cell("0", 0.92)
    cell("1", 0.93)
    cell("2", 0, status="failed")
    cell("3", 0.9, task="form")
    super_row, form = reproduction_rows(tmp_path)
    assert super_row["auroc_macro"] == pytest.approx(0.925)
    assert (super_row["seeds"], form["seeds"], form["published"]) == (2, 1, 0.896)


def test_a_part_of_the_records_reproduces_nothing(cell, tmp_path):
    cell("0", 0.928, records=(17_084, 60))
    cell("1", 0.928, records=(2_654, 2_158))
    assert [row["verdict"] for row in reproduction_rows(tmp_path)] == [
        "not comparable: 60 of fold 10's 2,158 records",
        "not comparable: trained on 2,654 of 17,084 records",
    ]


def test_other_settings_are_another_protocol(cell, tmp_path):
    """However near its score comes, and wherever the settings were; and they are no second seed of the same."""
    cell("0", 0.928)
    cell("1", 0.928, "trainer.max_epochs=1", "frontend.augmentation.amplitude=0.15")
    result = json.loads((tmp_path / "1" / "result.json").read_text())
    result["overrides"] = result["overrides"][:-2]  # as from conf/local/default.yaml
    (tmp_path / "1" / "result.json").write_text(json.dumps(result))
    older = OmegaConf.load(tmp_path / "0" / "config.yaml")
    del older.frontend.augmentation["tempo"]  # which an earlier version did not have
    OmegaConf.save(older, tmp_path / "0" / "config.yaml")
    own, other = reproduction_rows(tmp_path)
    assert (own["seeds"], own["verdict"]) == (1, "reproduced")
    assert (other["seeds"], other["verdict"]) == (
        1,
        "other settings than the protocol: frontend.augmentation.amplitude=0.15 trainer.max_epochs=1",
    )


def test_unknown_settings_reproduce_nothing(cell, tmp_path):
    cell("0", 0.928)
    (tmp_path / "0" / "config.yaml").unlink()
    assert (
        reproduction_rows(tmp_path)[0]["verdict"]
        == "other settings than the protocol: settings unknown, because config.yaml is missing"
    )


def test_the_first_version_of_ptbxl_is_comparable(cell, tmp_path):
    """Its fold 10 has a few records more, and the published table is of it."""
    cell("0", 0.93, records=(17_111, 2_163))
    assert reproduction_rows(tmp_path)[0]["verdict"] == "reproduced"


def test_every_published_model_and_task_can_be_run(configure):
    for model in PUBLISHED:
        assert len(PUBLISHED[model]) == len(TASKS) == len(N_RECORDS)
        cfg = configure("experiment=benchmark", f"model={model}")
        recurrent = model.startswith("lstm")
        assert cfg.model.optimizer.lr == (1e-3 if recurrent else 1e-2)
        assert cfg.trainer.gradient_clip_val == (0.25 if recurrent else None)
        assert (cfg.model.window_s, cfg.model.aggregate) == (2.5, "max")
    for task in TASKS:
        configure("experiment=benchmark", f"data.task={task}")


def test_a_run_without_a_test_score_is_left_out(cell, tmp_path):
    cell("0", 0.928)
    result = json.loads((tmp_path / "0" / "result.json").read_text())
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "result.json").write_text(json.dumps(result | {"metrics": {"val": {}}}))
    (row,) = reproduction_rows(tmp_path)
    assert row["seeds"] == 1


@pytest.mark.parametrize(
    "setting", ["seed=7", "model=xresnet1d18", "data.root=x", "test=false", "cross_validation=[7]"]
)
def test_what_makes_a_cell_is_not_the_users_to_set(tmp_path, setting):
    done = CliRunner().invoke(app, ["reproduce", "--root", "x", "--output", str(tmp_path / "o"), "--setting", setting])
    assert done.exit_code == 2
    assert f"--setting {setting}: " in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_setting_that_only_one_model_has_is_refused_before_anything_is_trained(synthetic_root, tmp_path):
    models = ["--model", "lstm", "--model", "inception1d"]
    command = ["reproduce", "--root", str(synthetic_root), "--output", str(tmp_path / "o"), *models]
    done = CliRunner().invoke(app, [*command, "--setting", "model.ends=last"])
    assert done.exit_code == 2
    assert "model.ends: the chosen model has no such key; these options have it: lstm" in " ".join(done.stderr.split())
    assert not (tmp_path / "o").exists()


def test_what_was_not_published_is_refused():
    for option, value in (("--model", "vit"), ("--task", "quality")):
        done = CliRunner().invoke(app, ["reproduce", "--root", "x", "--output", "y", option, value])
        assert done.exit_code == 2
        assert f"{option} {value}: the published table has" in done.stderr
