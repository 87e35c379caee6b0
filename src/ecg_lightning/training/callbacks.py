"""Lightning callbacks of runs: the collapse guard, and the average of the last weights."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn

from ecg_lightning.evaluation.metrics import is_collapsed
from ecg_lightning.text import counted

log = logging.getLogger(__name__)


class CollapseGuard(Callback):
    """A guard that logs when a model predicts (nearly) a constant, see `evaluation.metrics.is_collapsed`.

    Attributes:
        collapsed_epochs: epochs, from 1, whose validation was collapsed.
    """

    def __init__(self) -> None:
        self.collapsed_epochs: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the collapsed epochs, so that a resumed run has them."""
        return {"collapsed_epochs": self.collapsed_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the epochs in `state_dict`."""
        self.collapsed_epochs = list(state_dict["collapsed_epochs"])

    def notes(self, scored_epoch: float | None) -> list[str]:
        """Return notes for readers of the run's scores; none if a young model collapsed and recovered.

        Args:
            scored_epoch: epoch of the scored checkpoint, from 1.
        """
        if scored_epoch not in self.collapsed_epochs:
            return []
        first, count = self.collapsed_epochs[0], counted(len(self.collapsed_epochs), "epoch")
        return [f"COLLAPSED to a constant in {count} (first: {first}), including the scored epoch"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the epoch's predictions."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        metrics = {
            name.removeprefix("val/"): float(v) for name, v in trainer.callback_metrics.items() if "val/" in name
        }
        if "spread" in metrics and is_collapsed(metrics):
            self.collapsed_epochs.append(trainer.current_epoch + 1)
            log.warning(
                "collapse guard: after epoch %d the model predicts (nearly) a constant: %.0f %% of the validation "
                "records get the same classes, no probability varies by more than %.4f (standard deviation), and "
                "the macro AUROC is %.3f. Try a lower model.optimizer.lr, a warm-up, or model.loss=bce",
                trainer.current_epoch + 1,
                100 * metrics["modal_share"],
                metrics["spread"],
                metrics["auroc_macro"],
            )


class StochasticWeightAverage(WeightAveraging):
    """A callback that averages the weights after each of the last steps (SWA).

    The average is validated, kept and scored.

    Izmailov et al. 2018, arXiv 1803.05407, average once an epoch. Here every step counts, with the buffers of
    normalisations, and the recipe's own schedule continues. An epoch before the first counted step has its own weights.
    Lightning's `StochasticWeightAveraging` does not write its average into a checkpoint.

    Args:
        start: share of the training's steps before the first counted step.
    """

    def __init__(self, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"start={start}: give a share of the training, from 0 to below 1")
        super().__init__()
        self.start = start

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Use the step's own weights as the average up to the first counted step."""
        n_not_counted = self.start * trainer.estimated_stepping_batches
        is_step = trainer.global_step > self._latest_update_step  # not a batch whose gradients are only added up
        if self._average_model is not None and is_step and trainer.global_step <= n_not_counted + 1:
            self._average_model.n_averaged.zero_()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
