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
    """Says when a model predicts (nearly) a constant, see `evaluation.metrics.is_collapsed`.

    Attributes:
        collapsed_epochs: epochs, from 1, whose validation was collapsed.
    """

    def __init__(self) -> None:
        self.collapsed_epochs: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        """Lets a resumed run know what came before."""
        return {"collapsed_epochs": self.collapsed_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        self.collapsed_epochs = list(state_dict["collapsed_epochs"])

    def notes(self, scored_epoch: float | None) -> list[str]:
        """What a reader of the run's figures must know: nothing where a young model collapsed and recovered.

        Args:
            scored_epoch: whose checkpoint is scored, from 1.
        """
        if scored_epoch not in self.collapsed_epochs:
            return []
        first, count = self.collapsed_epochs[0], counted(len(self.collapsed_epochs), "epoch")
        return [f"COLLAPSED to a constant in {count} (first: {first}), including the scored epoch"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the epoch's predictions."""
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
    """What is validated, kept and scored is the mean of the weights after each of the last steps (SWA).

    Izmailov et al. 2018, arXiv 1803.05407, average once an epoch; here every step counts, the buffers of normalisations
    included, and the recipe's own schedule goes on. An epoch before the first step that counts has its own weights.
    Lightning's `StochasticWeightAveraging` writes its average into no checkpoint.

    Args:
        start: share of the training's steps before the first that counts.
    """

    def __init__(self, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"start={start}: give a share of the training, from 0 to below 1")
        super().__init__()
        self.start = start

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Up to the first step that counts, the average is the step's own weights."""
        n_not_counted = self.start * trainer.estimated_stepping_batches
        is_step = trainer.global_step > self._latest_update_step  # and no batch of several whose gradients add up
        if self._average_model is not None and is_step and trainer.global_step <= n_not_counted + 1:
            self._average_model.n_averaged.zero_()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
