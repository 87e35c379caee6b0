"""Stops in a fit: whatever the moment, the resumed training equals the uninterrupted one bit for bit."""

import os
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ecg_lightning.checkpoints.loading import read_checkpoint
from ecg_lightning.system import stopping
from ecg_lightning.training import run as training
from ecg_lightning.training import trainer

pytestmark = pytest.mark.usefixtures("hears_signals")

EPOCHS = 3


@pytest.fixture(scope="session")
def fit(configure, synthetic_root):
    """Run a small training; its dropout, mixup and augmentation draw in each step."""

    def start(output_dir, *overrides):
        cfg = configure(
            "data=ptbxl", f"data.root={synthetic_root}", "model=resnet1d_wang", "model.channels=4", "model.mixup=0.4",
            "frontend.augmentation.noise_mv=0.01", "hardware.precision=32-true", "hardware.threads=1", "logger=none",
            "callbacks.figures=false", "test=false", "data.batch_size=16", f"trainer.max_epochs={EPOCHS}",
            "callbacks.early_stopping.patience=2", *overrides, output_dir=output_dir,
        )  # fmt: skip
        return training.run(cfg, {"model": "resnet1d_wang", "data": "ptbxl"}, overrides)

    return start


class SignalAt(Callback):
    """Sends a signal to this process when a hook is called in an epoch, at a batch where it has one."""

    def __init__(self, hook, epoch, batch=None, number=signal.SIGTERM):
        def send(trainer, module, *arguments):
            at = arguments[2] if hook == "on_train_batch_end" else arguments[1] if len(arguments) > 1 else None
            if trainer.current_epoch == epoch and (batch is None or batch == at):
                os.kill(os.getpid(), number)

        setattr(self, hook, send)


class TrainMetrics(Callback):
    """Keeps the training's own scores of each epoch."""

    def __init__(self):
        self.found = {}

    def on_train_epoch_start(self, trainer, module):
        self._keep(trainer, trainer.current_epoch - 1)

    def on_train_end(self, trainer, module):
        self._keep(trainer, trainer.current_epoch - 1)

    def _keep(self, trainer, epoch):
        self.found[epoch] = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("train/") and name != "train/loss_step"  # of single steps, some of them before a stop
        }


def with_callbacks(monkeypatch, *callbacks):
    """Add callbacks to the next training."""
    original = trainer._callbacks
    monkeypatch.setattr(trainer, "_callbacks", lambda *given, **named: [*callbacks, *original(*given, **named)])


def same(one, other):
    """Compare checkpoints: weights, averages, optimizer, schedule and what callbacks remember, but not the clock."""
    for name in ("state_dict", "current_model_state", "averaging_state"):
        assert one.get(name, {}).keys() == other.get(name, {}).keys()
        for key, value in one.get(name, {}).items():
            assert torch.equal(value, other[name][key]), (name, key)
    for key, state in one["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, other["optimizer_states"][0]["state"][key][name]), (key, name)
    assert one["optimizer_states"][0]["param_groups"] == other["optimizer_states"][0]["param_groups"]
    assert one["lr_schedulers"] == other["lr_schedulers"]
    assert (one["epoch"], one["global_step"]) == (other["epoch"], other["global_step"])
    for key, state in one["callbacks"].items():
        if key.startswith(("EarlyStopping", "CollapseGuard")):
            assert state == other["callbacks"][key], key


def check_same(one, other, results):
    """Compare two runs' checkpoints, scores, and train metrics of the last epoch."""
    for name in ("best", "last"):
        same(*(read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for folder in (one, other)))
    assert results[0].metrics == results[1].metrics
    assert results[0].timing["best_epoch"] == results[1].timing["best_epoch"]


@pytest.fixture(scope="session")
def whole(fit, tmp_path_factory):
    """Uninterrupted runs, by their settings."""
    runs = {}

    def get(*settings):
        if settings not in runs:
            folder, metrics = tmp_path_factory.mktemp("whole"), TrainMetrics()
            with pytest.MonkeyPatch.context() as patch:
                with_callbacks(patch, metrics)
                runs[settings] = folder, fit(folder, *settings), metrics.found
        return runs[settings]

    return get


PLAIN = ()
WORKERS = ("data.num_workers=2",)
ACCUMULATED = ("trainer.accumulate_grad_batches=4",)
AVERAGED = ("+callbacks.extra.ema={_target_: lightning.pytorch.callbacks.EMAWeightAveraging, decay: 0.9}",)
LIMITED = ("trainer.limit_train_batches=5",)
OVERFIT = ("trainer.overfit_batches=3",)


@pytest.mark.parametrize(
    ("settings", "hook", "epoch", "batch"),
    [
        (PLAIN, "on_train_batch_start", 0, 4),
        (PLAIN, "on_train_batch_end", 1, 8),  # the last batch of an epoch
        (PLAIN, "on_validation_start", 1, None),
        (PLAIN, "on_train_epoch_end", 1, None),
        pytest.param(PLAIN, "on_train_epoch_start", 2, None, marks=pytest.mark.slow),
        pytest.param(WORKERS, "on_train_batch_end", 1, 3, marks=pytest.mark.slow),
        (ACCUMULATED, "on_train_batch_end", 1, 4),
        (AVERAGED, "on_train_batch_end", 1, 3),
        (AVERAGED, "on_validation_batch_end", 0, None),
        pytest.param(LIMITED, "on_train_batch_end", 2, 1, marks=pytest.mark.slow),
        pytest.param(OVERFIT, "on_train_batch_end", 1, 0, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_stopped_training_goes_on_bit_for_bit(fit, whole, tmp_path, monkeypatch, settings, hook, epoch, batch):
    reference, expected, metrics = whole(*settings)
    stop(fit, tmp_path, settings, SignalAt(hook, epoch, batch))
    again = TrainMetrics()
    with monkeypatch.context() as patch:
        with_callbacks(patch, again)
        result = fit(tmp_path, *settings, "ckpt_path=auto")
    check_same(reference, tmp_path, (expected, result))
    assert again.found[EPOCHS - 1] == metrics[EPOCHS - 1]
    assert again.found[EPOCHS - 1].keys() > {"train/loss", "train/f1_macro"}


def stop(fit, folder, settings, *signals):
    """Run a training that receives signals, to its stop."""
    with pytest.MonkeyPatch.context() as patch, stopping.answered():
        with_callbacks(patch, *signals)
        with pytest.raises(stopping.Stopped) as stopped:
            fit(folder, *settings, "ckpt_path=auto")
    assert stopped.value.code == 143


def test_an_epoch_can_be_stopped_twice(fit, whole, tmp_path):
    reference, expected, _ = whole()
    stop(fit, tmp_path, (), SignalAt("on_train_batch_end", 1, 2))
    stop(fit, tmp_path, (), SignalAt("on_train_batch_end", 1, 5))
    check_same(reference, tmp_path, (expected, fit(tmp_path, "ckpt_path=auto")))


def test_a_stop_before_the_first_step_leaves_nothing_to_go_on_from(fit, whole, tmp_path):
    reference, expected, _ = whole()
    stop(fit, tmp_path, (), SignalAt("on_train_start", 0))
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
    check_same(reference, tmp_path, (expected, fit(tmp_path, "ckpt_path=auto")))


def test_an_early_stop_is_not_trained_beyond(fit, tmp_path, monkeypatch):
    """The loss improves in each epoch, but by less than `min_delta`."""
    falling = ("callbacks.early_stopping.monitor=val/loss", "callbacks.early_stopping.mode=min")
    settings = (*falling, "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=1")
    expected = fit(tmp_path / "whole", *settings)
    assert expected.timing["epochs"] == 2
    stop(fit, tmp_path / "stopped", settings, SignalAt("on_train_end", 2))
    check_same(
        tmp_path / "whole", tmp_path / "stopped", (expected, fit(tmp_path / "stopped", *settings, "ckpt_path=auto"))
    )
