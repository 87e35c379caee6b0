"""The shared LightningModule: the steps, seeds and resumption of a training, and the interface that a run uses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ecg_lightning.data.datamodule import ECGBatch, ECGDataModule, SignalDataset
from ecg_lightning.errors import TrainingDivergedError
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.optimization import make_optimizer, make_scheduler
from ecg_lightning.learning.schema import OptimizerConfig, SchedulerConfig

PHASES = ("train", "val", "test")
_EPOCH_SO_FAR = "epoch_so_far"
_LOSSES_AT_A_TIME = 50


class Recipe(Protocol):
    """Settings of a model that the training itself reads."""

    optimizer: OptimizerConfig
    scheduler: SchedulerConfig


class Step(NamedTuple):
    """Result of one batch that was trained on or evaluated.

    Attributes:
        loss: mean over the records.
        kept: (B, …) tensors by name, from which the epoch is scored. The names `sizes` and `losses` are reserved.
    """

    loss: Tensor
    kept: dict[str, Tensor]


class _Past(NamedTuple):
    """A step of the current epoch: the number of its records, its loss and its kept tensors, without gradients."""

    n_records: int
    loss: Tensor
    kept: dict[str, Tensor]


@dataclass
class Outcome:
    """Report of a scored module; the defaults are those of a module that predicts no classes.

    Attributes:
        metrics: scores by split, as `result.json` holds them.
        evaluation: further evaluation of the predictions by split, as `result.json` holds it.
        predictions: predictions by split, for `predictions.csv` and the figures.
        choices: the classifier's choices, which decide the predictions.
        notes: sentences that a reader of the scores must know.
    """

    metrics: dict[str, Any]
    evaluation: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)
    choices: Choices | None = None
    notes: list[str] = field(default_factory=list)


class ECGModule(L.LightningModule, ABC):
    """A network behind its front end, with the training that all modules share.

    A child defines the loss (`step`) and the scores (`scores`). An epoch is scored once, at its end, so the scores are
    exact and cost nothing in a step. `building` makes a child as `child(frontend, settings, classes=…, seed=…)`.

    Args:
        frontend: module from loaded signals to the network's input.
        settings: settings of the network, its optimizer and its schedule.
        network: module from the front end's output to the predictions.
        seed: seed of dropout and augmentation; each batch uses (seed, epoch, batch), so a resumed run repeats them.

    Attributes:
        description: description of the module for its checkpoint, as plain values.
        n_scored: number of the records that were scored last, by phase.
    """

    trainable: ClassVar[bool] = True
    """Whether a run fits the module."""
    classes: tuple[str, ...] = ()
    """Names of the predicted classes; empty if the module predicts none."""
    distillation: Distillation | None = None
    """The teacher and its part of the loss, if the module has a teacher."""

    def __init__(self, frontend: Frontend, settings: Recipe, network: nn.Module, *, seed: int = 0) -> None:
        super().__init__()
        self.frontend = frontend
        self.settings = settings
        self.network = network
        self.seed = seed
        self.description: dict[str, Any] = {}
        self.n_scored: dict[str, int] = {}
        self._steps: dict[str, list[_Past]] = {phase: [] for phase in PHASES}
        self._unchecked: list[tuple[int, Tensor | None]] = []  # steps whose losses were not checked yet
        self._gradient_norm: Tensor | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._parts()})"

    def _parts(self) -> str:
        n_parameters = sum(parameter.numel() for parameter in self.network.parameters()) / 1e6
        return f"{type(self.network).__name__} behind {type(self.frontend).__name__}, {n_parameters:.2f} M parameters"

    @abstractmethod
    def step(self, phase: str, batch: ECGBatch) -> Step:
        """Return the loss of a batch, and what is kept of its records.

        Args:
            phase: `train`, `val` or `test`. The last two run in float32 and without gradients.
            batch: the batch, on the module's device.
        """

    @abstractmethod
    def scores(self, phase: str, kept: dict[str, Tensor]) -> dict[str, float]:
        """Return the scores of an epoch by name. The mean loss is logged beside them.

        Args:
            phase: `train`, `val` or `test`.
            kept: the (N, …) tensors of all steps, on the CPU, in the order in which the records were seen.
        """

    @staticmethod
    def followed() -> dict[str, str]:
        """Return the labels of the headline scores by name; curves and TensorBoard show them."""
        return {}

    def fit_to(self, dataset: SignalDataset) -> None:
        """Fit the normalisation to the training records."""
        self.frontend.fit_normalization(dataset.mean_and_std)

    def match_labels(self, datamodule: ECGDataModule) -> None:
        """Restrict the scores to the classes that the evaluation's data has labels for. Here there are no classes."""

    def prepare_teacher(self, trainer: L.Trainer, dataset: SignalDataset) -> None:
        """Prepare the teacher before a fit. Here there is no teacher; a second call has no effect.

        Args:
            trainer: the trainer of the fit.
            dataset: the training split.
        """

    def keep_found(self, checkpoint: dict[str, Any]) -> None:
        """Write the choices of the last validation into the checkpoint of the same weights. Here there are none."""

    def outcome(self, metrics: Mapping[str, dict[str, float]], datamodule: ECGDataModule) -> Outcome:
        """Return the report of the scored splits.

        Args:
            metrics: the mean loss and the scores by split.
            datamodule: the data module with these splits loaded.
        """
        return Outcome(dict(metrics))

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the network's outputs for (B, 12, T) signals: int16 in units of 1 µV, or float mV."""
        outputs: Tensor = self.network(self.frontend(signals_BCT))
        return outputs

    def compile_network(self) -> None:
        """Compile the network in place, so that the checkpoint's names stay."""
        self.network.compile()

    def on_fit_start(self) -> None:
        """Prepare the teacher, unless it is prepared."""
        trainer = cast(Any, self.trainer)
        self.prepare_teacher(trainer, trainer.datamodule.datasets["train"])

    def training_step(self, batch: ECGBatch, batch_idx: int) -> Tensor:
        """Take one step.

        Raises:
            TrainingDivergedError: the loss is not finite.
        """
        self._reseed(batch_idx)
        step = self.step("train", batch)
        self._keep("train", batch, step)
        self._unchecked.append((batch_idx, batch.places))
        if self.device.type == "cpu" or len(self._unchecked) == _LOSSES_AT_A_TIME:  # reading one waits for a GPU
            self._check_losses()
        every: int = cast(Any, self.trainer).log_every_n_steps  # a call each step would cost as much as a tiny model
        if batch_idx % every == 0:
            self.log("train/loss_step", step.loss, prog_bar=True)
        return step.loss

    def validation_step(self, batch: ECGBatch, batch_idx: int) -> None:
        """Evaluate one batch."""
        self._evaluate("val", batch)

    def test_step(self, batch: ECGBatch, batch_idx: int) -> None:
        """Evaluate one batch."""
        self._evaluate("test", batch)

    def on_train_start(self) -> None:
        """Move the steps of a resumed epoch to the device."""
        self._steps["train"] = [
            _Past(
                past.n_records,
                past.loss.to(self.device),
                {name: value.to(self.device) for name, value in past.kept.items()},
            )
            for past in self._steps["train"]
        ]

    def on_train_epoch_end(self) -> None:
        """Score the training epoch, as it was trained: with augmentation and dropout."""
        self._check_losses()
        self._score("train")

    def on_validation_epoch_end(self) -> None:
        """Score the validation split."""
        self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score the test split."""
        self._score("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, and a schedule that advances with each step."""
        optimizer = make_optimizer(self, self.settings.optimizer)
        n_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = make_scheduler(optimizer, self.settings.scheduler, n_steps)
        return cast(
            OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient norm.

        Lightning's own clipping refuses fused optimizers under mixed precision, even without a scaler.
        """
        if gradient_clip_val:
            self._gradient_norm = torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of the module to the checkpoint, and the steps of an unfinished epoch.

        Raises:
            TrainingDivergedError: a loss of the steps before was not finite.
        """
        self._check_losses()
        checkpoint["ecg_lightning"] = self.description
        if steps := self._steps["train"]:
            checkpoint[_EPOCH_SO_FAR] = {
                "sizes": [past.n_records for past in steps],
                **_joined(steps),
                "losses": torch.stack([past.loss for past in steps]),
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the steps of an unfinished epoch."""
        self._steps["train"] = []
        if so_far := checkpoint.get(_EPOCH_SO_FAR):
            sizes, losses = so_far["sizes"], so_far["losses"].unbind()
            parts = {name: value.split(sizes) for name, value in so_far.items() if name not in ("sizes", "losses")}
            self._steps["train"] = [
                _Past(size, loss, {name: part[place] for name, part in parts.items()})
                for place, (size, loss) in enumerate(zip(sizes, losses, strict=True))
            ]

    def _evaluate(self, phase: str, batch: ECGBatch) -> None:
        # In float32 whatever the training's precision: rounded outputs tie, and would make scores depend on the host.
        with torch.autocast(self.device.type, enabled=False):
            step = self.step(phase, batch)
        self._keep(phase, batch, step)

    def _reseed(self, batch_idx: int) -> None:
        seed = self.seed * 1_000_003 + self.current_epoch * 100_003 + batch_idx
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would walk every backend each time

    def _keep(self, phase: str, batch: ECGBatch, step: Step) -> None:
        kept = {name: value.detach() for name, value in step.kept.items()}
        self._steps[phase].append(_Past(len(batch.signals), step.loss.detach(), kept))

    def _check_losses(self) -> None:
        """Refuse to go on from a loss that is not finite.

        Raises:
            TrainingDivergedError: names the step, its records, and the last gradient's norm.
        """
        unchecked, self._unchecked = self._unchecked, []
        losses = [past.loss for past in self._steps["train"][-len(unchecked) :]] if unchecked else []
        for (batch_idx, places), loss in zip(unchecked, torch.stack(losses).tolist() if losses else [], strict=True):
            if not math.isfinite(loss):
                raise TrainingDivergedError(
                    f"the training loss is {loss} at batch {batch_idx + 1} of epoch "
                    f"{self.current_epoch + 1}{self._named(places)}{self._last_norm()}. {self._advice()}"
                )

    def _named(self, places: Tensor | None) -> str:
        """Return the record numbers of a batch, for a message."""
        datasets = getattr(getattr(self.trainer, "datamodule", None), "datasets", {})
        if places is None or "train" not in datasets:
            return ""
        ecg_ids = [str(ecg_id) for ecg_id in datasets["train"].ecg_ids[places.cpu().numpy()]]
        more = f" and {len(ecg_ids) - 8} more" if len(ecg_ids) > 8 else ""
        return f" (ecg_id {', '.join(ecg_ids[:8])}{more})"

    def _last_norm(self) -> str:
        norm = self._gradient_norm
        return "" if norm is None else f"; the gradient norm of the last step was {norm:.3g}"

    def _advice(self) -> str:
        """Return the sentence that helps against a training that diverges."""
        clipped = cast(Any, self.trainer).gradient_clip_val
        advice = f"Lower model.optimizer.lr={self.settings.optimizer.lr}"
        if not clipped:
            return f"{advice}, or set trainer.gradient_clip_val=1"
        return f"{advice}, or lengthen the warm-up (model.scheduler.warmup={self.settings.scheduler.warmup})"

    def _score(self, phase: str) -> None:
        """Log the mean loss over the records of the epoch, and its scores.

        Raises:
            TrainingDivergedError: a kept tensor is not finite.
        """
        steps = self._steps[phase]
        kept = {name: value.cpu() for name, value in _joined(steps).items()}
        for name, value in kept.items():
            if not torch.isfinite(value).all():
                raise TrainingDivergedError(
                    f"the model's {phase} {name} are not finite at step {self.global_step} (epoch "
                    f"{self.current_epoch + 1}). {self._advice()}"
                )
        sizes = torch.tensor([past.n_records for past in steps], dtype=torch.float64)
        loss = (torch.stack([past.loss for past in steps]).cpu().double() * sizes).sum() / sizes.sum()
        self.n_scored[phase] = sum(past.n_records for past in steps)
        scores, followed = {"loss": float(loss), **self.scores(phase, kept)}, self.followed()
        self._steps[phase].clear()
        for name, score in scores.items():
            shown = phase == "val" and (name == "loss" or name in followed)
            self.log(f"{phase}/{name}", torch.tensor(score, dtype=torch.float32), prog_bar=shown)


def _joined(steps: list[_Past]) -> dict[str, Tensor]:
    """Return the kept (N, …) tensors of all steps by name."""
    return {name: torch.cat([past.kept[name] for past in steps]) for name in steps[0].kept}
