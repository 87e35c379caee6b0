"""A stop inside a fit: a checkpoint with the place in the epoch, from which the training resumes bit for bit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, WeightAveraging
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.trainer.states import TrainerFn

from ecg_lightning.system import stopping

log = logging.getLogger(__name__)


class StopGuard(Checkpoint):
    """A callback that saves `last.ckpt` before the next optimizer step and leaves the fit, once a signal asks to stop.

    It is the last of the checkpoint callbacks, so that all others have seen what it saves. A stop during validation is
    saved as the end of the training batches before it. The resumed run validates again.

    Args:
        path: path of the checkpoint.

    Attributes:
        has_started: whether the training has begun, after any checkpoint was loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.has_started = False
        self._saved_before: str | None = None  # `step` or `validation` while it saves

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop at once if early stopping had ended the training, because Lightning does not remember that."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
                log.info("early stopping ended the training after epoch %d", callback.stopped_epoch + 1)
                trainer.should_stop = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the signal handlers again, because Lightning's handlers would end the fit elsewhere."""
        self.has_started = True
        if stopping.is_installed():
            stopping.install()
        stopping.check()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave between two epochs. The previous epoch's checkpoint holds the same state."""
        stopping.check()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save and leave before a step, unless gradients of earlier batches wait for it."""
        if stopping.asked() and batch_idx % trainer.accumulate_grad_batches == 0:
            if batch_idx:
                self._save(trainer, "step")
            stopping.check()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save and leave before a validation."""
        if stopping.asked() and _is_fitting(trainer):
            self._save(trainer, "validation")
            stopping.check()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Save and leave within a validation, with the training's own weights if their average is validated."""
        if stopping.asked() and _is_fitting(trainer):
            callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
            for callback in callbacks:
                if isinstance(callback, WeightAveraging):
                    callback.on_validation_epoch_end(trainer, pl_module)
            self._save(trainer, "validation")
            stopping.check()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the place into the checkpoint, in the form from which Lightning's loops resume.

        All batches before the place are completed. A validation that must still run looks as if it had begun.
        """
        if self._saved_before is None:
            return
        loops = checkpoint["loops"]["fit_loop"]
        for progress in (loops["epoch_loop.batch_progress"][part] for part in ("total", "current")):
            progress |= dict.fromkeys(progress, progress["completed"])
        validation = loops["epoch_loop.val_loop.batch_progress"]
        begun = int(self._saved_before == "validation")
        validation["current"] |= dict.fromkeys(validation["current"], 0)
        validation["total"] |= {"ready": begun, "started": begun, "processed": 0, "completed": 0}

    def _save(self, trainer: L.Trainer, before: str) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # fast_dev_run writes no checkpoint
            return
        self._saved_before = before
        try:
            trainer.save_checkpoint(self.path, weights_only=False)
        finally:
            self._saved_before = None


def _is_fitting(trainer: L.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
