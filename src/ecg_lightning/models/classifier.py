"""The shared LightningModule: front end, network, loss, metrics, thresholds and optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ecg_lightning.data.datamodule import ECGBatch, SignalDataset
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.errors import ConfigError, TrainingDivergedError, UnsupportedModelError
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.metric_table import followed
from ecg_lightning.evaluation.metrics import single_label_metrics, superclass_metrics
from ecg_lightning.evaluation.predictions import predictions_of
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.losses import Loss, make_loss
from ecg_lightning.learning.mixup import mix
from ecg_lightning.learning.optimization import make_optimizer, make_scheduler
from ecg_lightning.models.schema import NetworkConfig
from ecg_lightning.models.weights import State, load_file

PHASES = ("train", "val", "test")
_EPOCH_SO_FAR = "epoch_so_far"
_LOSSES_AT_A_TIME = 50


class Scored(NamedTuple):
    """An epoch's predictions, in the order of the records: (N, C) each.

    Attributes:
        logits: as scored.
        probabilities: of them.
        targets: labels.
        spreads: standard deviation of the probabilities of an ensemble's members and passes; None of a single model.
    """

    logits: Tensor
    probabilities: Tensor
    targets: Tensor
    spreads: Tensor | None = None


class ECGClassifier(L.LightningModule):
    """A network behind its front end, with everything that training and evaluation share.

    Logits and targets of an epoch are kept and scored once at its end, so the metrics are exact and cost nothing
    in a step. The thresholds are tuned on every validation epoch and travel in the checkpoint.

    An architecture says how its network is made, and where a file of weights differs from it.

    Args:
        frontend: from loaded signals to the network's input.
        settings: the network's and its recipe.
        network: from there to (B, C) logits; made from the settings by default.
        classes: names of the C classes.
        seed: of dropout and augmentation; each batch draws from (seed, epoch, batch), so a resumed run repeats them.
        distillation: the teacher and its part of the loss, if there is one.

    Raises:
        ConfigError: the settings do not fit together.
        CheckpointError: the weights to start from cannot be loaded.
    """

    trainable: ClassVar[bool] = True
    """Whether a run fits it."""
    published: ClassVar[bool] = False
    """Whether there are weights for `model.pretrained`."""
    stem: ClassVar[tuple[str, ...]] = ()
    """Weights that see the front end's channels, of which a file of weights may have another number."""
    head: ClassVar[tuple[str, ...]] = ("head.",)
    """Beginnings of the names of the weights that give the classes, of which a file may have others."""
    make_network: ClassVar[Callable[..., nn.Module]]
    """From the architecture's settings, an `InputSpec` and the number of classes to the network."""

    convert_weights: ClassVar[Callable[..., State]] = staticmethod(lambda state, network: state)
    """From a file's weights and the network to weights by the network's own names and in its shapes."""

    def __init__(
        self,
        frontend: Frontend,
        settings: NetworkConfig,
        *,
        network: nn.Module | None = None,
        classes: tuple[str, ...] = SUPERCLASSES,
        seed: int = 0,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__()
        loss = make_loss(settings.loss, len(classes), settings.label_smoothing, settings.class_weights)
        if settings.mixup and loss.single_label:
            raise ConfigError(
                "model.mixup blends labels, which model.loss=argmax_cross_entropy does not support. Use model.loss=bce"
            )
        self.frontend = frontend
        self.settings = settings
        self.network = self._make(settings, frontend.network_input, len(classes)) if network is None else network
        self.classes = classes
        self.loss: Loss = loss
        self.seed = seed
        self.distillation = distillation
        self.thresholds: Tensor
        self.register_buffer("thresholds", torch.full((len(classes),), 0.5, dtype=torch.float64))
        self.description: dict[str, Any] = {}
        self.choices: Choices | None = None  # made in the last validation, or read from a checkpoint
        self.scored: dict[str, Scored] = {}
        self._scored_columns: list[int] | None = None  # all
        self._steps: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {phase: [] for phase in PHASES}
        self._unchecked: list[tuple[int, Tensor | None]] = []  # steps whose losses nobody has looked at
        self._gradient_norm: Tensor | None = None

    def __repr__(self) -> str:
        n_parameters = sum(parameter.numel() for parameter in self.network.parameters()) / 1e6
        return (
            f"{type(self).__name__}({type(self.network).__name__} behind {type(self.frontend).__name__}, "
            f"{n_parameters:.2f} M parameters, {', '.join(self.classes[:10])})"
        )

    def _make(self, settings: Any, input: InputSpec, n_classes: int) -> nn.Module:
        """Make the network, with the weights to start from."""
        if settings.pretrained and not (settings.weights or self.published):
            raise ConfigError(
                "model.pretrained=true: there are no published weights for this network. Set "
                "model.pretrained=false, or model.weights=FILE to load your own weights"
            )
        network = self.make_network(settings, input, n_classes)
        if settings.weights:
            load_file(network, settings.weights, stem=self.stem, head=self.head, convert=self.convert_weights)
        return network

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, 12, T) int16 units of 1 µV, or float mV → (B, C) logits."""
        logits: Tensor = self.network(self.frontend(signals_BCT))
        return logits

    @property
    def link(self) -> str:
        """How probabilities follow from the logits, see `evaluation.calibration`."""
        return "softmax" if self.loss.single_label else "sigmoid"

    def score_only(self, classes: Sequence[str]) -> None:
        """Score some of the classes alone, as an external validation does whose records lack the other labels.

        Args:
            classes: names, in the order of the targets' columns.

        Raises:
            UnsupportedModelError: the classes exclude each other, so that none can be left out.
        """
        if tuple(classes) == tuple(self.classes):
            return
        if self.loss.single_label:
            raise UnsupportedModelError(
                "the checkpoint's classes exclude each other (model.loss=argmax_cross_entropy), so all of "
                f"{', '.join(self.classes)} need labels. Map each of them with data.class_map"
            )
        self._scored_columns = [self.classes.index(name) for name in classes]
        self.thresholds = self.thresholds[self._scored_columns]
        self.classes = tuple(classes)
        if self.choices is not None:
            self.choices = self.choices.only(self.classes)

    def predict_probabilities(self, signals_BCT: Tensor) -> Tensor:
        """(B, 12, T) signals → (B, C) probabilities, float64."""
        return self.loss.probabilities(self(signals_BCT))

    def loss_and_logits(self, batch: ECGBatch) -> tuple[Tensor, Tensor]:
        """Training loss, and the logits that are scored; what an architecture may change."""
        millivolts, targets, taught = self.augmented(batch)
        logits = self.network(self.frontend.represent(millivolts))
        loss = self.loss(logits, targets)
        if self.distillation and taught is not None:
            loss = self.distillation.total_loss(loss, logits, taught, self.link)
        return loss, logits

    def augmented(self, batch: ECGBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """What a step trains on, augmented and mixed.

        Returns:
            (B, leads, T) mV, (B, C) targets and, with a teacher, (B, 2, C) of `Distillation`. What it said of records
            is mixed as their labels are; one that sees what the student sees sees it mixed.
        """
        millivolts, targets = self.frontend.augment(batch.signals), batch.targets
        taught = self.distillation.of_records(batch.places) if self.distillation else None
        if self.settings.mixup:
            also = [] if taught is None else [taught]
            millivolts, targets, *rest = mix(self.settings.mixup, millivolts, targets, *also)
            taught = rest[0] if rest else None
        if self.distillation and taught is None:
            taught = self.distillation.of_signals(millivolts, self.link)
        return millivolts, targets, taught

    def prepare_teacher(self, trainer: L.Trainer, dataset: SignalDataset) -> None:
        """Bring the teacher to the device; one that sees the records once does, in the training's precision.

        Args:
            trainer: of the fit to come, which does this itself unless it was done before.
            dataset: the training split.
        """
        if self.distillation and not self.distillation.is_prepared:
            with trainer.precision_plugin.forward_context():
                self.distillation.prepare(dataset, trainer.strategy.root_device, self.link)

    def on_fit_start(self) -> None:
        """See `prepare_teacher`."""
        trainer = cast(Any, self.trainer)
        self.prepare_teacher(trainer, trainer.datamodule.datasets["train"])

    def training_step(self, batch: ECGBatch, batch_idx: int) -> Tensor:
        """One step; refuses to go on from a loss that is not finite."""
        self._reseed(batch_idx)
        loss, logits = self.loss_and_logits(batch)
        self._keep("train", loss, logits, batch.targets)
        self._unchecked.append((batch_idx, batch.places))
        if self.device.type == "cpu" or len(self._unchecked) == _LOSSES_AT_A_TIME:  # reading one waits for a GPU
            self._check_losses()
        every: int = cast(Any, self.trainer).log_every_n_steps  # a call each step would cost as much as a tiny model
        if batch_idx % every == 0:
            self.log("train/loss_step", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: ECGBatch, batch_idx: int) -> None:
        """Keep logits and loss of one batch."""
        self._evaluate("val", batch)

    def test_step(self, batch: ECGBatch, batch_idx: int) -> None:
        """Keep logits and loss of one batch."""
        self._evaluate("test", batch)

    def predict_step(self, batch: ECGBatch, batch_idx: int) -> Tensor:
        """(B, C) probabilities of one batch."""
        return self.predict_probabilities(batch.signals)

    def on_train_start(self) -> None:
        """Bring what a checkpoint kept of a begun epoch to the device."""
        self._steps["train"] = [
            (logits.to(self.device), targets.to(self.device), loss.to(self.device))
            for logits, targets, loss in self._steps["train"]
        ]

    def on_train_epoch_end(self) -> None:
        """Score the training epoch, as it was trained: with augmentation and dropout."""
        self._check_losses()
        self._score("train")

    def on_validation_epoch_end(self) -> None:
        """Choose on the validation fold, and score it."""
        logits, _, _ = self._collect("val")
        dataset = cast(Any, self.trainer).datamodule.datasets["val"]
        self.choices = Choices.fit(predictions_of(self.classes, self.link, dataset, logits.double().numpy()))
        self.thresholds.copy_(torch.from_numpy(self.choices.raw_thresholds))
        self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score the test fold with the thresholds of the validation fold."""
        self._score("test")

    def compile_network(self) -> None:
        """Compile the network in place, so that the checkpoint's names stay."""
        self.network.compile()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer, and a schedule that runs by the step."""
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
        """Clip the norm; Lightning's own way refuses fused optimizers under mixed precision, even without a scaler."""
        if gradient_clip_val:
            self._gradient_norm = torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put into the checkpoint what is needed to build this classifier again, and what a begun epoch predicted.

        Raises:
            TrainingDivergedError: a loss of the steps before was not finite.
        """
        self._check_losses()
        checkpoint["ecg_lightning"] = self.description
        if steps := self._steps["train"]:
            logits, targets, losses = zip(*steps, strict=True)
            checkpoint[_EPOCH_SO_FAR] = {
                "sizes": [len(batch) for batch in targets],
                "logits": torch.cat(logits),
                "targets": torch.cat(targets),
                "losses": torch.stack(losses),
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the epoch that the checkpoint lies in."""
        self._steps["train"] = []
        if so_far := checkpoint.get(_EPOCH_SO_FAR):
            logits, targets = (so_far[name].split(so_far["sizes"]) for name in ("logits", "targets"))
            self._steps["train"] = list(zip(logits, targets, so_far["losses"].unbind(), strict=True))

    def _evaluate(self, phase: str, batch: ECGBatch) -> None:
        # In float32 whatever the training's precision: rounded logits tie, and would make scores depend on the host.
        with torch.autocast(self.device.type, enabled=False):
            logits = self._evaluated(phase, batch.signals)
        if self._scored_columns is not None:
            logits = logits[:, self._scored_columns]
        self._keep(phase, self.loss(logits, batch.targets), logits, batch.targets)

    def _evaluated(self, phase: str, signals_BCT: Tensor) -> Tensor:
        """(B, C) logits to be scored; what an architecture may keep more of."""
        logits: Tensor = self(signals_BCT)
        return logits

    def _reseed(self, batch_idx: int) -> None:
        seed = self.seed * 1_000_003 + self.current_epoch * 100_003 + batch_idx
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would walk every backend each time

    def _keep(self, phase: str, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        self._steps[phase].append((logits.detach().float(), targets, loss.detach()))

    def _check_losses(self) -> None:
        """Refuse to go on from a loss that is not finite.

        Raises:
            TrainingDivergedError: names the step, its records, and the last gradient's norm.
        """
        unchecked, self._unchecked = self._unchecked, []
        losses = [loss for _, _, loss in self._steps["train"][-len(unchecked) :]] if unchecked else []
        for (batch_idx, places), loss in zip(unchecked, torch.stack(losses).tolist() if losses else [], strict=True):
            if not math.isfinite(loss):
                raise TrainingDivergedError(
                    f"the training loss is {loss} at batch {batch_idx + 1} of epoch "
                    f"{self.current_epoch + 1}{self._named(places)}{self._last_norm()}. {self._advice()}"
                )

    def _named(self, places: Tensor | None) -> str:
        """The records of a batch, by their numbers."""
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
        """What helps against a training that diverges."""
        clipped = cast(Any, self.trainer).gradient_clip_val
        advice = f"Lower model.optimizer.lr={self.settings.optimizer.lr}"
        if not clipped:
            return f"{advice}, or set trainer.gradient_clip_val=1"
        return f"{advice}, or lengthen the warm-up (model.scheduler.warmup={self.settings.scheduler.warmup})"

    def _collect(self, phase: str) -> tuple[Tensor, Tensor, float]:
        """Logits and targets of the epoch, and the mean loss over its records."""
        logits, targets, losses = zip(*self._steps[phase], strict=True)
        if not all(torch.isfinite(batch).all() for batch in logits):
            raise TrainingDivergedError(
                f"the model's {phase} logits are not finite at step {self.global_step} (epoch "
                f"{self.current_epoch + 1}). {self._advice()}"
            )
        sizes = torch.tensor([len(batch) for batch in targets], dtype=torch.float64)
        loss = (torch.stack(losses).cpu().double() * sizes).sum() / sizes.sum()
        return torch.cat(logits).cpu(), torch.cat(targets).cpu(), float(loss)

    def _score(self, phase: str) -> None:
        logits, targets, loss = self._collect(phase)
        self._steps[phase].clear()
        probabilities = self.loss.probabilities(logits)
        metrics = superclass_metrics(probabilities, targets, self.classes, self.thresholds.cpu())
        if self.loss.single_label:
            metrics |= single_label_metrics(logits, targets)
        self.scored[phase] = Scored(logits, probabilities, targets)
        for name, value in {"loss": loss, **metrics}.items():
            shown = phase == "val" and (name == "loss" or name in followed())
            self.log(f"{phase}/{name}", torch.tensor(value, dtype=torch.float32), prog_bar=shown)
