"""The files that a run leaves to hand in, in three formats, and a warning where they cannot be written."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ecg_lightning.data.labels import TASKS
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.evaluation.report import evaluate
from ecg_lightning.reports import run_files
from ecg_lightning.reports.csv_table import to_csv
from ecg_lightning.reports.latex import to_latex
from ecg_lightning.reports.markdown import to_markdown
from ecg_lightning.reports.model_card import model_card
from ecg_lightning.reports.section import Column, Section, Spread, Table
from ecg_lightning.results.results import RunResult

TABLE = Table(
    [Column("run_a", "run"), Column("Δ", "change", "+.2f"), Column("F1", "f1", ".2f")],
    [["50 % & more", Interval(-0.1, -0.2, 0.05), Spread(0.5, 0.125)], ["x", None, Spread(0.25, None)]],
)


def test_each_format_writes_the_same_cells():
    section = Section("name", "A title", TABLE, notes=["a note"], legend="a legend")
    assert to_csv([TABLE]).splitlines() == [
        "run,change,change_low,change_high,f1,f1_sd", "50 % & more,-0.1,-0.2,0.05,0.5,0.125", "x,,,,0.25,",
    ]  # fmt: skip
    markdown = to_markdown([section]).splitlines()
    assert markdown[0] == "## A title"
    assert markdown[4] == "| 50 % & more | -0.10 [-0.20, +0.05] | 0.50 ± 0.12 |"
    assert markdown[-3:] == ["a note", "", "a legend"]
    latex = to_latex([section])
    assert r"run\_a & $\Delta$ & F1 \\" in latex
    assert r"50 \% \& more & $-$0.10 {\scriptsize [$-$0.20, +0.05]} & 0.50 $\pm$ 0.12 \\" in latex
    assert r"x & -- & 0.25 \\" in latex


@pytest.fixture
def finished(tmp_path):
    """A finished run's result with predictions of 40 records, already written."""
    random = np.random.default_rng(0)
    targets_NC = random.random((40, 2)) < 0.5
    split = Predictions(
        ("MI", "NORM"), "sigmoid", np.arange(40), np.arange(40), targets_NC, random.normal(size=(40, 2))
    )
    result = RunResult("ok", choices={"model": "vit"}, seed=0, overrides=["model=vit"])
    result.evaluation = {"val": evaluate(Choices.fit(split), split, 100).as_dict()}
    result.data = {"version": "synthetic", "n_val": 40}
    result.write(tmp_path)
    return tmp_path, result, {"val": split}


def test_a_run_without_a_data_module_leaves_its_curves(finished):
    folder, result, predictions = finished
    run_files.write_run_files(
        result, folder, run_files.draw_headline(predictions, Choices.fit(predictions["val"]), None, folder)
    )
    written = json.loads((folder / "result.json").read_text())["artifacts"]
    assert written.keys() == {
        "tables/per_class", "figures/roc", "figures/pr", "figures/calibration", "figures/confusion", "model_card",
    }  # fmt: skip
    assert all((folder / path).is_file() for path in written.values())
    card = (folder / "model_card.md").read_text()
    assert "The test folds were not scored." in card
    assert "![roc](figures/roc.png)" in card


def test_the_limits_on_a_model_card_fit_its_task_and_data(finished):
    result = dataclasses.asdict(finished[1])
    said = set()
    for task in TASKS:
        for data in ({"dataset": "PTB-XL"}, {"version": "synthetic"}, {"dataset": "table 0a1b"}):
            card = model_card({**result, "data": {"task": task, **data}}, {})
            limits = card.partition("Limits")[2]
            assert ("PTB-XL's" in limits) == ("dataset" in data and data["dataset"] == "PTB-XL")
            assert ("synthetic" in limits) == ("version" in data)
            assert ("diagnos" in limits) == (task not in ("form", "rhythm"))
            said.add(limits)
    assert len(said) == 3 * len(TASKS)


@pytest.mark.parametrize(
    ("error", "said"), [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "bytes are free on"), (KeyError("x"), "x")]
)
def test_a_full_disk_or_a_fault_is_one_warning_and_no_failure(finished, monkeypatch, caplog, error, said):
    folder, result, _ = finished
    before = (folder / "result.json").read_bytes()

    def fail(path, content):
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    run_files.write_run_files(result, folder, {})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert said in record.message
    assert (folder / "result.json").read_bytes() == before
    assert {path.name for path in folder.rglob("*")} == {"result.json", "tables"}
