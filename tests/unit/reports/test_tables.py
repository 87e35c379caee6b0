"""The ranked table: complete on a wide terminal, readable on a narrow one."""

import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from ecg_lightning.commands.sweep_callback import SweepReport
from ecg_lightning.reports.tables import COLUMNS, collect, ranking_section
from ecg_lightning.reports.terminal import print_section
from ecg_lightning.results.recipes import recipes_by_run
from ecg_lightning.results.results import RunResult


def row(model, seed, f1, **more):
    empty = dict.fromkeys(COLUMNS)
    scores = dict.fromkeys(("val_f1_macro", "val_auroc_macro", "test_f1_macro", "test_f1_macro_tuned"), f1)
    return empty | {
        "status": "ok", "model": model, "seed": seed, "score": f1, "overrides": f"model={model} seed={seed}",
        "data": "ptbxl", "run": f"{model}_seed{seed}",
        "notes": "", "epochs": 8, "fit_s": 61.0, "n_train": 2654, "n_val": 374, "n_test": 60, "label_rule": "benchmark",
        **scores, "test_auroc_macro": f1, **more,
    }  # fmt: skip


ROWS = [
    *(row(model, seed, f1 + seed / 100) for model, f1 in (("vit", 0.5), ("effnetv2", 0.6)) for seed in (1, 2)),
    row("convnext", 1, 0.1, notes="COLLAPSED to a constant in 2 epochs"),
    row("deit", 1, None, run="5_deit_off_seed1", status="failed", reason="data.batch_size=-3: must be at least 1"),
]


def run_of(sweep, name, typed, config, **data):
    """Write the folder of a finished run with a configuration, and return its row."""
    RunResult("ok", score=0.5, seed=config["seed"], overrides=typed.split(), data=data).write(sweep / name)
    (sweep / name / "config.yaml").write_text(json.dumps(config))
    return row("vit", config["seed"], 0.5, run=name, overrides=typed)


CONFIG = {"seed": 1, "train": True, "model": {"kind": "vit", "dropout": 0.1}, "data": {"kind": "ptbxl"}}
WITHOUT_EFFECT = {"logger": None, "paths": {"output_dir": "x"}, "ckpt_path": "auto", "hardware": {"threads": 2}}


def test_runs_of_equal_configurations_are_one_group_however_they_were_typed(tmp_path):
    rows = [
        run_of(tmp_path, "0", "model=vit seed=1", CONFIG),
        run_of(tmp_path, "1", "seed=2 'model.dropout=0.1' model=vit", CONFIG | {"seed": 2}),
        run_of(tmp_path, "2", "model=vit ++model.dropout=1e-1 seed=3 hardware.threads=2 logger=none ckpt_path=auto",
               CONFIG | {"seed": 3} | WITHOUT_EFFECT | {"data": {"kind": "ptbxl", "num_workers": 1}}),
    ]  # fmt: skip
    console = Console(width=160, file=io.StringIO())

    def show(more=(), planned=None):
        console.file.truncate(console.file.seek(0))
        there = [*rows, *more]
        recipes = recipes_by_run(tmp_path, [one["run"] for one in there], planned)
        print_section(ranking_section(there, "outputs/demo", recipes), console)
        return console.file.getvalue()

    text = show()
    assert "#1 vit: 3 seeds" in text
    assert "configurations were tried" not in text
    assert "overrides" not in text
    rate = CONFIG | {"model": {"kind": "vit", "dropout": 0.2}}
    assert "2 configurations were tried" in show([run_of(tmp_path, "3", "model=vit model.dropout=0.2", rate)])
    assert "2 configurations were tried" in show([run_of(tmp_path, "4", "data.root=B", CONFIG, root_hash="B")])
    assert "#1 vit: 3 seeds; 4 runs" in show([run_of(tmp_path, "5", "model=vit seed=1", CONFIG)])
    refused = [row("vit", seed, None, run=f"{seed + 10}", status="failed", reason="no") for seed in (1, 2)]
    planned = {one["run"]: rate | {"seed": one["seed"]} for one in refused}
    assert "#2 vit: 2 seeds; 11 failed: no" in show(refused, planned)  # neither wrote a configuration
    assert "#3 vit: 12 failed: no" in show(refused)


def test_a_result_that_was_removed_is_no_score(tmp_path):
    done = RunResult("ok", score=0.5, seed=1, overrides=["seed=1"])
    (gone,) = collect(tmp_path, {"0_seed1": done})
    assert (gone["status"], gone["score"], gone["overrides"]) == ("failed", None, "seed=1")
    done.write(tmp_path / "0_seed1")
    (there,) = collect(tmp_path, {"0_seed1": done})
    assert (there["status"], there["score"]) == ("ok", 0.5)


def test_a_result_that_cannot_be_written_leaves_the_table_right(tmp_path):
    (tmp_path / "0_seed1").write_text("a file in the place of a cell's folder")
    report, failed = SweepReport(), RunResult("failed", "killed by signal 9")
    report.unwritten[tmp_path / "0_seed1"] = failed
    report.begin(tmp_path, [SimpleNamespace(run="0_seed1", result=failed)])
    assert "killed by signal 9" in (tmp_path / "results.csv").read_text()
    assert not report.write()


def printed(width):
    console = Console(width=width, file=io.StringIO())
    print_section(ranking_section(ROWS, "outputs/demo", {one["run"]: one["model"] for one in ROWS}), console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_what_matters_fits_every_width(width):
    text = printed(width)
    for part in ("effnetv2", "vit", "convnext", "deit", "0.615 ± 0.007", "0.100", "val F1", "N train 2,654"):
        assert part in text, part
    joined = " ".join(text.split())
    assert "#1 effnetv2: 2 seeds" in joined
    assert "#3 convnext: COLLAPSED to a constant in 2 epochs" in joined
    assert "#4 deit: 5_deit_off_seed1 failed: data.batch_size=-3: must be at least 1" in joined
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_wide_terminal_shows_everything():
    for heading in ("val AUROC", "test F1 tuned", "test AUROC", "epochs", "fit"):
        assert heading in printed(160)
