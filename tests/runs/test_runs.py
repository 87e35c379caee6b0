"""Trainings as the command line starts them: stopped, resumed and finished ones."""

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from jobs import SETTINGS, starter
from tiny import ROOT

from ecg_lightning.checkpoints.loading import described_in, read_checkpoint
from ecg_lightning.commands import launching
from ecg_lightning.errors import CheckpointError
from ecg_lightning.hardware import device as hardware
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.results.recipes import by_recipe
from ecg_lightning.results.results import read_result
from ecg_lightning.training import run as training
from ecg_lightning.training.resume import Place, Resume

pytestmark = pytest.mark.usefixtures("hears_signals")

OLD = ROOT / "tests" / "fixtures_6647fd0" / "checkpoints" / "last.ckpt"


@pytest.fixture
def start(configure, synthetic_root, monkeypatch):
    """Run one job in this process as Hydra would."""
    return starter(configure, synthetic_root, monkeypatch)


@pytest.fixture(scope="module")
def begun(configure, synthetic_root, tmp_path_factory):
    """The folder of a training of three epochs that was stopped in its second one; to be copied."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        begin_and_stop(starter(configure, synthetic_root, patch), folder)
    return folder


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_one_command_starts_goes_on_and_has_nothing_left(start, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first = start(tmp_path, "trainer.max_epochs=1", "ckpt_path=auto")
    before = files_of(tmp_path)
    assert "the training starts from the beginning" in caplog.text
    for more in ([], ["test=false"]):
        assert start(tmp_path, "trainer.max_epochs=1", "ckpt_path=auto", *more) == first
    assert "nothing is left to do" in caplog.text
    assert files_of(tmp_path) == before
    start(tmp_path, "trainer.max_epochs=2", "ckpt_path=last")
    assert "the one-cycle schedule now ends; the learning rate rises from" in caplog.text
    before = files_of(tmp_path)
    start(tmp_path, "trainer.max_epochs=1", "ckpt_path=last")
    assert "has trained 2 epochs, and trainer.max_epochs=1. To train fewer" in caplog.text
    assert files_of(tmp_path) == before
    longer = read_result(tmp_path)
    assert longer["earlier_lengths"] == [1]
    assert "the training was extended (1, then 2 epochs)" in longer["notes"][0]
    assert described_in(tmp_path / "checkpoints" / "last.ckpt")["training"]["earlier_lengths"] == [1]
    straight = tmp_path / "straight"
    start(straight, "trainer.max_epochs=2")
    assert by_recipe([tmp_path, straight]) == [[tmp_path], [straight]]
    with (tmp_path / "checkpoints" / "test_scored.csv").open() as ledger:
        assert len(list(csv.DictReader(ledger))) == 2


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("trainer.accumulate_grad_batches=2", "accumulate_grad_batches=1, but this run has 2"),
        ("trainer.limit_train_batches=3", "limit_train_batches=null, but this run has 3"),
        ("trainer.overfit_batches=2", "overfit_batches=0, but this run has 2"),
        ("trainer.gradient_clip_val=0.5", "gradient_clip_val=1.0, but this run has 0.5"),
        ("callbacks=ema", "callbacks.extra={}, but this run has"),
        ("data.batch_size=8", "batch_size=32, but this run has 8"),
        ("hardware.precision=bf16-mixed", "precision=32-true, but this run has bf16-mixed"),
        (
            "trainer.max_epochs=2",
            "belongs to a training of 3 epochs, which its learning-rate schedule depends on; "
            "this run has trainer.max_epochs=2",
        ),
    ],
)
def test_a_setting_that_changes_the_steps_is_refused_by_name(start, begun, tmp_path, capsys, caplog, setting, named):
    caplog.set_level(logging.INFO)
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    with pytest.raises(SystemExit) as end:
        start(tmp_path, "trainer.max_epochs=3", "ckpt_path=auto", setting)
    assert end.value.code == 3
    assert named in capsys.readouterr().err
    assert "resumes from" not in caplog.text
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"


def test_a_training_goes_on_with_its_data_set_and_recipe_alone():
    described = described_in(OLD)  # which holds no name of it
    resume = Resume(OLD, described, Place())
    resume.check_fits(described | {"dataset": "synthetic, seed 0"})
    with pytest.raises(CheckpointError, match="trained on the data set synthetic, seed 0, but data"):
        resume.check_fits(described | {"dataset": "PTB-XL"})
    own = described | {"dataset": "synthetic, seed 0"}
    optimizer = {**own["model"]["optimizer"], "lr": 0.5}
    with pytest.raises(CheckpointError, match=r"trained with model\.optimizer\.lr=0.01, but this run has 0.5"):
        resume.check_fits(own | {"model": {**own["model"], "optimizer": optimizer}})


def begin_and_stop(start, folder, *overrides, number=signal.SIGTERM):
    """A training of three epochs that is stopped in its second one."""

    def stopped(cfg, choices, given):
        original = ECGClassifier.training_step

        def step(self, batch, batch_idx):
            if self.current_epoch == 1 and batch_idx == 1:
                os.kill(os.getpid(), number)
            return original(self, batch, batch_idx)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ECGClassifier, "training_step", step)
            return training.run(cfg, choices, given)

    with pytest.raises(SystemExit) as end:
        start(folder, "trainer.max_epochs=3", "ckpt_path=auto", *overrides, work=stopped)
    return end.value.code


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)],
)
def test_each_signal_has_its_exit_code_and_loses_less_than_a_step(start, tmp_path, capsys, number, code):
    assert begin_and_stop(start, tmp_path, number=number) == code
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"
    way_out = f"run the same command with ckpt_path=auto hydra.run.dir={tmp_path} to resume"
    assert f"stopped by {signal.Signals(number).name}; {way_out}" in capsys.readouterr().err
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"] == 2
    assert checkpoint["global_step"] == 4 + 2  # 156 records, 32 a batch


def test_only_the_evaluation_of_a_whole_training_is_left(start, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    start(tmp_path, "trainer.max_epochs=1")
    (tmp_path / "result.json").unlink()  # it was killed before it could write this
    start(tmp_path, "trainer.max_epochs=1", "ckpt_path=auto")
    assert "has finished its 1 epochs; only the evaluation is left" in caplog.text
    assert "resumes from" not in caplog.text


def test_a_training_goes_on_with_its_threads(start, tmp_path, monkeypatch):
    begin_and_stop(start, tmp_path, "hardware.threads=1")
    monkeypatch.setattr(hardware, "default_threads", lambda: 2)
    start(tmp_path, "trainer.max_epochs=3", "ckpt_path=auto", "hardware.threads=null")
    assert json.loads((tmp_path / "result.json").read_text())["host"]["threads"] == 1


def test_a_refused_command_leaves_hydras_files(synthetic_root, tmp_path):
    def run(*overrides):
        settings = (*SETTINGS, f"data.root={synthetic_root}", f"hydra.run.dir={tmp_path}", "ckpt_path=auto")
        launching.train([*settings, *overrides])

    run("trainer.max_epochs=1")
    before = files_of(tmp_path / ".hydra")
    assert before
    (tmp_path / "cell.json").touch()  # a sweep made the folder
    with pytest.raises(SystemExit) as end:
        run("trainer.max_epochs=1", "model.channels=8")
    assert end.value.code == 3
    assert files_of(tmp_path / ".hydra") == before
    assert (tmp_path / "cell.json").exists()
    run("trainer.max_epochs=2")
    assert not (tmp_path / "cell.json").exists()
    after = files_of(tmp_path / ".hydra")
    assert b"max_epochs: 2" in after["config.yaml"]
    assert after["overrides.yaml"] == before["overrides.yaml"].replace(b"max_epochs=1", b"max_epochs=2")
    assert after["hydra.yaml"] == before["hydra.yaml"].replace(b"max_epochs=1", b"max_epochs=2")


def test_a_training_of_an_earlier_version_goes_on(configure, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(OLD, tmp_path / "checkpoints" / "last.ckpt")
    settings = ("data=synthetic", "data.n_records=100", *SETTINGS[1:], "trainer.max_epochs=2")
    result = training.run(configure(*settings, "ckpt_path=last", output_dir=tmp_path))
    assert result.timing["epochs"] == 2
    assert "has no digest" in caplog.text
    shutil.copy(OLD, tmp_path / "old.ckpt")  # beside which the look at the test folds is written down
    evaluate = ("train=false", f"ckpt_path={tmp_path}/old.ckpt", *settings[:2])
    assert training.run(configure(*evaluate, output_dir=tmp_path / "evaluated")).status == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_stopped_processes_go_on_bit_for_bit(synthetic_root, tmp_path, workers):
    settings = (*SETTINGS, f"data.root={synthetic_root}", f"data.num_workers={workers}", "trainer.max_epochs=8")
    command = [sys.executable, str(ROOT / "train.py"), *settings, "data.batch_size=4", "ckpt_path=auto"]

    def begin(folder):
        return subprocess.Popen([*command, f"hydra.run.dir={folder}"], start_new_session=True, stderr=subprocess.PIPE)

    assert begin(tmp_path / "whole").wait() == 0
    whole = read_checkpoint(tmp_path / "whole" / "checkpoints" / "last.ckpt")["state_dict"]
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        folder = tmp_path / signal.Signals(number).name
        process = begin(folder)
        while not (folder / "checkpoints" / "last.ckpt").exists():
            time.sleep(0.01)
        os.killpg(process.pid, number)
        assert process.wait() == code
        assert b"Traceback" not in process.stderr.read()
        assert begin(folder).wait() == 0
        again = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
        assert all(torch.equal(again[name], value) for name, value in whole.items())
