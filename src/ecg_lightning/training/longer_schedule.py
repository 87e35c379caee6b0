"""A training that is made longer: its learning rate follows the longer schedule from the first step on, and is told."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from ecg_lightning.learning.module import ECGModule
from ecg_lightning.learning.optimization import learning_rates

log = logging.getLogger(__name__)

_OF_ITS_LENGTH = ("total_steps", "_schedule_phases")
"""What `OneCycleLR` keeps in a checkpoint, and would bring back from the shorter training."""


class LongerSchedule(Callback):
    """Puts the restored schedule to its place in the longer training, and logs how it continues.

    Args:
        n_epochs_before: of the shorter training; None where its checkpoint does not know, so that nothing is logged.
    """

    def __init__(self, n_epochs_before: int | None) -> None:
        self.n_epochs_before = n_epochs_before

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave the shorter schedule's length out of what is restored."""
        for state in checkpoint["lr_schedulers"]:
            for name in _OF_ITS_LENGTH:
                state.pop(name, None)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the rate of the next step by the longer schedule; restored was the shorter one's."""
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
        name: of the schedule.
        before: learning rate that the shorter schedule had come to.
        rates: of the steps to come.
        n_epochs: of the longer training.
    """
    begins = f"the training is extended to {n_epochs} epochs, where the {name.replace('_', '-')} schedule now ends"
    if max(rates) > before * (1 + 1e-6):
        return (
            f"{begins}; the learning rate rises from {before:.2g} to {max(rates):.2g} and then falls to {rates[-1]:.2g}"
        )
    if max(rates) == min(rates) == before:
        return f"{begins}; the learning rate stays at {before:.2g}"
    return f"{begins}; the learning rate falls from {before:.2g} to {rates[-1]:.2g}"
