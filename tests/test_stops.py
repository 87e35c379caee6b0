"""Stops in a fit: whatever the moment, the resumed training equals the uninterrupted one bit for bit."""

import os
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ecg_lightning import stopping, training
from ecg_lightning.checkpoints import read_checkpoint

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


def stop_at(monkeypatch, *signals):
    """Make the next training receive signals."""
    from ecg_lightning import trainer

    original = trainer._callbacks
    monkeypatch.setattr(trainer, "_callbacks", lambda *given, **named: [*signals, *original(*given, **named)])


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
            folder = tmp_path_factory.mktemp("whole")
            runs[settings] = folder, fit(folder, *settings)
        return runs[settings]

    return get


PLAIN = ()
WORKERS = ("data.num_workers=2",)
ACCUMULATED = ("trainer.accumulate_grad_batches=4",)
AVERAGED = ("+callbacks.extra.ema={_target_: lightning.pytorch.callbacks.EMAWeightAveraging, decay: 0.9}",)
LIMITED = ("trainer.limit_train_batches=5",)


@pytest.mark.parametrize(
    ("settings", "hook", "epoch", "batch"),
    [
        (PLAIN, "on_train_batch_start", 0, 4),
        (PLAIN, "on_train_batch_end", 1, 8),  # the last batch of an epoch
        (PLAIN, "on_validation_start", 1, None),
        (PLAIN, "on_train_epoch_end", 1, None),
        (PLAIN, "on_train_epoch_start", 2, None),
        (WORKERS, "on_train_batch_end", 1, 3),
        (ACCUMULATED, "on_train_batch_end", 1, 4),
        (AVERAGED, "on_train_batch_end", 1, 3),
        (AVERAGED, "on_validation_batch_end", 0, None),
        (LIMITED, "on_train_batch_end", 2, 1),
    ],
)  # fmt: skip
def test_a_stopped_training_goes_on_bit_for_bit(fit, whole, tmp_path, monkeypatch, settings, hook, epoch, batch):
    reference, expected = whole(*settings)
    with monkeypatch.context() as patch, stopping.answered():
        stop_at(patch, SignalAt(hook, epoch, batch))
        with pytest.raises(stopping.Stopped) as stop:
            fit(tmp_path, *settings)
    assert stop.value.code == 143
    check_same(reference, tmp_path, (expected, fit(tmp_path, *settings, "ckpt_path=auto")))
