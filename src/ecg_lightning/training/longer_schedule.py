"""A training that is extended. Its learning rate follows the longer schedule from the first step on."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from ecg_lightning.learning.module import ECGModule
from ecg_lightning.learning.optimization import learning_rates

log = logging.getLogger(__name__)

_OF_ITS_LENGTH = ("total_steps", "_schedule_phases")
"""Values that `OneCycleLR` stores in a checkpoint, and that would restore the shorter training's length."""


class LongerSchedule(Callback):
    """A callback that moves the restored schedule to its place in the longer training, and logs how it continues.

    Args:
        n_epochs_before: length of the shorter training; None if its checkpoint does not hold it, so that nothing is
            logged.
    """

    def __init__(self, n_epochs_before: int | None) -> None:
        self.n_epochs_before = n_epochs_before

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remove the shorter schedule's length from the restored state."""
        for state in checkpoint["lr_schedulers"]:
            for name in _OF_ITS_LENGTH:
                state.pop(name, None)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the rate of the next step by the longer schedule, in place of the restored rate."""
        assert isinstance(pl_module, ECGModule)
        for config in trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            scheduler.last_epoch -= 1
            scheduler.step()
        if self.n_epochs_before is None:
            return
        n_steps, n_epochs = int(trainer.estimated_stepping_batches), trainer.max_epochs or 1
        recipe = pl_module.settings.optimizer, pl_module.settings.scheduler
        done = max(1, min(trainer.global_step, n_steps - 1))
        before = learning_rates(*recipe, n_steps // n_epochs * self.n_epochs_before)[:done][-1]
        rates = learning_rates(*recipe, n_steps)[done:]
        log.info("%s", describe_continuation(pl_module.settings.scheduler.name, before, rates, n_epochs))


def describe_continuation(name: str, before: float, rates: list[float], n_epochs: int) -> str:
    """Return the sentence about the rest of a schedule.

    Args:
        name: name of the schedule.
        before: learning rate that the shorter schedule had reached.
        rates: learning rates of the remaining steps.
        n_epochs: length of the longer training.
    """
    begins = f"the training is extended to {n_epochs} epochs, where the {name.replace('_', '-')} schedule now ends"
    if max(rates) > before * (1 + 1e-6):
        return (
            f"{begins}; the learning rate rises from {before:.2g} to {max(rates):.2g} and then falls to {rates[-1]:.2g}"
        )
    if max(rates) == min(rates) == before:
        return f"{begins}; the learning rate stays at {before:.2g}"
    return f"{begins}; the learning rate falls from {before:.2g} to {rates[-1]:.2g}"
