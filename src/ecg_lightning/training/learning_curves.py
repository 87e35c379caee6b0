"""Learning curves: each epoch's losses and scores, kept during the training and drawn at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from ecg_lightning.learning.module import ECGModule
from ecg_lightning.reports.section import Column, Section, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LearningCurves(Callback):
    """A record of the losses and validation scores of each epoch, which survives a resumption.

    Attributes:
        epochs: by epoch, from 1: `train_loss`, `val_loss`, and `val_` with each score that the module follows.
    """

    def __init__(self) -> None:
        self.epochs: dict[int, dict[str, float]] = {}
        self._loss = torch.zeros((), dtype=torch.float64)
        self._n_records = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs. The training may have stopped within an epoch."""
        return {"epochs": dict(self.epochs), "loss": float(self._loss), "n_records": self._n_records}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.epochs = dict(state_dict["epochs"])
        self._loss = torch.tensor(state_dict["loss"], dtype=torch.float64)
        self._n_records = state_dict["n_records"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's loss."""
        n_records = len(batch.signals)
        # Lightning divides a loss whose gradients are accumulated.
        self._loss = self._loss + outputs["loss"].detach().double().cpu() * n_records * trainer.accumulate_grad_batches
        self._n_records += n_records

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the epoch's validation scores."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        metrics = trainer.callback_metrics
        names = ("loss", *cast(ECGModule, pl_module).followed())
        found = {f"val_{name}": float(metrics[f"val/{name}"]) for name in names if f"val/{name}" in metrics}
        self.epochs.setdefault(trainer.current_epoch + 1, {}).update(found)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the epoch's mean training loss."""
        if self._n_records:
            mean = float(self._loss) / self._n_records
            self.epochs.setdefault(trainer.current_epoch + 1, {})["train_loss"] = mean
        self._loss, self._n_records = torch.zeros((), dtype=torch.float64), 0


def learning_section(
    epochs: Mapping[int, Mapping[str, float]],
    best_epoch: float | None,
    followed: Mapping[str, str],
    *,
    with_figure: bool,
) -> Section:
    """Return the losses and validation scores of each epoch.

    Args:
        epochs: see `LearningCurves`.
        best_epoch: epoch of the scored checkpoint, from 1; None if there is none.
        followed: labels of the scores that the module follows, by name.
        with_figure: whether to draw the curves.
    """
    columns = [
        Column("epoch", "epoch", "d"),
        Column("training loss", "train_loss", ".4f"),
        Column("val loss", "val_loss", ".4f"),
        *(Column(f"val {label}", f"val_{name}", ".4f") for name, label in followed.items()),
    ]
    rows = [[epoch, *(epochs[epoch].get(column.name) for column in columns[1:])] for epoch in sorted(epochs)]
    scored = "" if best_epoch is None else f"The checkpoint of epoch {best_epoch:.0f} is scored."
    figure = _figure(epochs, best_epoch, followed) if with_figure and epochs else None
    return Section("learning_curves", "Learning curves", Table(columns, rows), legend=scored, figure=figure)


def _figure(epochs: Mapping[int, Mapping[str, float]], best_epoch: float | None, followed: Mapping[str, str]) -> Figure:
    from ecg_lightning.reports.canvas import COLOURS, new_figure

    figure = new_figure(9.5, 4.2)
    figure.subplots_adjust(left=0.07, right=0.985, bottom=0.13, top=0.9, wspace=0.18)
    losses, scores = figure.subplots(1, 2)
    numbers: Sequence[int] = sorted(epochs)
    for axes, names, title in (
        (losses, {"train_loss": "training", "val_loss": "validation"}, "Loss"),
        (scores, {f"val_{name}": label for name, label in followed.items()}, "Validation scores"),
    ):
        for colour, (name, label) in zip(COLOURS, names.items(), strict=False):
            points = [(number, epochs[number][name]) for number in numbers if name in epochs[number]]
            if points:
                marker = "o" if len(points) < 40 else None
                axes.plot(*zip(*points, strict=True), color=colour, lw=1.5, marker=marker, markersize=3, label=label)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.6", linestyle=":", linewidth=1, label=f"scored, epoch {best_epoch:.0f}")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return figure
