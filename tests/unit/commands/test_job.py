"""A job: its lock, its failures and stops, and their exit codes."""

import errno
import json
import os
import re
import signal
import sys
import time

import filelock
import pytest
from jobs import starter

from ecg_lightning.commands import job
from ecg_lightning.errors import UserError
from ecg_lightning.results.results import RunResult

pytestmark = pytest.mark.usefixtures("hears_signals")


@pytest.fixture
def start(configure, synthetic_root, monkeypatch):
    """Run one job in this process as Hydra would."""
    return starter(configure, synthetic_root, monkeypatch)


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
