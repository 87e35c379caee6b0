"""The ranked table: complete on a wide terminal, readable on a narrow one."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from ecg_lightning.commands.sweep_callback import SweepReport
from ecg_lightning.reports.tables import COLUMNS, collect, ranking_section
from ecg_lightning.reports.terminal import print_section
from ecg_lightning.results.results import RunResult


def row(model, seed, f1, **more):
    empty = dict.fromkeys(COLUMNS)
    scores = dict.fromkeys(("val_f1_macro", "val_auroc_macro", "test_f1_macro", "test_f1_macro_tuned"), f1)
    return empty | {
        "status": "ok", "model": model, "seed": seed, "score": f1, "overrides": f"model={model} seed={seed}",
        "data": "ptbxl",
        "notes": "", "epochs": 8, "fit_s": 61.0, "n_train": 2654, "n_val": 374, "n_test": 60, "label_rule": "benchmark",
        **scores, "test_auroc_macro": f1, **more,
    }  # fmt: skip


ROWS = [
    *(row(model, seed, f1 + seed / 100) for model, f1 in (("vit", 0.5), ("effnetv2", 0.6)) for seed in (1, 2)),
    row("convnext", 1, 0.1, notes="COLLAPSED to a constant in 2 epochs"),
    row("deit", 1, None, run="5_deit_off_seed1", status="failed", reason="data.batch_size=-3: must be at least 1"),
]


def test_settings_without_effect_make_no_other_configuration():
    without = ("hardware.threads=2", "data.num_workers=1", "logger=none", "++paths.output_dir=x", "ckpt_path=auto")
    rows = [row("vit", seed, seed / 10) for seed in (1, 2)]
    rows += [row("vit", 3, 0.3, overrides=" ".join(["model=vit", "seed=3", *without]))]
    console = Console(width=160, file=io.StringIO())
    print_section(ranking_section(rows, "outputs/demo"), console)
    text = console.file.getvalue()
    assert "#1 vit: 3 seeds" in text
    assert "configurations were tried" not in text
    assert "threads" not in text
    print_section(ranking_section([*rows, row("vit", 4, 0.3, overrides="model=vit seed=4 model.lr=1")], "x"), console)
    assert "2 configurations were tried" in console.file.getvalue()


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
    print_section(ranking_section(ROWS, "outputs/demo"), console)
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
