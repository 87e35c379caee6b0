"""Jobs as the command line starts them: going on, nothing left, locks, stops, full disks and their exit codes."""

import csv
import errno
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import filelock
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from tiny import ROOT

from ecg_lightning.checkpoints.io import save_checkpoint
from ecg_lightning.checkpoints.loading import described_in, read_checkpoint
from ecg_lightning.commands import job, launching
from ecg_lightning.config import validation
from ecg_lightning.errors import CheckpointError, DiskFullError, UserError
from ecg_lightning.hardware import device as hardware
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.results.recipes import by_recipe
from ecg_lightning.results.results import RunResult, read_result
from ecg_lightning.system import stopping
from ecg_lightning.system.disk import is_full, leave_full_disks_to_the_main_thread
from ecg_lightning.training import run as training
from ecg_lightning.training.resume import Place, Resume

pytestmark = pytest.mark.usefixtures("hears_signals")

OLD = ROOT / "tests" / "fixtures_6647fd0" / "checkpoints" / "last.ckpt"
SETTINGS = (
    *("data=ptbxl", "model=resnet1d_wang", "model.channels=4", "hardware.precision=32-true", "hardware.threads=1"),
    *("logger=none", "callbacks.figures=false"),
)


@pytest.fixture
def start(configure, synthetic_root, monkeypatch):
    """Run one job in this process as Hydra would."""
    return _starter(configure, synthetic_root, monkeypatch)


@pytest.fixture(scope="module")
def begun(configure, synthetic_root, tmp_path_factory):
    """The folder of a training of three epochs that was stopped in its second one; to be copied."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        begin_and_stop(_starter(configure, synthetic_root, patch), folder)
    return folder


def _starter(configure, synthetic_root, monkeypatch):
    def run(output_dir, *overrides, work=training.run, mode="RUN"):
        settings = (*SETTINGS, f"data.root={synthetic_root}", *overrides)
        cfg = OmegaConf.structured(configure(*settings, output_dir=output_dir))
        hydra = {
            "runtime": {"output_dir": str(output_dir), "choices": {"model": "resnet1d_wang", "data": "ptbxl"}},
            "mode": mode,
            "overrides": {"task": list(overrides)},
            "sweep": {"dir": str(output_dir)},
        }
        monkeypatch.setattr(HydraConfig, "get", lambda: _hydra(hydra))
        return job.run_job(cfg, work, validation.validate)

    return run


def _hydra(settings):
    from hydra.types import RunMode

    node = OmegaConf.create(settings)
    node.mode = RunMode[settings["mode"]]
    return node


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


def test_a_second_run_in_a_folder_is_refused(start, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ecg_lightning.system.run_lock._WAIT_S", 0.0)
    with filelock.FileLock(tmp_path / ".lock"), pytest.raises(SystemExit) as end:
        start(tmp_path, "trainer.max_epochs=1")
    assert end.value.code == 2
    assert f"another run is working in {tmp_path}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_files_of_killed_saves_are_removed(start, tmp_path):
    half = ["checkpoints/.last.ckpt-abc.tmp", ".result.json.tmp", "fold7/checkpoints/.best.ckpt-x.tmp"]
    for name in (*half, "checkpoints/mine.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    with pytest.raises(SystemExit):
        start(tmp_path, work=lambda cfg, choices, overrides: sys.exit(1))
    assert not any((tmp_path / name).exists() for name in half)
    assert (tmp_path / "checkpoints" / "mine.tmp").exists()


def test_a_full_disk_is_the_first_sentence(start, tmp_path, capsys, monkeypatch):
    def full(cfg, choices, overrides):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunResult, "write", lambda self, folder: full(None, None, None))
    with pytest.raises(SystemExit) as end:
        start(tmp_path, work=full)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path} cannot be written: ")
    assert "bytes are free on /" in said


@pytest.fixture
def small_files():
    """Let no file grow beyond 4 kB, as a disk does that fills up while a file is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_does_not_fit_is_a_full_disk(tmp_path, monkeypatch, small_files):
    path, content = tmp_path / "last.ckpt", {"weights": torch.zeros(10_000)}
    with pytest.raises(CheckpointError, match="cannot be written"):  # there is room, so it was something else
        save_checkpoint(content, path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=4096))
    with pytest.raises(DiskFullError, match=r"needs 4\d,\d{3} bytes, and 4,096 bytes are free on /") as refused:
        save_checkpoint(content, path)
    assert is_full(refused.value)
    assert "previous" not in str(refused.value)
    assert not any(tmp_path.iterdir())
    path.write_bytes(b"the one before")
    with pytest.raises(DiskFullError, match="The previous file is kept"):
        save_checkpoint(content, path)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"the one before"]


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "bytes are free on /"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt without a stop signal"),
        (SystemExit(3), "called sys.exit(3)"),
    ],
)
def test_a_cell_raises_its_reason_where_no_result_can_be_written(start, tmp_path, monkeypatch, raised, reason):
    def work(cfg, choices, overrides):
        raise raised

    def full(self, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunResult, "write", full)
    monkeypatch.setattr(job, "_in_cell", lambda: True)
    with pytest.raises(UserError, match=re.escape(reason)):
        start(tmp_path, work=work, mode="MULTIRUN")


def test_a_stopped_cell_leaves_the_way_on_to_its_sweep(start, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(job, "_in_cell", lambda: True)
    with pytest.raises(SystemExit):
        start(tmp_path, work=lambda cfg, choices, overrides: os.kill(os.getpid(), signal.SIGTERM), mode="MULTIRUN")
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == "stopped by SIGTERM"
    assert "again" not in capsys.readouterr().err  # which the sweep says, once for all its cells


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


def test_the_folder_of_a_full_disk_is_that_of_the_given_arguments(tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def read_only(*arguments):
        raise ValueError("Unable to configure handler") from OSError(
            errno.EROFS, "Read-only file system", "a/train.log"
        )

    for raised, said in (
        (full, f"{tmp_path}/s cannot be written: "),
        (read_only, "a/train.log: Read-only file system"),
    ):
        monkeypatch.setattr(launching, "_run_hydra_main", raised)
        with pytest.raises(SystemExit) as end:
            launching.train(["-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}/s"])
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(f"error: {said}")


def test_the_thread_of_a_writer_leaves_a_full_disk_to_the_main_thread(capsys, monkeypatch):
    def end(error):
        def write():
            raise error

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return capsys.readouterr().err

    monkeypatch.setattr(threading, "excepthook", None)
    leave_full_disks_to_the_main_thread()
    assert end(OSError(errno.ENOSPC, "No space left on device")) == ""
    assert "ValueError: another" in end(ValueError("another"))


def test_a_library_that_ends_the_process_is_a_failure_and_no_stop(start, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        start(tmp_path, work=lambda cfg, choices, overrides: sys.exit(3))
    assert end.value.code == job.FAILED
    assert "called sys.exit(3)" in capsys.readouterr().err
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"


def test_a_stop_that_comes_out_as_another_error_is_still_a_stop(start, tmp_path, capsys):
    def swallowed(cfg, choices, overrides):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except BaseException:
            raise ImportError("a module that was interrupted") from None

    (tmp_path / "variants").mkdir()  # of which none is finished
    with pytest.raises(SystemExit) as end:
        start(tmp_path, work=swallowed)
    assert end.value.code == 143
    assert "no checkpoint was saved, so the same command starts from the beginning" in capsys.readouterr().err
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"


def test_a_stop_that_is_swallowed_comes_again(monkeypatch):
    monkeypatch.setattr(stopping, "_ASK_AGAIN_S", 0.05)

    def swallow():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(1)
        except BaseException:  # as libraries do
            time.sleep(1)

    with stopping.answered(), pytest.raises(stopping.Stopped):
        swallow()


_TOLD_AGAIN = """
import os, signal
from ecg_lightning.system import stopping

class Late:  # deleted when Python has taken its handlers away
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGINT):
        kill(process, number)

late = Late()
stopping.run_stoppable(lambda: os.kill(os.getpid(), signal.SIGTERM))
"""


def test_a_second_signal_changes_no_exit_code():
    told = subprocess.run([sys.executable, "-c", _TOLD_AGAIN], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (143, "interrupted: stopped by SIGTERM\n")


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.answered():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopping.asked()
    finally:
        signal.signal(signal.SIGHUP, before)


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
