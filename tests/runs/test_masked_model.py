"""A model without classes runs as a classifier does: it trains, resumes bit for bit, is scored and logged."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from curves import last_value
from masked import MaskedConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_stops import SignalAt, check_same, stop

from ecg_lightning.checkpoints import building
from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.components import entry_points, registry
from ecg_lightning.errors import CheckpointError, ConfigError
from ecg_lightning.training import run as training

pytestmark = pytest.mark.usefixtures("hears_signals", "registered")

EPOCHS = 2
LOGGERS = {
    "csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": "csv", "version": ""},
    "tensorboard": {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "name": "tensorboard", "version": ""},
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """Offer the masked model as an installed package does that the user trusts."""
    about = tmp_path_factory.mktemp("site") / "masked-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: masked\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ecg_lightning.models]\nmasked = masked:MaskedConfig\n")
    caches = (registry.options, entry_points._declared)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(about.parent)
        patch.setenv("ECG_LIGHTNING_TRUST", "masked")
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="module")
def fit(configure, synthetic_root):
    """Run a masked model as `train.py` runs a classifier."""

    def start(output_dir, *overrides):
        cfg = configure(
            "data=ptbxl", f"data.root={synthetic_root}", "model=resnet1d", "hardware.precision=32-true",
            "hardware.threads=1", "data.batch_size=16", f"trainer.max_epochs={EPOCHS}",
            "callbacks.early_stopping=null", *overrides, output_dir=output_dir,
        )  # fmt: skip
        settings = replace(cfg, model=MaskedConfig(), monitor="val/explained", logger=LOGGERS)
        return training.run(settings, {"model": "masked", "data": "ptbxl"}, overrides)

    return start


@pytest.fixture(scope="module")
def whole(fit, registered, tmp_path_factory):
    """An uninterrupted training: (folder, result)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(folder)


def test_a_masked_model_is_scored_and_logged(whole):
    folder, result = whole
    written = json.loads((folder / "result.json").read_text())
    assert (written["status"], written["evaluation"], written["chosen"]) == ("ok", {}, {})
    for split in ("val", "test"):
        metrics = written["metrics"][split]
        assert metrics.keys() == {"loss", "mse", "explained"}
        assert metrics["loss"] == pytest.approx(metrics["mse"], rel=0.1)
    curve = pd.read_csv(folder / "csv" / "metrics.csv")["val/explained"].dropna()
    assert len(curve) == EPOCHS
    assert written["score"] == written["metrics"]["val"]["explained"] == pytest.approx(max(curve), abs=1e-6)
    assert curve.iloc[-1] > curve.iloc[0] > 0
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("val/explained")] == pytest.approx(curve.tolist())
    assert last_value(events, "final/test_explained") == pytest.approx(result.metrics["test"]["explained"])
    table = pd.read_csv(folder / "tables" / "learning_curves.csv")
    assert table["val_explained"].tolist() == pytest.approx(curve.tolist())
    assert not (folder / "predictions.csv").exists()
    score = f"{result.metrics['test']['explained']:.3f}"
    assert f"On the test split (N = {result.data['n_test']}) its scores are: " in (folder / "model_card.md").read_text()
    assert f"explained {score}" in (folder / "model_card.md").read_text()


def test_a_masked_model_goes_on_bit_for_bit(fit, whole, tmp_path):
    stop(fit, tmp_path, (), SignalAt("on_train_batch_end", 1, 3))
    so_far = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["epoch_so_far"]
    assert len(so_far["error"]) == sum(so_far["sizes"]) > 0
    check_same(whole[0], tmp_path, (whole[1], fit(tmp_path, "ckpt_path=auto", "callbacks.figures=false")))
    trained = [pd.read_csv(folder / "csv" / "metrics.csv")["train/mse"].dropna() for folder in (whole[0], tmp_path)]
    assert trained[0].iloc[-1] == trained[1].iloc[-1]


def test_a_masked_models_checkpoint_is_evaluated_and_is_no_classifier(fit, whole, tmp_path):
    checkpoint = whole[0] / "checkpoints" / "best.ckpt"
    assert "thresholds" not in read_checkpoint(checkpoint)["state_dict"]
    assert fit(tmp_path, "train=false", f"ckpt_path={checkpoint}").metrics["test"] == whole[1].metrics["test"]
    with pytest.raises(
        CheckpointError, match=r"holds a MaskedModel, which predicts no classes\. Use the checkpoint of"
    ):
        load_classifier(checkpoint)
    with pytest.raises(ConfigError, match=r"model\.kind=masked: this model predicts no classes"):
        building.build_classifier({"kind": "masked"}, {"kind": "signal"}, n_samples=1000, seed=0)
