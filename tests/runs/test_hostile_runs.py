"""Run folders and weights of a stranger end in one sentence, or in what they say."""

import io
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console
from tiny import ROOT

from ecg_lightning.commands.evaluations import evaluate_run
from ecg_lightning.commands.sweep_callback import SweepReport
from ecg_lightning.errors import CheckpointError, DataError, RefusedExit
from ecg_lightning.models.weights import load_file
from ecg_lightning.reports import console
from ecg_lightning.reports.tables import collect, ranking_section
from ecg_lightning.reports.terminal import print_section
from ecg_lightning.reports.variants import runtime_rows, variant_rows
from ecg_lightning.results.results import read_config, read_result

RUN = ROOT / "tests" / "fixtures_6647fd0" / "run"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(RUN, tmp_path / "run"))


def _change(run, **changes):
    (run / "result.json").write_text(json.dumps(json.loads((run / "result.json").read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": None},
        {"metrics": [1]},
        {"data": None},
        {"variants": [5]},
        {"overrides": [{}]},
        {"choices": {"model": 5}},
        {"timing": {"epochs": float("nan")}},
        {"score": "high"},
        {"score": 10**400},
        {"notes": "one"},
        {"status": None},
    ],
)
def test_results_of_another_layout_are_refused(run, changes):
    _change(run, **changes)
    (field,) = changes
    with pytest.raises(DataError, match=rf"result\.json cannot be read \({field} holds"):
        read_result(run)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "5", "", '{"a":' * 50_000, "\x00"])
def test_results_that_are_none_are_refused(run, text):
    (run / "result.json").write_text(text)
    with pytest.raises(DataError, match=r"result\.json cannot be read"):
        read_result(run)


def test_results_of_any_size_are_not_read(run):
    for name, read, said in (
        ("result.json", read_result, "it has 3,221,225,472 bytes"),
        ("config.yaml", read_config, "is longer than 200,000 characters"),
    ):
        with (run / name).open("r+b") as file:
            file.truncate(3 * 2**30)
        with pytest.raises(DataError, match=said):
            read(run)


def test_aliases_in_a_configuration_are_refused(run):
    """Nine lines of them stand for 10⁹ values."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (run / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"config\.yaml cannot be read \(it holds aliases that stand for more"):
        read_config(run)
    (run / "config.yaml").write_text("[" * 10_000)
    with pytest.raises(DataError, match=r"config\.yaml cannot be read"):
        read_config(run)
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")
    with pytest.raises(DataError, match=r"config\.yaml is not a regular file"):
        read_config(run)


def test_nothing_of_a_result_commands_the_terminal(run, monkeypatch):
    _change(run, overrides=["a=\x1b[2J", "[/red]", ":smile:"], choices={"model": "\x1b]0;title\x07"}, reason="[bold")
    monkeypatch.setattr(console, "Console", lambda **settings: Console(file=io.StringIO(), **settings | {"width": 200}))
    terminal = console.make_console()
    print_section(ranking_section(collect(run.parent), "title", {}), terminal)
    told = terminal.file.getvalue()
    assert "\x1b" not in told
    assert r"\x1b]0;title" in told


def test_figures_that_are_none_are_left_out(run):
    _change(
        run, metrics={"val": 5, "test": {"f1_macro": "x"}}, evaluation={"test": {"positives": 5}}, data={"n_test": []}
    )
    (row,) = collect(run.parent)
    assert (row["val_f1_macro"], row["test_f1_macro"], row["n_test"], row["label_rule"]) == (None,) * 4
    with pytest.raises(DataError, match="does not name the run's data"):
        evaluate_run(run, "test", None, 100)


@pytest.mark.parametrize(
    "variant", [{}, {"runtimes": 5}, {"runtimes": [{}], "name": 1}, {"runtimes": [{"precision": "fp32"}]}]
)
def test_variants_of_another_layout_are_refused(run, variant):
    _change(run, variants=[variant])
    with pytest.raises(DataError, match="holds variants of another layout"):
        _ = variant_rows(read_result(run)) + runtime_rows(read_result(run))


@pytest.mark.parametrize("entry", ["checkpoints", ".hydra", "train.log", "checkpoints/last.ckpt", "0_vit/train.log"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_is_written_through_a_folder_to_elsewhere(tmp_path, entry, kind):
    """A folder of a sweep has those of its cells; links of the user's own, such as to data, are nobody's business."""
    run, path = tmp_path / "run", tmp_path / "run" / entry
    path.parent.mkdir(parents=True)
    (run / "latest.log").symlink_to("events.log")
    (run / "ptbxl").symlink_to(tmp_path / "elsewhere")
    launcher = {"_target_": "a.ProcessLauncher"}
    hydra = {"run": {"dir": str(run)}, "sweep": {"dir": str(run)}, "output_subdir": None, "launcher": launcher}
    config = OmegaConf.create({"hydra": hydra | {"overrides": {"hydra": []}}})
    starts = [SweepReport().on_multirun_start] + ([SweepReport().on_run_start] if "/train" not in entry else [])
    for start in starts:
        start(config)
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path)
    for start in starts:
        with pytest.raises(RefusedExit, match="2") as refusal:
            start(config)
        said = f"is a link that leads out of {run}" if kind == "link" else "is not a regular file"
        assert f"{path} {said}" in str(refusal.value.error)


def _safetensors(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        _safetensors(b"[" * 100_000),
        _safetensors({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(30_000)}),
        _safetensors({"weight": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}}),
        _safetensors({"__metadata__": {"a": 5}}),
    ],
)
def test_weights_that_are_a_bomb_are_refused(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot be loaded: .* Name a file with weights of this network"):
        load_file(torch.nn.Linear(2, 2), str(tmp_path / "w.safetensors"), stem=(), head="head.", convert=None)


def test_compressed_weights_are_not_unpacked(tmp_path):
    torch.save({"weight": torch.zeros(10)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "w.pt", "w", 8) as packed:
        for name in plain.namelist():
            packed.writestr(name, bytes(10**7) if name.endswith("data/0") else plain.read(name))
    with pytest.raises(CheckpointError, match="a compressed archive"):
        load_file(torch.nn.Linear(2, 2), str(tmp_path / "w.pt"), stem=(), head="head.", convert=None)
