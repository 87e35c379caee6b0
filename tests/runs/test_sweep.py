"""Sweeps as users start them: failures stay in their cell, the table tells the truth, the next commands run."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import filelock
import pytest
import torch
from hydra.core.override_parser.types import Quote, QuotedString
from programs import start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import ROOT, TINY
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.config.validation import RENAMED_EXPERIMENTS

SMALL = [
    *("frontend.size=[32,64]", "hardware.precision=32-true", "trainer.max_epochs=1", "hardware.threads=1"),
    "callbacks.figures=false",
]


def rows(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def swept(synthetic_root, tmp_path_factory):
    """A sweep of two models and two batch sizes, one of which cannot be."""
    folder = tmp_path_factory.mktemp("sweep") / "lr=1 it's"  # Hydra and the shell both quote this
    chosen = f"hydra.sweep.dir={QuotedString(str(folder), Quote.single).with_quotes()}"
    data = ["data=ptbxl", f"data.root={synthetic_root}"]
    done = start("model=vit", "data.batch_size=16,-3", "-m", "seed=1,2", *data, *TINY["vit"], *SMALL, chosen)
    return folder, done


def test_a_failing_cell_stays_alone(swept):
    folder, done = swept
    assert done.returncode == 1
    found = rows(folder)
    assert [row["status"] for row in found] == ["ok", "ok", "failed", "failed"]
    assert all("data.batch_size=-3: must be at least 1" in row["reason"] for row in found[2:])
    for row in found:
        result = json.loads((folder / row["run"] / "result.json").read_text())
        assert result["status"] == row["status"]
        assert result["choices"]["model"] == "vit"
    assert (folder / found[2]["run"] / "train.log").read_text().count("failed: data.batch_size=-3") == 1
    assert "2 of 4 cells did not finish" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_seeds_become_mean_and_deviation(swept):
    folder, done = swept
    scores = [float(row["val_f1_macro"]) for row in rows(folder)[:2]]
    mean = sum(scores) / 2
    deviation = abs(scores[0] - scores[1]) / 2**0.5
    assert f"{mean:.3f} ± {deviation:.3f}" in done.stdout
    assert "2 seeds" in done.stdout
    assert "N train" in done.stdout
    assert "label rule benchmark" in done.stdout


def test_cells_have_folders_of_their_own(swept):
    folder, _ = swept
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        "0_vit_off_seed1", "1_vit_off_seed2", "2_vit_off_seed1", "3_vit_off_seed2", "tables",
    ]  # fmt: skip


def test_a_sweep_leaves_its_ranking_and_the_card_of_its_best_run(swept):
    folder, _ = swept
    with (folder / "tables/ranking.csv").open() as file:
        first = next(csv.DictReader(file))
    scores = [float(row["val_f1_macro"]) for row in rows(folder)[:2]]
    assert float(first["val_f1_macro"]) == pytest.approx(sum(scores) / 2)
    assert float(first["val_f1_macro_sd"]) == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    assert first["seeds"] == "2"
    assert rows(folder)[0]["run"] in (folder / "model_card.md").read_text()
    assert r"\begin{tabular}" in (folder / "tables/ranking.tex").read_text()


def test_a_finished_sweep_is_not_written_over(swept, command):
    folder, _ = swept
    before = (folder / "results.csv").read_bytes()
    done = command("-m", "model=vit,deit", f"hydra.sweep.dir={QuotedString(str(folder), Quote.single).with_quotes()}")
    assert done.returncode == 2
    assert "already holds a sweep" in done.stderr
    done = command("model=vit", f"hydra.run.dir={QuotedString(str(folder), Quote.single).with_quotes()}")
    assert done.returncode == 2
    assert "is the folder of a sweep" in done.stderr
    assert not (folder / "train.log").exists()
    assert (folder / "results.csv").read_bytes() == before


def test_the_printed_command_compares_the_best_run_with_the_others(swept):
    folder, done = swept
    command = re.search(r"^  \S*ecg-lightning (compare .*)$", done.stdout, re.MULTILINE)
    assert command is not None
    words = shlex.split(command.group(1))
    assert words[1] == str(folder / rows(folder)[0]["run"])
    compared = CliRunner().invoke(app, [*words, "--resamples", "100", "--json"])
    assert compared.exit_code == 0, compared.output
    assert sum(len(row["runs"]) for row in json.loads(compared.stdout)) == len(words) - 1


def _hear_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs, such as these tests may be, ignore it


def test_ctrl_c_keeps_and_shows_what_is_done(synthetic_root, tmp_path):
    settings = [
        "data=ptbxl",
        f"data.root={synthetic_root}",
        "model=vit",
        *TINY["vit"],
        *SMALL[:2],
        "hardware.threads=1",
        "callbacks.early_stopping=null",
    ]
    sweep = subprocess.Popen(
        [sys.executable, "train.py", "-m", *settings, "trainer.max_epochs=1,1000", f"hydra.sweep.dir={tmp_path}/s"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_hear_ctrl_c,
    )  # fmt: skip
    second = tmp_path / "s" / "1_vit_off_seed0" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not second.exists() and sweep.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    sweep.send_signal(signal.SIGINT)
    try:
        output, errors = sweep.communicate(timeout=60)
    finally:
        sweep.kill()
    assert sweep.returncode == 130, errors
    assert [row["status"] for row in rows(tmp_path / "s")] == ["ok", "interrupted"]
    assert "interrupted: stopped by SIGINT" in " ".join(output.split())
    assert "ecg-lightning evaluate" in output
    assert "Traceback" not in output + errors


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True])
def test_a_killed_sweep_goes_on_where_it_stopped(synthetic_root, tmp_path, group):
    settings = ["-m", "data=ptbxl", f"data.root={synthetic_root}", "model=vit", *TINY["vit"], *SMALL]
    settings += ["callbacks.early_stopping=null", "trainer.max_epochs=6", "seed=1,2,3"]
    program = [sys.executable, str(ROOT / "train.py"), *settings]
    sweep = subprocess.Popen(program, cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("outputs/train/sweeps/*/1_*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    (os.killpg if group else os.kill)(sweep.pid, signal.SIGKILL)
    sweep.wait()
    (folder,) = tmp_path.glob("outputs/train/sweeps/*")
    first = (folder / "0_vit_off_seed1" / "result.json").stat().st_mtime_ns
    again = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    assert "resuming the sweep in outputs/train/sweeps" in again.stdout
    assert [row["status"] for row in rows(folder)] == ["ok"] * 3
    assert (folder / "0_vit_off_seed1" / "result.json").stat().st_mtime_ns == first
    assert len(list(folder.parent.iterdir())) == 1
    log = (folder / "1_vit_off_seed2" / "train.log").read_text()
    assert log.count("epoch 1/6") == 1  # it went on from its checkpoint


def test_an_unknown_option_refuses_the_sweep_before_any_cell(command, tmp_path):
    done = command("-m", "model=vit,vitt", f"hydra.sweep.dir={tmp_path}/s")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: model=vitt: allowed are "
        "beit_base, convnext, custom, deit, deit_base, effnet_b0, effnetv2, ensemble, inception1d, inception_v3, lstm, "
        "lstm_bidir, repvgg_a0, resnet10t, "
        "resnet18d, resnet1d, resnet1d_wang, s4d, swin_tiny, timm, vit, vit1d, vit_base, xresnet1d101, xresnet1d18, "
        "xresnet1d50."
    )
    assert not list(tmp_path.glob("s/*/result.json"))


def test_missing_hardware_is_skipped_in_a_sweep(command, synthetic_root, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = command(
        "-m", "model=vit", "hardware=cuda", "seed=1", "data=ptbxl", f"data.root={synthetic_root}",
        f"hydra.sweep.dir={tmp_path}/s",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "s")
    assert row["status"] == "skipped"
    assert "no CUDA device" in row["reason"]


def test_a_refused_try_does_not_block_its_folder_and_a_finished_run_is_not_written_over(
    command, synthetic_root, tmp_path
):
    settings = ["data=ptbxl", f"data.root={synthetic_root}", "model=vit", *TINY["vit"], *SMALL]
    assert command(*settings, "data.batch_size=-3", f"hydra.run.dir={tmp_path}/r").returncode == 2
    assert json.loads((tmp_path / "r" / "result.json").read_text())["status"] == "failed"
    first = command(*settings, f"hydra.run.dir={tmp_path}/r")
    assert first.returncode == 0, first.stderr
    before = (tmp_path / "r" / "result.json").read_bytes()
    assert json.loads(before)["status"] == "ok"
    second = command(*settings, f"hydra.run.dir={tmp_path}/r")
    assert second.returncode == 2
    assert "ckpt_path=auto" in second.stderr
    third = command(*settings, "data.batch_size=-3", "ckpt_path=last", f"hydra.run.dir={tmp_path}/r")
    assert third.returncode == 2
    assert (tmp_path / "r" / "result.json").read_bytes() == before
    assert re.search(r"epoch 1/1 · loss [\d.]+ · val loss", (tmp_path / "r" / "train.log").read_text())


def test_a_folder_of_any_name_and_depth_is_reported(command, synthetic_root, tmp_path):
    settings = ["data=ptbxl", f"data.root={synthetic_root}", "model=vit", *TINY["vit"], *SMALL]
    done = command(*settings, "debug=fdr", f"hydra.run.dir='{tmp_path}/a[1]'")
    assert done.returncode == 0, done.stderr
    assert "val F1" in done.stdout
    nested = ["hydra.sweep.subdir='${seed}/${hydra:job.num}'", f"hydra.sweep.dir={tmp_path}/s"]
    done = command("-m", *settings, "data.batch_size=-3", "seed=1,2", *nested)
    assert done.returncode == 1
    assert [row["run"] for row in rows(tmp_path / "s")] == ["1/0", "2/1"]
    assert command("-m", *settings, "seed=3", *nested).returncode == 2  # it holds a sweep


def test_two_sweeps_in_one_folder_do_not_mix(command, tmp_path):
    with filelock.FileLock(_made(tmp_path / "s") / ".lock"):
        done = command("-m", "model=vit", "seed=1", f"hydra.sweep.dir={tmp_path}/s")
    assert done.returncode == 2
    assert "another sweep is running" in done.stderr


def _made(folder):
    folder.mkdir()
    return folder


def test_an_untrained_model_is_not_scored(command, synthetic_root, tmp_path):
    settings = ["data=ptbxl", f"data.root={synthetic_root}", "model=vit", *TINY["vit"], *SMALL]
    done = command(*settings, "trainer.max_time=00:00:00:00", f"hydra.run.dir={tmp_path}/r")
    assert done.returncode == 2
    assert "no checkpoint to score" in done.stderr


@pytest.mark.parametrize(
    ("program", "groups", "key"),
    [
        (
            "train.py",
            "model data frontend hardware compression experiment hparams_search debug logger callbacks",
            "model.optimizer.lr=0.0005 ",
        ),
        ("compress.py", "compression data hardware logger callbacks", "compression.margin=0.01 "),
    ],
)
def test_help_names_every_option(command, program, groups, key):
    done = command("--help", program=program.removesuffix(".py"))
    assert done.returncode == 0
    assert key in done.stdout
    for group in groups.split():
        (listed,) = re.findall(rf"^ +{group}  +(.*(?:\n {{10,}}.*)*)", done.stdout, re.MULTILINE)
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            hidden = {("train.py", "checkpoint"), ("compress.py", "off")}
            if (program, path.stem) not in hidden and path.stem not in RENAMED_EXPERIMENTS:
                assert re.search(rf"\b{path.stem}\b", listed), path


@pytest.mark.slow
def test_a_sweep_over_compressions_trains_once(synthetic_root, tmp_path):
    quick = [
        *("compression.fine_tune.epochs=1", "compression.latency.batches=[1]", "compression.latency.rounds=1"),
        *("compression.latency.min_round_s=0", "compression.n_resamples=100"),
    ]
    data = ["data=ptbxl", f"data.root={synthetic_root}"]
    sweep = ["-m", "model=vit", "compression=none,prune", "hardware=cpu,cuda", f"hydra.sweep.dir={tmp_path}"]
    done = start(*sweep, *data, *TINY["vit"], *SMALL, *quick)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("training.json"))) == 1
    assert len(list(tmp_path.rglob("result.json"))) == 4
    assert not list((tmp_path / "trainings").rglob("result.json"))
    found = rows(tmp_path)
    cuda = [row for row in found if row["hardware"] == "cuda"]
    assert {row["status"] for row in cuda} == ({"ok"} if torch.cuda.is_available() else {"skipped"})
    logs = [(tmp_path / row["run"] / "train.log").read_text() for row in found if row["hardware"] == "cpu"]
    assert sorted("using the training of" in text for text in logs) == [False, True]
    with (tmp_path / "variants.csv").open() as file:
        variants = list(csv.DictReader(file))
    assert {row["variant"] for row in variants} == {"baseline", "prune"}
    with (tmp_path / "runtimes.csv").open() as file:
        timed = list(csv.DictReader(file))
    assert {row["runtime"] for row in timed} == {"openvino", "onnxruntime", "torch"}
    assert {row["threads"] for row in timed} >= {"1"}
    assert all(float(row["p95_ms"]) >= float(row["p50_ms"]) > 0 and row["f1"] for row in timed if not row["skipped"])
    assert (tmp_path / "pareto.png").is_file()
    logged = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert logged.Tags()["images"] == ["pareto"]
    benchmark = re.search(r"^  (\S*ecg-lightning benchmark .*)$", done.stdout, re.MULTILINE).group(1)
    again = subprocess.run(
        [*shlex.split(benchmark), "--rounds", "1", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["compression=prune"], "Set ckpt_path=FILE"),
        (["ckpt_path=no.ckpt"], "no.ckpt is not there"),
        (["ckpt_path=README.md"], "README.md is no checkpoint"),
        (["ckpt_path=x", "compression=prunee"], "Did you mean prune"),
        (["ckpt_path=x", "compression.stages.prune.amuont=0.5"], "Did you mean amount"),
        (["ckpt_path=x", "compression=prune", "compression.stages.prune.amount=7"], "amount=7.0: must be at most"),
        (["ckpt_path=x", "compression.latency.batches=[32]"], "batches=[32]"),
    ],
)
def test_mistakes_of_compress_are_one_sentence(command, overrides, said, tmp_path):
    done = command(*overrides, f"hydra.run.dir={tmp_path}/run", program="compress")
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
