"""Whole runs on synthetic records: fit, evaluate, resume, distil, and what they leave behind."""

import io
import json
import math
import random
import re
import shutil
from types import SimpleNamespace

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from curves import last_value
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TINY, build_tiny

from ecg_lightning.checkpoints.io import save_checkpoint
from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.commands import evaluations
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.ptbxl import read_tables
from ecg_lightning.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    HardwareUnavailableError,
    TrainingDivergedError,
)
from ecg_lightning.evaluation.metrics import superclass_metrics
from ecg_lightning.learning.optimization import learning_rate_factor
from ecg_lightning.learning.schema import SchedulerConfig
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.reports.evaluation_tables import evaluation_sections
from ecg_lightning.reports.terminal import print_sections
from ecg_lightning.training import run as training
from ecg_lightning.training import step_time
from ecg_lightning.training.announce import records_of_an_epoch
from ecg_lightning.training.callbacks import CollapseGuard
from ecg_lightning.training.progress import ProgressLine
from ecg_lightning.training.resume import Place, Resume

SMALL = ["frontend.size=[16,64]", "model.patch_size=8", "hardware.precision=32-true", "data.batch_size=16"]


@pytest.fixture(scope="session")
def run(configure, synthetic_root):
    def start(output_dir, *overrides, model="vit"):
        settings = SMALL if model in ("vit", "deit") else ["frontend.size=[32,64]", *SMALL[2:]]
        data = [] if any(o.startswith("data.root") for o in overrides) else [f"data.root={synthetic_root}"]
        cfg = configure(
            *("data=ptbxl", *data, f"model={model}", *TINY[model], *settings, "callbacks.figures=false"),
            *("hardware.threads=1", *overrides),  # else a busy machine would choose, and compared runs might differ
            output_dir=output_dir,
        )
        return training.run(cfg, {"model": model, "data": "ptbxl"}, overrides)

    return start


@pytest.fixture(scope="session")
def trained(run, tmp_path_factory):
    """A finished run of three epochs with its figures: (folder, result)."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, run(folder, "trainer.max_epochs=3", "callbacks.figures=true")


CHOSEN = {"link", "n_records", "temperature", "thresholds", "conformal", "platt"}


def evaluated_macro(written):
    return written["evaluation"]["test"]["scores"]["macro"]["auroc"]


def test_a_run_leaves_what_the_schema_says(trained):
    folder, result = trained
    written = json.loads((folder / "result.json").read_text())
    assert written["status"] == "ok"
    assert written["schema"] == 2
    assert set(written) >= {
        "status", "reason", "choices", "seed", "config_hash", "git", "versions", "host", "data", "metrics",
        "chosen", "score", "variants", "timing", "artifacts",
    }  # fmt: skip
    described = {"root_hash", "dataset", "version", "task", "label_rule", "n_left_out"}
    assert written["data"].keys() == {*described, "n_train", "n_val", "n_test"}
    for split in ("val", "test"):
        metrics = written["metrics"][split]
        for name in ("f1_macro_tuned", "auroc_macro"):
            low, high = metrics["ci95"][name]
            assert low <= metrics[name] <= high
        evaluated = written["evaluation"][split]
        assert (metrics["probabilities"], evaluated["probabilities"]) == ("raw", "calibrated")
        assert evaluated["n_records"] == written["data"][f"n_{split}"]
        assert evaluated["scores"]["macro"]["auroc"][0] == pytest.approx(metrics["auroc_macro"])
        assert {group["by"] for group in evaluated["subgroups"]} >= {"sex", "age", "device"}
        assert len(evaluated["age_and_sex"]["auroc"]) == 3
        assert evaluated["calibration"].keys() == {"none", "temperature", "platt"}
        assert {"f1_macro", "f1_macro_tuned", "auroc_macro", "accuracy", "accuracy_subset"} <= metrics.keys()
        assert set(metrics["per_class"]) == {"CD", "HYP", "MI", "NORM", "STTC"}
    assert written["score"] == pytest.approx(written["metrics"]["val"]["f1_macro"])
    chosen = written["chosen"]
    assert (chosen.keys(), chosen["n_records"]) == (CHOSEN, written["data"]["n_val"])
    assert read_checkpoint(folder / "checkpoints" / "best.ckpt")["ecg_lightning"]["chosen"] == chosen
    (baseline,) = written["variants"]
    assert baseline["name"] == "baseline"
    assert baseline["size"]["parameters"] == sum(
        p.numel() for p in load_classifier(folder / "checkpoints" / "best.ckpt").network.parameters()
    )
    assert {"cpu", "cores", "memory_gib", "threads", "precision"} <= written["host"].keys()
    for name in written["artifacts"].values():
        assert (folder / name).is_file()
    assert written["artifacts"].keys() >= {
        "model_card", "tables/per_class", "tables/learning_curves", "figures/roc", "figures/pr", "figures/calibration",
        "figures/confusion", "figures/learning_curves",
    }  # fmt: skip
    for name in ("roc", "confusion", "learning_curves"):
        assert (folder / f"figures/{name}.svg").read_text().endswith("</svg>\n")
    table = pd.read_csv(folder / "tables/per_class.csv", index_col="class")
    assert table.loc["macro", ["auroc", "auroc_low", "auroc_high"]].tolist() == pytest.approx(evaluated_macro(written))
    curves = pd.read_csv(folder / "tables/learning_curves.csv", index_col="epoch")
    assert curves.loc[int(result.timing["best_epoch"]), "val_f1_macro"] == pytest.approx(result.score)
    assert (curves["train_loss"] > 0).all()
    card = (folder / "model_card.md").read_text()
    for part in ("synthetic ECGs", "| MI ", "AUROC", "Fewer than 20 positive records", "Versions: ecg_lightning"):
        assert part in card
    assert (folder / "config.yaml").is_file()
    assert result.timing["epochs"] == 3


def test_snapshots_are_kept_along_the_way(run, tmp_path):
    cycles = ["trainer.max_epochs=4", "callbacks.snapshots=2", "model.scheduler.cycles=2"]
    run(tmp_path, *cycles, "+trainer.extra.check_val_every_n_epoch=3")  # which is not when they are kept
    steps = json.loads((tmp_path / "result.json").read_text())["data"]["n_train"] // 16
    names = {path.name for path in (tmp_path / "checkpoints").glob("snapshot*")}
    assert names == {f"snapshot{2 * steps:06d}.ckpt", f"snapshot{4 * steps:06d}.ckpt"}
    members = [load_classifier(tmp_path / "checkpoints" / name).state_dict() for name in sorted(names)]
    assert not torch.equal(*(state["network.head.weight"] for state in members))


def test_checkpoints_describe_themselves_and_hold_plain_values_and_thresholds(trained):
    folder, result = trained
    for name in ("best", "last"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["ecg_lightning"]["classes"] == ["CD", "HYP", "MI", "NORM", "STTC"]
        assert not torch.equal(checkpoint["state_dict"]["thresholds"], torch.full((5,), 0.5).double())
    classifier = load_classifier(folder / "checkpoints" / "best.ckpt")
    assert dict(zip(classifier.classes, classifier.thresholds.tolist(), strict=True)) == pytest.approx(
        result.chosen["thresholds"]["raw"]
    )
    assert not classifier.training


def test_the_best_checkpoint_is_the_one_that_is_scored(trained):
    folder, result = trained
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    curve = [event.value for event in events.Scalars("val/f1_macro")]
    assert len(curve) == 3
    assert result.score == pytest.approx(max(curve), abs=1e-6)
    assert result.timing["best_epoch"] == 1 + curve.index(max(curve))


def test_tensorboard_holds_curves_hyper_parameters_and_figures(trained):
    events = EventAccumulator(str(trained[0] / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    scalars = events.Tags()["scalars"]
    for tag in (
        "train/loss",
        "val/loss",
        "train/f1_macro",
        "val/auroc_macro",
        "val/f1/NORM",
        "val/auroc/MI",
        "final/val_f1_macro",
        "final/test_auroc_macro",
    ):
        assert tag in scalars
    assert any(tag.startswith("lr-") for tag in scalars)
    assert {"best_test/ecg/error", "best_test/pr", "best_test/reliability"} <= set(events.Tags()["images"])
    assert not any(tag.startswith("best/") for tag in scalars)
    for phase in ("val", "test"):
        expected = trained[1].metrics[phase]["f1_macro"]
        assert last_value(events, f"final/{phase}_f1_macro") == pytest.approx(expected)
    (hparams,) = {tag for tag in events.summary_metadata if tag == "_hparams_/session_start_info"}
    content = events.summary_metadata[hparams].plugin_data.content
    for name in (b"lr", b"weight_decay", b"batch_size", b"image_size", b"precision", b"vit"):
        assert name in content


def test_a_run_says_first_what_it_will_do(run, configure, tmp_path, caplog):
    caplog.set_level("INFO")
    run(tmp_path / "a", "trainer.max_epochs=2")
    assert "ViT: 0.02 M parameters, images 1 × 16 × 64, 32-true" in caplog.text
    n = json.loads((tmp_path / "a" / "result.json").read_text())["data"]
    assert f"synthetic data, records: train {n['n_train']} · val {n['n_val']} · test {n['n_test']}" in caplog.text
    assert "an epoch will take about 0:0" in caplog.text
    assert "SYNTHETIC" not in caplog.text
    settings = [*TINY["vit"], *SMALL, "data.n_records=100", "debug=fdr"]
    training.run(configure("data=synthetic", "model=vit", *settings, output_dir=tmp_path / "b"))
    assert "the data is SYNTHETIC" in caplog.text
    assert "data=ptbxl data.root=DIR" in caplog.text


def test_the_estimate_counts_what_is_trained_and_validated(configure):
    def count(*overrides):
        datasets = {"train": range(100), "val": range(30)}
        return records_of_an_epoch(configure(*overrides).trainer, SimpleNamespace(datasets=datasets, batch_size=8))

    assert count() == 110
    assert count("trainer.limit_train_batches=3", "trainer.limit_val_batches=1.0") == 34
    assert count("trainer.limit_train_batches=0.5", "trainer.limit_val_batches=3") == 60
    assert count("trainer.overfit_batches=1") == 18


def test_the_faster_number_of_threads_is_used_kept_and_gone_on_with(run, tmp_path, monkeypatch, caplog):
    """The faster one by the clock, which a busy processor would decide otherwise here."""
    caplog.set_level("INFO")
    monkeypatch.setattr("ecg_lightning.hardware.device.default_threads", lambda: 2)
    monkeypatch.setattr(step_time, "_timed_step", lambda *arguments: float(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        chosen = run(tmp_path, "trainer.max_epochs=1", "hardware.threads=null").host["threads"]
        assert chosen == torch.get_num_threads() == 1
        assert "the training uses 1 thread: a step takes" in caplog.text
        last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
        assert last["ecg_lightning"]["training"]["threads"] == 1
        resumed = run(tmp_path, "trainer.max_epochs=2", "hardware.threads=null", "ckpt_path=last")
        assert resumed.host["threads"] == 1
        run(tmp_path / "set", "debug=fdr", "hardware.threads=1")
        assert caplog.text.count("the training uses") == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 0.5), 2), ((1.0, 0.95), 1), ((0.01, 0.2), 1)])
def test_more_threads_are_used_where_they_are_worth_it(configure, datamodule, monkeypatch, seconds, chosen):
    monkeypatch.setattr(step_time, "_timed_step", lambda *arguments: seconds[torch.get_num_threads() - 1])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        classifier = build_tiny(configure, "resnet1d")
        assert step_time.choose_threads(classifier, datamodule, "32-true", 1000)[0] == chosen
        assert torch.get_num_threads() == chosen
    finally:
        torch.set_num_threads(before)


def test_a_short_training_is_timed_by_few_steps(configure, datamodule, monkeypatch):
    steps = []
    monkeypatch.setattr(step_time, "_timed_step", lambda *arguments: steps.append(1) or 0.01)
    step_time.measure_step(build_tiny(configure, "resnet1d"), datamodule, "32-true", 100)
    assert len(steps) == 2
    step_time.measure_step(build_tiny(configure, "resnet1d"), datamodule, "32-true", 1e6)
    assert len(steps) > 10


def test_timing_a_step_changes_nothing(configure, datamodule):
    classifier = build_tiny(configure, "resnet1d", "model.dropout=0.5", "model.mixup=0.2")
    kept = {name: value.clone() for name, value in classifier.state_dict().items()}
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    assert all(seconds > 0 for seconds in step_time.measure_step(classifier, datamodule, "32-true", 1000, (1, 2)))
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert torch.get_num_threads() == states[3]
    assert all(torch.equal(value, kept[name]) for name, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.fixture(scope="session")
def datamodule(synthetic_root):
    loaded = PTBXLDataModule(str(synthetic_root), batch_size=16)
    loaded.load(("train",))
    return loaded


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_batch_is_one_line(monkeypatch, caplog, on_terminal):
    """On a terminal it is rewritten, and log lines are printed above it."""
    caplog.set_level("INFO")
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: on_terminal)
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    bar = ProgressLine(interval_s=0)
    state = SimpleNamespace(fn="fit")
    metrics = {"val/f1_macro": torch.tensor(0.43)}
    trainer = SimpleNamespace(
        current_epoch=0, max_epochs=2, num_training_batches=25, callback_metrics=metrics, callbacks=[], state=state,
        fit_loop=SimpleNamespace(batch_idx=-1, epoch_loop=SimpleNamespace(_should_check_val_epoch=lambda: True)),
        enable_validation=True, num_val_batches=[6], sanity_checking=False,
    )  # fmt: skip
    bar._trainer = trainer
    bar.on_train_start(trainer, None)
    bar.on_train_epoch_start(trainer, None)
    batch = SimpleNamespace(targets=[0] * 4)
    bar._started -= 60.0
    bar.on_train_batch_end(trainer, None, {"loss": torch.tensor(0.73)}, batch, 0)
    bar.teardown(trainer, None, "fit")
    pattern = r"epoch 1/2 · batch 1/25 · \d+ records/s · loss 0\.730 · F1 0\.430 · [\d:]+ left"
    assert re.search(pattern, caplog.text)
    assert bar._left(trainer, 1) == pytest.approx(53 * 60, rel=0.5)  # 25 batches and 6 of a third, twice, but for one
    shown = screen.getvalue()
    assert bool(re.search(pattern, shown)) == on_terminal
    assert ("\x1b" in shown) == on_terminal


def test_settings_that_few_use_reach_the_trainer(run, tmp_path, monkeypatch):
    given = []

    class Recording(L.Trainer):
        def __init__(self, **arguments):
            given.append(arguments)
            super().__init__(**arguments)

    def refuse(network):
        raise AssertionError(network)

    monkeypatch.setattr(L, "Trainer", Recording)
    monkeypatch.setattr("ecg_lightning.hardware.device.to_channels_last", refuse)
    settings = ("trainer.detect_anomaly=true", "trainer.deterministic=true", "trainer.limit_test_batches=1")
    try:
        result = run(
            tmp_path,
            *settings,
            "callbacks.collapse_guard=false",
            "hardware.channels_last=false",
            "trainer.max_epochs=1",
        )
    finally:
        torch.use_deterministic_algorithms(False)
    fitted = given[0]
    assert (fitted["detect_anomaly"], fitted["deterministic"]) == (True, True)
    assert not any(isinstance(one, CollapseGuard) for one in fitted["callbacks"])
    assert result.data["n_test"] == 16  # one batch


def test_normalisation_is_that_of_the_training_folds_alone(trained, synthetic_root):
    table, targets = read_tables(synthetic_root)
    names = table.loc[(table.strat_fold <= 8) & targets.any(axis=1), "filename_lr"]
    millivolts = np.stack([np.fromfile(synthetic_root / f"{name}.dat", "<i2").reshape(-1, 12) for name in names]) / 1000
    state = torch.load(trained[0] / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert state["frontend.mean"].flatten().numpy() == pytest.approx(millivolts.mean(axis=(0, 1)), abs=1e-6)
    assert state["frontend.std"].flatten().numpy() == pytest.approx(millivolts.std(axis=(0, 1)), rel=1e-5)


def test_the_learning_rate_warms_up_and_falls_by_the_step(run, tmp_path):
    run(tmp_path, "trainer.max_epochs=2", "trainer.log_every_n_steps=1")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (tag,) = {tag for tag in events.Tags()["scalars"] if tag.startswith("lr-") and "/" not in tag.replace("/pg1", "")}
    rates = [event.value for event in events.Scalars(tag)]
    config = SchedulerConfig()
    expected = [5e-4 * learning_rate_factor(step, len(rates), config) for step in range(len(rates))]
    assert len(rates) == 18
    assert rates == pytest.approx(expected)


def test_training_stops_early_without_progress(run, tmp_path, caplog):
    caplog.set_level("INFO")
    settings = ["trainer.max_epochs=9", "model.optimizer.lr=1e-12", "callbacks.early_stopping.patience=2"]
    assert run(tmp_path / "stopped", *settings).timing["epochs"] == 3
    assert (
        "early stopping after epoch 3 of 9: val/f1_macro did not improve in the last 2 validations "
        "(callbacks.early_stopping.patience=2); its best was 0."
    ) in caplog.text
    assert ", after epoch 1\n" in caplog.text
    assert run(tmp_path / "full", *settings, "callbacks.early_stopping=null").timing["epochs"] == 9


def test_gradients_are_clipped_where_it_is_asked(run, tmp_path, monkeypatch):
    limits = []
    original = torch.nn.utils.clip_grad_norm_

    def spy(parameters, max_norm):
        limits.append(max_norm)
        return original(parameters, max_norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    run(tmp_path / "default", "trainer.max_epochs=1")
    assert limits == [1.0] * 9
    run(tmp_path / "off", "trainer.max_epochs=1", "trainer.gradient_clip_val=null")
    assert len(limits) == 9


def test_every_batch_draws_anew(run, tmp_path, monkeypatch):
    draws = []
    original = ECGClassifier.loss_and_logits

    def spy(self, batch):
        draws.append(float(torch.rand(()))) if self.training and self._trainer else None
        return original(self, batch)

    monkeypatch.setattr(ECGClassifier, "loss_and_logits", spy)
    for folder, seed in (("a", 0), ("b", 1)):
        run(tmp_path / folder, "trainer.max_epochs=2", f"seed={seed}")
    assert len(draws) == len({*draws}) == 36


def test_scores_do_not_depend_on_the_precision_of_the_training(run, trained, tmp_path):
    settings = ["train=false", f"ckpt_path={trained[0]}/checkpoints/best.ckpt"]
    evaluated = run(tmp_path, *settings, "hardware.precision=bf16-mixed")
    assert evaluated.metrics["test"] == trained[1].metrics["test"]


def test_predictions_from_python_are_probabilities(trained, synthetic_root):
    classifier = load_classifier(trained[0] / "checkpoints" / "best.ckpt")
    datamodule = PTBXLDataModule(synthetic_root)
    probabilities = torch.cat(L.Trainer(accelerator="cpu", logger=False).predict(classifier, datamodule=datamodule))
    assert probabilities.shape == (len(datamodule.datasets["test"]), 5)
    metrics = superclass_metrics(
        probabilities, datamodule.datasets["test"].targets, classifier.classes, classifier.thresholds
    )
    assert metrics["auroc_macro"] == pytest.approx(trained[1].metrics["test"]["auroc_macro"], abs=1e-6)


def test_folds_that_a_checkpoint_has_seen_are_told(run, trained, tmp_path):
    settings = ["train=false", f"ckpt_path={trained[0]}/checkpoints/best.ckpt"]
    assert run(tmp_path / "test", *settings).notes == []
    (note,) = run(tmp_path / "train", *settings, "data.test_folds=[1,2]").notes
    assert note.startswith("the checkpoint, or a model it learned from, was trained on the test folds [1, 2]")
    (note,) = run(tmp_path / "val", *settings, "data.test_folds=[9]").notes
    assert "a model it learned from, was chosen by the test folds [9]" in note


def test_scores_are_reproducible(run, trained, tmp_path):
    again = run(tmp_path, "trainer.max_epochs=3")
    assert again.metrics == trained[1].metrics
    assert again.config_hash == trained[1].config_hash


def test_resumed_run_equals_the_uninterrupted_one(run, trained, tmp_path, monkeypatch):
    steps = 0
    original = ECGClassifier.training_step

    def stop(self, batch, batch_idx):
        nonlocal steps
        steps += 1
        if self.current_epoch == 1 and batch_idx == 3:
            raise RuntimeError("pulled the plug")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(ECGClassifier, "training_step", stop)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        run(tmp_path, "trainer.max_epochs=3")
    monkeypatch.undo()
    before = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    result = run(tmp_path, "trainer.max_epochs=3", "ckpt_path=last")
    assert result.metrics == trained[1].metrics
    assert result.timing["fit_s"] > before["callbacks"]["Timer"]["time_elapsed"]["train"] > 0
    assert result.timing["samples_per_s"] > 0
    one = torch.load(trained[0] / "checkpoints" / "last.ckpt", weights_only=True)
    other = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert one["global_step"] == other["global_step"]
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name


def test_resume_without_a_checkpoint_or_with_other_settings_is_refused(run, trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"last\.ckpt is not there"):
        run(tmp_path, "ckpt_path=last")
    path = trained[0] / "checkpoints" / "last.ckpt"
    with pytest.raises(CheckpointError, match=r"model\.depth=2, but this run has 1"):
        run(tmp_path, f"ckpt_path={path}", "model.depth=1")
    with pytest.raises(CheckpointError, match=r"data\.label_rule=benchmark, but this run has ge50"):
        run(tmp_path, f"ckpt_path={path}", "data.label_rule=ge50")
    for setting, named in (
        ("seed=7", "seed=0, but this run has 7"),
        ("data.batch_size=8", r"data\.batch_size=16, but this run has 8"),
        ("data.train_folds=[1,2]", r"data\.train_folds=\[1, 2, 3, 4, 5, 6, 7, 8\], but this run has \[1, 2\]"),
        ("model.optimizer.name=sgd", r"model\.optimizer"),
    ):
        with pytest.raises(CheckpointError, match=named):
            run(tmp_path, f"ckpt_path={path}", setting)
    assert not (tmp_path / "config.yaml").exists()


def test_a_checkpoint_of_a_version_with_fewer_settings_goes_on(trained):
    path = trained[0] / "checkpoints" / "last.ckpt"
    asked = read_checkpoint(path)["ecg_lightning"]
    older = read_checkpoint(path)["ecg_lightning"]
    del older["frontend"]["augmentation"]["tempo"], older["model"]["label_smoothing"]
    Resume(path, older, Place()).check_fits(asked)
    asked["frontend"]["augmentation"]["tempo"] = 0.1
    with pytest.raises(CheckpointError, match=r"frontend\.augmentation"):
        Resume(path, older, Place()).check_fits(asked)


def test_a_checkpoint_evaluates_on_a_root_that_holds_fold_10_alone(run, trained, synthetic_root, tmp_path):
    root = tmp_path / "fold10"
    shutil.copytree(synthetic_root, root)
    table = pd.read_csv(root / "ptbxl_database.csv")
    for name in table.loc[table.strat_fold != 10, "filename_lr"]:
        (root / f"{name}.dat").unlink()
        (root / f"{name}.hea").unlink()
    table[table.strat_fold == 10].to_csv(root / "ptbxl_database.csv", index=False)
    checkpoint = trained[0] / "checkpoints" / "best.ckpt"
    # Another model and label rule on the command line: the checkpoint's own are used.
    evaluated = run(
        tmp_path / "out",
        "train=false",
        f"ckpt_path={checkpoint}",
        f"data.root={root}",
        "data.label_rule=ge50",
        model="convnext",
    )
    assert evaluated.metrics["test"] == trained[1].metrics["test"]
    assert evaluated.chosen == trained[1].chosen  # the checkpoint holds them
    found = evaluations.evaluate_run(tmp_path / "out", "test", None, 100)
    for scores in (evaluated.evaluation["test"], found):
        for part in ("scores", "calibration"):
            assert scores[part].keys() == trained[1].evaluation["test"][part].keys()
        assert scores["scores"]["macro"]["f1"][0] == pytest.approx(evaluated.metrics["test"]["f1_macro_tuned"])
        assert scores["conformal"].keys() == set(evaluated.chosen["conformal"])
    assert found["left_out"]  # the floor needs records of the training folds
    earlier = read_checkpoint(checkpoint)  # held thresholds alone
    del earlier["ecg_lightning"]["chosen"]
    save_checkpoint(earlier, tmp_path / "earlier.ckpt")
    bare = run(tmp_path / "bare", "train=false", f"ckpt_path={tmp_path / 'earlier.ckpt'}", f"data.root={root}")
    assert bare.metrics["test"] == evaluated.metrics["test"]
    assert bare.chosen["thresholds"] == {"raw": evaluated.chosen["thresholds"]["raw"]}
    assert any("holds no temperature and no conformal sets" in note for note in bare.notes)
    for scores in (bare.evaluation["test"], evaluations.evaluate_run(tmp_path / "bare", "test", None, 100)):
        assert (scores["probabilities"], scores["conformal"], scores["calibration"].keys()) == ("raw", {}, {"none"})
        assert scores["scores"]["macro"]["f1"][0] == pytest.approx(bare.metrics["test"]["f1_macro_tuned"])
    with pytest.raises(DataError, match="holds no predictions of the split val"):
        evaluations.compare_runs([tmp_path / "out", trained[0]], "test", 100)
    assert evaluated.data["label_rule"] == "benchmark"
    assert evaluated.choices["model"] == "vit"
    assert "kind: vit" in (tmp_path / "out" / "config.yaml").read_text()
    with pytest.raises(DataError, match="folds"):
        run(tmp_path / "fit", f"data.root={root}")


@pytest.mark.parametrize(
    "settings",
    [
        ["callbacks=ema", "callbacks.extra.ema.decay=0.9"],
        ["callbacks=swa", "callbacks.extra.swa.start=0"],
        ["scored_epoch=last", "+trainer.extra.check_val_every_n_epoch=2", "callbacks.early_stopping=null"],
    ],
)
def test_the_best_checkpoint_holds_the_thresholds_that_its_weights_were_scored_with(run, settings, tmp_path):
    """Not those of weights before they were averaged, nor of the last epoch that happened to be validated."""
    result = run(tmp_path / "run", "trainer.max_epochs=3", *settings)
    raw = result.chosen["thresholds"]["raw"]
    assert set(raw.values()) != {0.5}
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    state = read_checkpoint(checkpoint)["state_dict"]
    assert state["thresholds"].tolist() == list(raw.values())
    again = run(tmp_path / "again", "train=false", f"ckpt_path={checkpoint}")
    for name in ("f1_macro", "f1_macro_tuned", "auroc_macro"):
        assert again.metrics["test"][name] == pytest.approx(result.metrics["test"][name], abs=1e-6)
    if settings[0].startswith("callbacks="):
        steps = read_checkpoint(checkpoint)["current_model_state"]
        assert not torch.equal(steps["network.head.weight"], state["network.head.weight"])


def test_the_last_weights_are_averaged(run, tmp_path):
    """Three epochs, of which the last one's steps count: their mean, whatever was before."""
    settings = ["callbacks=swa", "callbacks.extra.swa.start=0.667", "scored_epoch=last", "trainer.max_epochs=3"]
    run(tmp_path / "run", *settings, "model.optimizer.lr=0.01")
    averaged = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    steps = json.loads((tmp_path / "run" / "result.json").read_text())["data"]["n_train"] // 16
    assert averaged["averaging_state"]["n_averaged"] == steps
    run(tmp_path / "whole", *settings, "model.optimizer.lr=0.01", "callbacks.extra.swa.start=0")
    whole = read_checkpoint(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    assert whole["averaging_state"]["n_averaged"] == 3 * steps
    weights = [one["state_dict"]["network.head.weight"] for one in (averaged, whole)]
    last = [one["current_model_state"]["network.head.weight"] for one in (averaged, whole)]
    assert torch.equal(*last)
    assert (weights[0] - last[0]).norm() < (weights[1] - last[1]).norm()


@pytest.mark.slow
def test_steps_of_several_batches_are_averaged_once_each_and_a_stop_changes_nothing(run, tmp_path):
    settings = [
        "callbacks=swa",
        "callbacks.extra.swa.start=0.5",
        "scored_epoch=last",
        "trainer.accumulate_grad_batches=2",
    ]
    run(tmp_path / "whole", *settings, "trainer.max_epochs=4")
    whole = read_checkpoint(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    assert whole["averaging_state"]["n_averaged"] == whole["global_step"] / 2

    def stop(self, trainer, pl_module):
        if trainer.current_epoch == 3:
            raise RuntimeError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressLine, "on_train_epoch_start", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(tmp_path / "stopped", *settings, "trainer.max_epochs=4")
    run(tmp_path / "stopped", *settings, "trainer.max_epochs=4", "ckpt_path=last")
    stopped = read_checkpoint(tmp_path / "stopped" / "checkpoints" / "last.ckpt")
    for name, value in whole["state_dict"].items():
        assert torch.equal(stopped["state_dict"][name], value), name


@pytest.mark.slow
def test_an_epoch_that_is_scored_before_any_average_is_told(run, tmp_path):
    for start, told in ((0.99, True), (0.5, False)):  # of 9 steps the last one alone is no average
        settings = ["callbacks=swa", f"callbacks.extra.swa.start={start}", "trainer.max_epochs=1"]
        result = run(tmp_path / str(start), *settings)
        assert any("Set scored_epoch=last" in note for note in result.notes) == told


def test_averages_that_no_checkpoint_holds_are_refused(run, tmp_path):
    callback = "{_target_: lightning.pytorch.callbacks.StochasticWeightAveraging, swa_lrs: 0.01}"
    with pytest.raises(ConfigError, match=r"callbacks\.extra\.mine: .* Use callbacks=swa"):
        run(tmp_path, f"+callbacks.extra.mine={callback}")


def test_settings_of_the_model_do_not_reach_a_checkpoint(command, tmp_path):
    (tmp_path / "best.ckpt").write_bytes(b"PK\x03\x04")
    settings = ["train=false", f"ckpt_path={tmp_path}/best.ckpt", f"hydra.run.dir={tmp_path}/run"]
    said = "model.dropout=0.5 has no effect with train=false, which evaluates the checkpoint"
    assert said in command(*settings, "model.dropout=0.5").stderr


def test_fold_10_decides_nothing(run, trained, synthetic_root, tmp_path):
    root = tmp_path / "shuffled"
    shutil.copytree(synthetic_root, root)
    table = pd.read_csv(root / "ptbxl_database.csv")
    test = table.strat_fold == 10
    table.loc[test, "scp_codes"] = table.loc[test, "scp_codes"].sample(frac=1, random_state=0).to_numpy()
    table.to_csv(root / "ptbxl_database.csv", index=False)
    result = run(tmp_path / "out", "trainer.max_epochs=3", f"data.root={root}")
    ours, theirs = (
        read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"] for folder in (tmp_path / "out", trained[0])
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (result.score, result.metrics["val"]) == (trained[1].score, trained[1].metrics["val"])
    assert result.chosen == trained[1].chosen
    assert result.chosen.keys() == CHOSEN
    assert result.metrics["test"] != trained[1].metrics["test"]


def test_every_look_at_the_test_folds_is_kept(run, tmp_path, caplog):
    def told():
        evaluated = evaluations.evaluate_run(tmp_path / "out", "test", None, 100)
        console = Console(width=200, file=io.StringIO())
        print_sections(evaluation_sections(evaluated), console)
        return evaluated["times_test_scored"], console.file.getvalue()

    run(tmp_path / "out", "trainer.max_epochs=1")
    checkpoint = tmp_path / "out" / "checkpoints" / "best.ckpt"
    assert told()[0] == 1
    assert "were scored" not in told()[1]
    run(tmp_path / "again", "train=false", f"ckpt_path={checkpoint}")
    ledger = pd.read_csv(checkpoint.parent / "test_scored.csv")
    assert ledger["run"].tolist() == [str(tmp_path / "out"), str(tmp_path / "again")]
    assert set(ledger["test_folds"]) == {10}
    assert told()[0] == 2
    assert "scored 2 times with this checkpoint" in told()[1]
    assert evaluations.evaluate_run(tmp_path / "again", "test", None, 100)["times_test_scored"] == 2
    shutil.copy(checkpoint, tmp_path / "checkpoint.ckpt")  # in a folder that cannot be written to
    (tmp_path / "test_scored.csv").mkdir()
    run(tmp_path / "third", "train=false", f"ckpt_path={tmp_path}/checkpoint.ckpt")
    assert "so only this log notes" in caplog.text
    run(tmp_path / "out", "trainer.max_epochs=1")  # another checkpoint takes its place
    assert told()[0] == 1


def test_deit_learns_from_a_teacher_of_another_kind(run, trained, tmp_path):
    teacher = trained[0] / "checkpoints" / "best.ckpt"
    run(tmp_path, "trainer.max_epochs=1", f"model.teacher={teacher}", model="deit")
    student = load_classifier(tmp_path / "checkpoints" / "best.ckpt")
    assert student.distillation is None  # built again without its teacher
    assert read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["ecg_lightning"]["model"]["teacher"] == str(teacher)
    with pytest.raises(CheckpointError, match="is not there"):
        run(tmp_path / "x", "model.teacher=nowhere.ckpt", model="deit")
    with pytest.raises(ConfigError, match="was trained on fold 8, which this run holds out"):
        run(tmp_path / "x", f"model.teacher={teacher}", "data.train_folds=[1]", "data.val_folds=[8]", model="deit")
    other_folds = ("data.train_folds=[1]", "data.val_folds=[2]", "trainer.max_epochs=1")
    leaked = r"learned from a model \(teacher, .*trained on fold 3, which this run holds out"
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert checkpoint["ecg_lightning"]["learned_from"] == [
        {"train": [*range(1, 9)], "val": [9], "test": [10], "dataset": "synthetic, seed 0"}
    ]
    checkpoint["ecg_lightning"]["folds"]["train"] = [1]  # a student of one fold, and of a teacher of eight
    save_checkpoint(checkpoint, tmp_path / "student.ckpt")
    for key in ("teacher", "weights"):
        with pytest.raises(ConfigError, match=rf"model\.{key}=.*student\.ckpt {leaked}"):
            run(
                tmp_path / "x", f"model.{key}={tmp_path}/student.ckpt", *other_folds, "data.val_folds=[3]", model="deit"
            )
    with pytest.raises(ConfigError, match=r"was trained with data\.label_rule=benchmark, but this run has ge50"):
        run(tmp_path / "x", f"model.teacher={teacher}", "data.label_rule=ge50", model="deit")


def test_original_convnext_is_scored_by_its_single_label_too(run, tmp_path):
    result = run(tmp_path, "model.loss=argmax_cross_entropy", "trainer.max_epochs=1", model="convnext")
    assert {"accuracy_argmax", "f1_weighted"} <= result.metrics["val"].keys()


def test_the_collapse_guard_fires_for_a_constant_model_alone(run, trained, tmp_path, caplog, monkeypatch):
    assert not any("COLLAPSED" in note for note in trained[1].notes)
    original = ECGClassifier.forward
    monkeypatch.setattr(ECGClassifier, "forward", lambda self, signals: original(self, signals) * 0 + 1.0)
    result = run(tmp_path, "trainer.max_epochs=2")
    assert "collapse guard: after epoch 1" in caplog.text
    assert result.notes == ["COLLAPSED to a constant in 2 epochs (first: 1), including the scored epoch"]


def test_a_model_that_recovers_from_a_collapse_is_not_called_collapsed():
    guard, resumed = CollapseGuard(), CollapseGuard()
    guard.collapsed_epochs = [1, 2]
    resumed.load_state_dict(guard.state_dict())
    assert resumed.notes(scored_epoch=2) == guard.notes(scored_epoch=2)
    assert guard.notes(scored_epoch=3) == []
    assert guard.notes(scored_epoch=2) != []


def test_a_diverging_loss_stops_the_run(run, tmp_path, monkeypatch):
    def broken(self, batch):
        return torch.tensor(math.nan, requires_grad=True), batch.targets

    monkeypatch.setattr(ECGClassifier, "loss_and_logits", broken)
    with pytest.raises(TrainingDivergedError, match=r"batch 1 of epoch 1 \(ecg_id .*model\.optimizer\.lr") as told:
        run(tmp_path, "trainer.max_epochs=1", "hardware.accelerator=cpu")
    assert "gradient_clip_val" not in str(told.value)  # it is 1 already


def test_logits_that_are_not_finite_are_never_scored(run, tmp_path, monkeypatch):
    original = ECGClassifier.forward
    monkeypatch.setattr(
        ECGClassifier, "forward",
        lambda self, signals: original(self, signals) * (1.0 if self.training else math.nan),
    )  # fmt: skip
    with pytest.raises(TrainingDivergedError, match="val logits are not finite"):
        run(tmp_path, "trainer.max_epochs=1")


def test_batch_norm_on_a_single_value_is_told(run, tmp_path):
    with pytest.raises(ConfigError, match=r"Set data\.batch_size to at least 2"):
        run(tmp_path, "frontend.size=32", "data.batch_size=1", "trainer.max_epochs=1", model="effnetv2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_missing_cuda_is_said(run, tmp_path):
    with pytest.raises(HardwareUnavailableError, match="no CUDA device"):
        run(tmp_path, "hardware=cuda")


def test_an_image_too_small_for_convnext_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="at least 32 pixels"):
        run(tmp_path, "frontend.size=[16,64]", model="convnext")


@pytest.mark.parametrize("setting", ["model.heads=5", "model.dim=30"])
@pytest.mark.parametrize("model", ["vit", "deit"])
def test_shapes_that_do_not_fit_are_one_sentence(run, tmp_path, model, setting):
    with pytest.raises(ConfigError, match="cannot be built from these settings"):
        run(tmp_path, setting, *(["model.heads=4"] if "dim" in setting else []), model=model)


def test_trainer_arguments_of_our_own_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.extra\.callbacks: ecg_lightning sets this argument itself"):
        run(tmp_path, "+trainer.extra.callbacks=null")


def test_what_lightning_refuses_is_one_sentence(run, tmp_path):
    with pytest.raises(ConfigError, match=r"Lightning's Trainer refuses these settings: .*limit_train_batches"):
        run(tmp_path, "trainer.limit_train_batches=0.01")


def test_an_unknown_strategy_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"hardware\.strategy=ddpp: allowed are auto, .*Did you mean ddp\?"):
        run(tmp_path, "hardware.strategy=ddpp")


def test_unknown_trainer_arguments_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.extra\.acumulate.*Did you mean accumulate_grad_batches"):
        run(tmp_path, "+trainer.extra.acumulate_grad_batches=2")


@pytest.mark.parametrize("option", ["fdr", "limit", "overfit", "profiler"])
def test_debug_options_run(run, tmp_path, option):
    shorter = {"overfit": ["trainer.max_epochs=4"], "limit": ["trainer.accumulate_grad_batches=3"]}.get(option, [])
    result = run(tmp_path, f"debug={option}", "trainer.log_every_n_steps=1", *shorter)

    assert result.status == "ok"
    steps = {"fdr": 1, "limit": 24, "overfit": 8, "profiler": 9}[option]  # 168 training records, 16 a batch
    assert result.timing["samples_per_s"] * result.timing["fit_s"] == pytest.approx(16 * steps)
    if option == "profiler":
        assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()


@pytest.mark.slow
def test_bfloat16_trains_to_about_the_same(run, trained, tmp_path):
    result = run(tmp_path, "trainer.max_epochs=3", "hardware.precision=bf16-mixed")
    assert result.host["precision"] == "bf16-mixed"
    assert result.metrics["val"]["loss"] == pytest.approx(trained[1].metrics["val"]["loss"], rel=0.02)
    assert result.metrics["val"] != trained[1].metrics["val"]


def test_other_loggers(run, tmp_path):
    result = run(tmp_path / "b", "logger=csv", "trainer.max_epochs=1", "callbacks=none")
    assert result.status == "ok"
    assert (tmp_path / "b" / "csv" / "metrics.csv").is_file()


class TestForeignCheckpoints:
    @pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 half a zip"])
    def test_damaged_file(self, content, tmp_path):
        path = tmp_path / "x.ckpt"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.ckpt"):
            load_classifier(path)

    def test_truncated_file(self, trained, tmp_path):
        path = tmp_path / "x.ckpt"
        path.write_bytes((trained[0] / "checkpoints" / "best.ckpt").read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match="truncated"):
            load_classifier(path)

    def test_code_is_not_run(self, tmp_path):
        torch.save({"state_dict": {}, "ecg_lightning": _Trap(str(tmp_path / "ran"))}, tmp_path / "x.ckpt")
        with pytest.raises(CheckpointError, match="could run code"):
            load_classifier(tmp_path / "x.ckpt")
        assert not (tmp_path / "ran").exists()

    def test_other_projects_checkpoint(self, tmp_path):
        torch.save({"state_dict": {}, "hyper_parameters": {}}, tmp_path / "x.ckpt")
        with pytest.raises(CheckpointError, match="not a checkpoint of ecg_lightning"):
            load_classifier(tmp_path / "x.ckpt")

    @pytest.mark.parametrize("key", ["kind", "_target_"])
    @pytest.mark.parametrize(
        "target", ["os.system", "torch.hub.load", "ecg_lightning.checkpoints.io.AtomicCheckpointIO"]
    )
    def test_description_that_names_other_classes(self, trained, key, target, tmp_path):
        checkpoint = read_checkpoint(trained[0] / "checkpoints" / "best.ckpt")
        checkpoint["ecg_lightning"]["model"][key] = target
        save_checkpoint(checkpoint, tmp_path / "x.ckpt")
        with pytest.raises(CheckpointError, match=key):
            load_classifier(tmp_path / "x.ckpt")

    def test_newer_format(self, trained, tmp_path):
        checkpoint = read_checkpoint(trained[0] / "checkpoints" / "best.ckpt")
        checkpoint["ecg_lightning"]["format"] = 99
        save_checkpoint(checkpoint, tmp_path / "x.ckpt")
        with pytest.raises(CheckpointError, match="format 99"):
            load_classifier(tmp_path / "x.ckpt")


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_another_task_has_classes_of_its_own(run, trained, tmp_path):
    result = run(tmp_path / "form", "data.task=form", "trainer.max_epochs=1")
    assert result.data["task"] == "form"
    described = read_checkpoint(tmp_path / "form" / "checkpoints" / "best.ckpt")["ecg_lightning"]
    assert set(result.metrics["val"]["per_class"]) <= set(described["classes"])
    assert not set(described["classes"]) & {"CD", "HYP", "MI", "STTC"}
    evaluated = run(
        tmp_path / "again", "train=false", f"ckpt_path={tmp_path}/form/checkpoints/best.ckpt", "data.task=rhythm"
    )
    assert evaluated.data["task"] == "form"  # the checkpoint's
    folder, _ = trained
    with pytest.raises(ConfigError, match=r"data\.task=superdiagnostic, but this run has form"):
        run(
            tmp_path / "taught", "data.task=form", f"model.teacher={folder}/checkpoints/best.ckpt", model="deit"
        )  # fmt: skip


def test_the_last_epoch_can_be_the_scored_one(run, tmp_path):
    result = run(tmp_path, "scored_epoch=last", "trainer.max_epochs=3", "model.optimizer.lr=1e-2")
    assert result.timing["best_epoch"] == 3


@pytest.mark.slow
def test_a_resumed_training_continues_with_its_stage_of_image_sizes(run, tmp_path):
    settings = ["callbacks=progressive", "trainer.max_epochs=4", "model.dropout=0.2"]
    run(tmp_path / "whole", *settings, model="resnet10t")
    whole = read_checkpoint(tmp_path / "whole" / "checkpoints" / "last.ckpt")

    def stop(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise RuntimeError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressLine, "on_train_epoch_start", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(tmp_path / "stopped", *settings, model="resnet10t")
    run(tmp_path / "stopped", *settings, "ckpt_path=last", model="resnet10t")
    stopped = read_checkpoint(tmp_path / "stopped" / "checkpoints" / "last.ckpt")
    for name, value in whole["state_dict"].items():
        assert torch.equal(stopped["state_dict"][name], value), name
