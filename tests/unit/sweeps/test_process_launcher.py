"""Cells of a sweep in processes of their own, with a task that needs no training."""

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import faults
import pytest
from faults import FAULTS, job
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra

from ecg_lightning.config import conf_folder
from ecg_lightning.errors import ConfigError, DataError, DiskFullError, UserError
from ecg_lightning.hardware.processor import available_cores
from ecg_lightning.reports import sweep_table
from ecg_lightning.sweeps import folder as sweep_folder
from ecg_lightning.sweeps import process
from ecg_lightning.sweeps import sweep as sweep_module
from ecg_lightning.system.disk import explain_full

ROOT = """
defaults: [_self_, override hydra/launcher: process]
seed: 0
fault: none
lr: 0.1
train: true
ckpt_path: null
task_name: trivial
hydra:
  job: {chdir: false}
  sweep: {dir: 'sweeps/${now:%H-%M-%S-%f}', subdir: '${hydra:job.num}_seed${seed}'}
  callbacks: {sweep_report: {_target_: ecg_lightning.commands.sweep_callback.SweepReport}}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Start a sweep of `faults.job` in this process; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep_module, "_modules", lambda settings: ["ecg_lightning.sweeps.process"])
    monkeypatch.setattr(sweep_module, "STOP_S", 1.0)
    monkeypatch.setattr(sweep_table, "print_sweep", lambda *_: None)
    monkeypatch.setattr(logging, "_handlerList", [])  # Hydra closes all, and absl's then pytest's stream
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(conf_folder, "config_dir", lambda: tmp_path / "conf")  # the program's own
    (tmp_path / "conf" / "trivial.yaml").write_text(ROOT)

    def start(*overrides):
        GlobalHydra.instance().clear()
        hydra = Hydra.create_main_hydra2("trivial", create_config_search_path(str(tmp_path / "conf")))
        try:
            hydra.multirun("trivial", job, [*overrides, "hydra.mode=MULTIRUN"])
        except SystemExit as stop:
            return stop.code
        finally:
            GlobalHydra.instance().clear()
        return 0

    return start


def rows(folder):
    with (folder / "results.csv").open() as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def runs_of(folder):
    """How often each cell ran, and with which ckpt_path."""
    return {path.parent.name: path.read_text().splitlines() for path in folder.glob("*/runs.txt")}


def test_each_kind_of_death_is_a_row_with_its_reason(sweep, tmp_path, capfd):
    kinds = ",".join(FAULTS)
    assert sweep(f"fault=none,{kinds},fine", "hydra.launcher.cell_timeout=4", "hydra.sweep.dir=s") == 1
    found = list(rows(tmp_path / "s").values())
    assert len(found) == len(FAULTS) + 2
    by_number = {int(row["run"].split("_")[0]): row for row in found}
    for number, (kind, (_, reason)) in enumerate(FAULTS.items(), start=1):
        assert by_number[number]["status"] == "failed", kind
        assert reason in by_number[number]["reason"], kind
        written = json.loads((tmp_path / "s" / by_number[number]["run"] / "result.json").read_text())
        assert (written["status"], written["reason"]) == ("failed", by_number[number]["reason"])
        assert written["overrides"] == [f"fault={kind}"]
    assert [by_number[number]["status"] for number in (0, len(FAULTS) + 1)] == ["ok", "ok"]
    told = capfd.readouterr()
    assert f"{len(FAULTS)} of {len(FAULTS) + 2} cells did not finish" in told.err
    assert "cell 3 of 14, about " in told.out


def test_the_same_command_runs_what_failed_and_nothing_else(sweep, tmp_path):
    command = ("seed=1,2,3", "hydra.sweep.dir=s")
    (tmp_path / "s" / "1_seed2").mkdir(parents=True)
    (tmp_path / "s" / "1_seed2" / "runs.txt").mkdir()  # makes the cell fail
    assert sweep(*command) == 1
    assert [row["status"] for row in rows(tmp_path / "s").values()] == ["ok", "ok", "failed"]
    (tmp_path / "s" / "1_seed2" / "runs.txt").rmdir()
    checkpoint = tmp_path / "s" / "1_seed2" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    assert sweep(*command) == 0
    assert [row["status"] for row in rows(tmp_path / "s").values()] == ["ok"] * 3
    ran = runs_of(tmp_path / "s")
    assert {run: len(lines) for run, lines in ran.items()} == {"0_seed1": 1, "1_seed2": 1, "2_seed3": 1}
    assert ran["1_seed2"][0].split()[1] != "None"  # it went on
    assert sweep(*command) == 0
    assert runs_of(tmp_path / "s") == ran


def test_a_longer_sweep_keeps_what_is_finished(sweep, tmp_path):
    assert sweep("seed=1,2", "lr=0.1,0.2", "hydra.sweep.dir=s") == 0
    before = runs_of(tmp_path / "s")
    assert (
        sweep("seed=3,1,2", "lr=0.1,0.2", "train=true", "ckpt_path=null", "hydra.launcher.jobs=2", "hydra.sweep.dir=s")
        == 0
    )
    after = runs_of(tmp_path / "s")
    assert before.items() <= after.items()
    assert len(after) == 6
    assert all(len(lines) == 1 for lines in after.values())
    assert sorted(float(row["score"]) for row in rows(tmp_path / "s").values()) == [1, 1, 2, 2, 3, 3]
    told = {tuple(row["overrides"].split()[2:]) for row in rows(tmp_path / "s").values()}
    assert told == {("train=True", "ckpt_path=null")}  # a default that was typed the second time alone
    printed = [path.read_text() for path in (tmp_path / "s").glob("*_seed3/output.log")]
    assert len(printed) == 2
    threads = max(1, available_cores() // 2)  # the cells share the cores
    assert all(f"cell of seed 3 with {threads} threads" in text for text in printed)


def test_a_cell_is_told_by_what_the_sweep_wrote_down(sweep, tmp_path):
    command = ("seed=1,2", "hydra.sweep.dir=s")
    assert sweep(*command) == 0
    before = runs_of(tmp_path / "s")
    hydras = tmp_path / "s" / "0_seed1" / ".hydra" / "config.yaml"
    original = hydras.read_text()
    hydras.write_text(original.replace("lr: 0.1", "lr: 0.5"))  # by a command that was refused
    assert sweep(*command) == 0
    assert runs_of(tmp_path / "s") == before
    hydras.write_text(original)
    (tmp_path / "s" / "0_seed1" / "cell.json").unlink()  # as cells of earlier versions are
    assert sweep(*command) == 0
    assert runs_of(tmp_path / "s") == before
    (tmp_path / "s" / "0_seed1" / "cell.json").write_text("{")
    with pytest.raises(DataError, match=r"cell.json cannot be read .* to run this cell again"):
        sweep(*command)


def test_a_continued_sweep_knows_what_its_cells_took(sweep, tmp_path, capfd):
    assert sweep("seed=1,2", "hydra.sweep.dir=s") == 0
    for run in ("0_seed1", "1_seed2"):
        path = tmp_path / "s" / run / "cell.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 7200.0}))
    (tmp_path / "s" / "2_seed3" / "checkpoints").mkdir(parents=True)
    (tmp_path / "s" / "2_seed3" / "checkpoints" / "last.ckpt").touch()  # of a try that was killed
    capfd.readouterr()
    assert sweep("seed=1,2,3,4", "hydra.sweep.dir=s") == 0
    told = capfd.readouterr().out
    assert "cell 3 of 4, about 4 h 0 min left: seed=3" in told
    assert "cell 4 of 4, about 2 h 0 min left: seed=4" in told  # the short rest of the cell before is no cell's time


def test_an_empty_file_of_hydra_does_not_hide_a_sweep(sweep, tmp_path):
    command = "fault=none,exception"
    assert sweep(command) == 1
    (folder,) = (tmp_path / "sweeps").iterdir()
    (folder / "multirun.yaml").write_text("")  # a full disk cut it short
    (folder / "results.csv").unlink()
    assert sweep(command) == 1
    assert list((tmp_path / "sweeps").iterdir()) == [folder]
    (folder / "sweep.json").unlink()  # as in sweeps of earlier versions, whose file is whole again by now
    assert sweep(command) == 1
    assert list((tmp_path / "sweeps").iterdir()) == [folder]


def test_a_full_disk_before_the_first_cell_is_told(sweep, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match=r"sweep.json cannot be written: it needs [\d,]+ bytes, and .* on /"):
        sweep("seed=1,2", "hydra.sweep.dir=s")


def test_a_reason_that_a_full_disk_caused_stays_what_it_is(tmp_path):
    error = UserError("best.ckpt cannot be written: it needs 96,288 bytes")
    error.__context__ = DiskFullError(str(error))
    assert process._explain(error, tmp_path) == str(error)


def test_other_settings_are_refused_by_their_names(sweep, tmp_path):
    assert sweep("seed=1", "hydra.sweep.dir=s") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"lr is 0.1 there, but 0.3 in this command"):
        sweep("seed=1,2", "lr=0.3", "hydra.sweep.dir=s")
    assert {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()} == before


def test_without_a_folder_the_unfinished_sweep_is_found(sweep, tmp_path, capfd):
    command = "fault=none,exception"
    assert sweep(command) == 1
    assert sweep(command) == 1
    (folder,) = (tmp_path / "sweeps").iterdir()
    assert f"resuming the sweep in {folder.relative_to(tmp_path)}" in capfd.readouterr().out
    assert sorted(len(lines) for lines in runs_of(folder).values()) == [1, 2]
    conf = tmp_path / "conf" / "trivial.yaml"
    conf.write_text(conf.read_text().replace("lr: 0.1", "lr: 0.2"))
    capfd.readouterr()
    assert sweep(command) == 1  # of other settings by now, so it has a folder of its own
    assert "is not resumed: " in capfd.readouterr().out
    assert sorted(len(runs_of(folder)) for folder in (tmp_path / "sweeps").iterdir()) == [2, 2]
    assert sweep("fault=none,fine") == 0
    assert sweep("fault=none,fine") == 0  # a finished sweep is not reopened
    assert len(list((tmp_path / "sweeps").iterdir())) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_stops_the_sweep(sweep, tmp_path, number, capfd):
    before = signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_once_running, args=(tmp_path / "s" / "1_seed1", number)).start()
    try:
        assert sweep("fault=none,hang,late", "seed=1", "hydra.sweep.dir=s") == 128 + number
    finally:
        signal.signal(number, before)
    found = rows(tmp_path / "s")
    assert {run: row["status"] for run, row in found.items()} == {
        "0_seed1": "ok", "1_seed1": "interrupted", "2_seed1": "planned",
    }  # fmt: skip
    assert "The sweep stopped. Run the same command again: 1 of 3 cells is finished." in capfd.readouterr().out


def _once_running(cell, number):
    _wait_for((cell / "runs.txt").exists)
    os.kill(os.getpid(), number)


def test_a_full_disk_is_remembered_and_written_down_later(sweep, tmp_path, monkeypatch, capfd):
    write = sweep_table.write_csv
    tries = iter([True, True, False, False] + [True] * 20)

    def full_for_a_while(table, path):
        if not next(tries):
            raise OSError(28, "No space left on device", str(path))
        write(table, path)

    monkeypatch.setattr(sweep_table, "write_csv", full_for_a_while)
    assert sweep("seed=1,2", "hydra.sweep.dir=s") == 0
    assert explain_full(tmp_path / "s" / "results.csv").split(":")[0].split("/")[-1] in capfd.readouterr().out
    assert [row["status"] for row in rows(tmp_path / "s").values()] == ["ok", "ok"]


def test_a_killed_sweep_leaves_no_cell_behind_and_goes_on(sweep, tmp_path):
    command = ["fault=none,hang,fine", "hydra.sweep.dir=s"]
    killed = subprocess.Popen([sys.executable, faults.__file__, "--config-dir", "conf", "-m", *command], cwd=tmp_path)
    hanging = tmp_path / "s" / "1_seed0" / "runs.txt"
    _wait_for(lambda: hanging.exists() and hanging.read_text().endswith("\n"))
    killed.kill()
    killed.wait()
    cell = int(hanging.read_text().split()[0])
    _wait_for(lambda: not _is_alive(cell))
    assert [row["status"] for row in rows(tmp_path / "s").values()] == ["ok", "running", "planned"]
    assert sweep(*command, "hydra.launcher.cell_timeout=4") == 1
    assert {run: len(lines) for run, lines in runs_of(tmp_path / "s").items()} == {
        "0_seed0": 1, "1_seed0": 2, "2_seed0": 1,
    }  # fmt: skip


def _wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_basic_still_runs_cells_in_one_process(sweep, tmp_path):
    command = ("seed=1,2", "hydra/launcher=basic", "hydra.sweep.dir=s")
    assert sweep(*command) == 0
    assert [row["status"] for row in rows(tmp_path / "s").values()] == ["ok", "ok"]
    assert {lines[0].split()[0] for lines in runs_of(tmp_path / "s").values()} == {str(os.getpid())}
    assert sweep(*command) == 2


def test_cells_of_a_killed_sweep_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_folder, "STOP_S", -9.5)
    descriptor = sweep_folder.hold_for_cell(tmp_path)
    with pytest.raises(ConfigError, match="still running"):
        sweep_folder.wait_for_cells(tmp_path)
    os.close(descriptor)
    sweep_folder.wait_for_cells(tmp_path)


@pytest.mark.parametrize(("setting", "said"), [("jobs=0", "at least 1"), ("cell_timeout=0", "above 0")])
def test_limits_are_checked(sweep, setting, said):
    with pytest.raises(ConfigError, match=said):
        sweep("seed=1", f"hydra.launcher.{setting}", "hydra.sweep.dir=s")
