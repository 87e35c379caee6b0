"""Cross-validation inside the training folds, and the search that uses it."""

import json
import re
import shlex
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import yaml
from programs import start
from tiny import TINY

from ecg_lightning.commands.evaluations import evaluate_run, read_run
from ecg_lightning.data.ptbxl_source import PTBXLSource
from ecg_lightning.data.schema import PTBXLConfig
from ecg_lightning.errors import CheckpointError, ConfigError
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.demographics import age_and_sex_alone, age_and_sex_held_out
from ecg_lightning.evaluation.headline import macro_scores
from ecg_lightning.evaluation.predictions import read_predictions
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.reports import next_steps
from ecg_lightning.results.results import read_config
from ecg_lightning.training import cross_validation
from ecg_lightning.training import run as training

SMALL = [
    *TINY["resnet1d"],
    "model=resnet1d",
    "trainer.max_epochs=1",
    "logger=none",
    "callbacks.figures=false",
    "hardware.threads=1",
]


def test_each_fold_or_group_of_folds_is_held_out_once(configure, synthetic_root, tmp_path):
    data = ["data=ptbxl", f"data.root={synthetic_root}"]
    cfg = configure(*data, *SMALL, "cross_validation=[[4,5],7]", "data.train_folds=[4,5,6,7]", output_dir=tmp_path)
    result = cross_validation.run(cfg)
    folds = {held: json.loads((tmp_path / f"fold{held}" / "fold.json").read_text()) for held in ("4_5", "7")}
    scores = [one["score"] for one in folds.values()]
    assert "each epoch was chosen on the fold that scores it" in result.notes[1]
    assert result.score == pytest.approx(sum(scores) / 2)
    assert scores[0] != scores[1]
    assert result.metrics["val"]["auroc_macro"] == pytest.approx(
        sum(one["metrics"]["val"]["auroc_macro"] for one in folds.values()) / 2
    )
    assert result.metrics["val"]["per_class"]["MI"]["auroc"] > 0
    assert "test" not in result.metrics
    for held, one in folds.items():
        used = yaml.safe_load((tmp_path / f"fold{held}" / "config.yaml").read_text())["data"]
        assert used["val_folds"] == [int(fold) for fold in held.split("_")]
        assert used["train_folds"] == [fold for fold in (4, 5, 6, 7) if fold not in used["val_folds"]]
        assert "test" not in one["metrics"]
    alone = configure(
        *data, *SMALL, "data.train_folds=[6,7]", "data.val_folds=[4,5]", "test=false", output_dir=tmp_path / "alone"
    )
    assert training.run(alone).score == folds["4_5"]["score"]
    n_val = sum(one["data"]["n_val"] for one in folds.values())
    assert result.data["n_train"] == round(sum(one["data"]["n_train"] for one in folds.values()) / 2)
    assert json.loads((tmp_path / "result.json").read_text())["data"]["n_val"] == n_val
    found = evaluate_run(tmp_path, "val", synthetic_root, 100)
    assert found["n_records"] == n_val
    assert found["scores"]["macro"]["auroc"][0] == result.evaluation["val"]["scores"]["macro"]["auroc"][0]
    assert result.evaluation["val"]["subgroups"]
    assert result.evaluation["val"]["age_and_sex"]["auroc"][0] == found["age_and_sex"]["auroc"][0]
    _, held_out = read_run(tmp_path, "val")
    table = PTBXLSource(PTBXLConfig(root=str(synthetic_root))).cohort()
    floor = age_and_sex_held_out(held_out, table, [4, 5, 6, 7], [[7], [4, 5]])
    fold_7 = read_predictions(tmp_path / "fold7" / "predictions.csv")["val"]
    (alone,) = age_and_sex_alone([fold_7], table, [4, 5, 6])
    assert np.allclose(floor.logits_NC[np.isin(floor.ecg_ids, fold_7.ecg_ids)], alone.logits_NC)
    decided = Choices.fit(floor).apply(floor)
    scores = macro_scores(decided, floor.targets_NC, np.ones((1, len(floor.ecg_ids))))
    assert [found["age_and_sex"][name][0] for name in ("f1", "auroc")] == pytest.approx(
        [float(one[0]) for one in scores]
    )


@pytest.mark.slow
def test_an_interrupted_cross_validation_goes_on(configure, command, synthetic_root, tmp_path, monkeypatch):
    data = ["data=ptbxl", f"data.root={synthetic_root}", "data.train_folds=[4,5,6,7]", "cross_validation=[4,5,7]"]

    def run(folder, *overrides):
        overrides = [*SMALL, "trainer.max_epochs=2", *overrides]
        return cross_validation.run(configure(*data, *overrides, output_dir=folder))

    whole = run(tmp_path / "whole")
    original = ECGClassifier.training_step

    def stop(self, batch, batch_idx):
        if self.current_epoch == 1 and (tmp_path / "cut" / "fold4" / "fold.json").is_file():
            raise RuntimeError("pulled the plug")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(ECGClassifier, "training_step", stop)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        run(tmp_path / "cut")
    monkeypatch.undo()
    shutil.copytree(tmp_path / "cut", tmp_path / "begun")
    assert (tmp_path / "cut" / "fold5" / "checkpoints" / "last.ckpt").is_file()
    assert not (tmp_path / "cut" / "fold7").exists()
    with pytest.raises(CheckpointError, match="does not hold an unfinished cross-validation"):
        run(tmp_path / "elsewhere", "ckpt_path=last")
    for other in ("scored_epoch=last", "trainer.max_epochs=3", "seed=1", "cross_validation=[[4,5],7]"):
        with pytest.raises(CheckpointError, match=rf"other settings \({other.split('=')[0]}\)"):
            run(tmp_path / "cut", "ckpt_path=last", other)
    finished = (tmp_path / "cut" / "fold4" / "fold.json").stat().st_mtime_ns
    went_on = run(tmp_path / "cut", "ckpt_path=last")
    assert went_on.metrics == whole.metrics
    assert (tmp_path / "cut" / "fold4" / "fold.json").stat().st_mtime_ns == finished
    again = command("data=ptbxl", f"data.root={synthetic_root}", *SMALL, f"hydra.run.dir={tmp_path}/begun")
    assert again.returncode == 2
    assert "already holds a run" in again.stderr
    cut, uncut = ((tmp_path / name / "predictions.csv").read_text() for name in ("cut", "whole"))
    assert cut == uncut


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["cross_validation=[9]"], "give distinct folds of data.train_folds"),
        (["cross_validation=[]"], "give distinct folds"),
        (["cross_validation=[7,7]"], "give distinct folds"),
        (["cross_validation=[[]]"], "give distinct folds"),
        (["cross_validation=[[7,8],7]"], "give distinct folds"),
        (["cross_validation=[[7,[8]]]"], "give distinct folds"),
        (["cross_validation=[seven]"], "give distinct folds"),
        (["cross_validation=[[1,2]]", "data.train_folds=[1,2]"], "leave at least one to train on"),
        (["cross_validation=[1]", "data.train_folds=[1]"], "leave at least one to train on"),
        (["cross_validation=[7]", "ckpt_path=best.ckpt"], "trains a model for each fold"),
        (["cross_validation=[true]"], "as numbers or as lists"),
        (["cross_validation=[[true,2]]"], "as numbers or as lists"),
        (["cross_validation=[{7:8}]"], "as numbers or as lists"),
        (["cross_validation=[7]", "compression=prune"], "trains a model for each fold"),
    ],
)
def test_folds_that_cannot_be_held_out_are_refused(configure, overrides, said):
    with pytest.raises(ConfigError, match=said):
        configure(*overrides)


def test_the_printed_training_is_of_all_folds_and_leaves_fold_10_alone(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "{cross_validation: [[1, 2]], monitor: val/f1_macro, scored_epoch: last, callbacks: {early_stopping: null}}"
    )
    overrides = [
        "data.root=/a b",
        "++cross_validation=[[1,2]]",
        "ckpt_path=last",
        "+hparams_search=x",
        "model.dropout=0.1",
    ]
    (command,) = next_steps._all_folds(tmp_path, read_config(tmp_path), {"overrides": overrides})
    assert shlex.split(command)[2:] == [
        "monitor=val/f1_macro", "scored_epoch=last", "callbacks.early_stopping=null", "test=false", "n_tried=1",
        "data.root=/a b", "cross_validation=null", "model.dropout=0.1",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_a_search_without_a_finished_trial_says_so(kept, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    storage = [f'hydra.sweeper.storage="sqlite:///{tmp_path}/search.db"'] if kept else []
    done = start(
        "hparams_search=signal_recipe", "hydra.sweeper.n_trials=1", "cross_validation=[9]", "model=resnet1d",
        f"hydra.sweep.dir={tmp_path}/s", *storage,
    )  # fmt: skip
    assert done.returncode == 1
    assert "failed: cross_validation=[9]: give distinct folds" in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == "error: no trial of the search finished. The reason of each is printed above"


def test_a_search_that_cannot_be_kept_is_refused(command, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    done = command(
        "hparams_search=signal_recipe", "model=resnet1d", f"hydra.sweep.dir={tmp_path}/s",
        f'hydra.sweeper.storage="sqlite:///{tmp_path}/missing/search.db"',
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "hydra.sweeper.storage cannot be opened" in done.stderr
    assert "unable to open database file" in done.stderr


@pytest.mark.slow
def test_a_search_finds_its_best_recipe_and_outlives_failed_trials(synthetic_root, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["hparams_search=signal_recipe", "hydra.sweeper.n_trials=4", f"hydra.sweep.dir={tmp_path}/s"]
    search += ["hydra.sweeper.study_name=kept", f'hydra.sweeper.storage="sqlite:///{tmp_path}/search.db"']
    failing = '+hydra.sweeper.params={data.batch_size: "choice(-3,8)"}'
    done = start(*search, failing, *SMALL, "data=ptbxl", f"data.root={synthetic_root}")
    assert done.returncode == 1, done.stderr
    best = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())
    results = [json.loads(path.read_text()) for path in (tmp_path / "s").glob("*/result.json")]
    finished = [one for one in results if one["status"] == "ok"]
    assert len(results) == 4 > len(finished) > 0
    assert best["best_value"] == max(one["score"] for one in finished)
    with closing(sqlite3.connect(tmp_path / "search.db")) as kept:
        values = kept.execute("SELECT value FROM trial_values").fetchall()
    assert sorted(value for (value,) in values) == sorted(one["score"] for one in finished)
    assert 1e-3 <= best["best_params"]["model.optimizer.lr"] <= 2e-2
    assert all("cross-validation over folds [[5, 6], [7, 8]]" in one["notes"][0] for one in finished)
    assert not any("optimistic" in note for one in finished for note in one["notes"])  # the last epoch is scored
    assert "alembic" not in done.stdout + done.stderr
    assert "4 configurations were tried" in " ".join(done.stdout.split())
    (command,) = re.findall(r"python train\.py (.*)", done.stdout)  # logger=none: no TensorBoard to open
    assert "tensorboard" not in done.stdout
    again = start(*shlex.split(command), f"hydra.run.dir={tmp_path}/again")
    assert again.returncode == 0, again.stderr
    trained = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())
    assert trained["model"]["optimizer"]["lr"] == best["best_params"]["model.optimizer.lr"]
    assert (trained["cross_validation"], trained["scored_epoch"]) == (None, "last")
    assert trained["n_tried"] == len(finished)  # what was refused was not tried
    assert trained["callbacks"]["early_stopping"] is None
