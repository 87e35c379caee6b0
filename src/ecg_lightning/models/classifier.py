"""The classifier: an ECGModule that learns labels and chooses its thresholds on the validation fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import lightning as L
import torch
from torch import Tensor, nn

from ecg_lightning.data.datamodule import ECGBatch, ECGDataModule, SignalDataset
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.errors import ConfigError, UnsupportedModelError
from ecg_lightning.evaluation import metric_table
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.headline import macro_intervals
from ecg_lightning.evaluation.metrics import nested_metrics, single_label_metrics, superclass_metrics
from ecg_lightning.evaluation.predictions import Predictions, predictions_of
from ecg_lightning.evaluation.splits import evaluate_splits
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.losses import Loss, make_loss
from ecg_lightning.learning.mixup import mix
from ecg_lightning.learning.module import ECGModule, Outcome, Step
from ecg_lightning.models.chain import Chain
from ecg_lightning.models.schema import NetworkConfig
from ecg_lightning.models.weights import State, load_file

_NOT_CALIBRATED = (
    "the checkpoint holds no temperature and no conformal sets of a validation fold, so raw probabilities are scored, "
    "with the checkpoint's thresholds"
)


class Scored(NamedTuple):
    """An epoch's predictions in the order of the records, (N, C) each.

    Attributes:
        logits: the scored logits.
        probabilities: probabilities of these logits.
        targets: labels.
        spreads: standard deviation of the probabilities over an ensemble's members and passes; None for a single model.
    """

    logits: Tensor
    probabilities: Tensor
    targets: Tensor
    spreads: Tensor | None = None


class ECGClassifier(ECGModule):
    """A network behind its front end that predicts classes.

    Each validation epoch tunes the thresholds, and the checkpoint holds them. An architecture defines how its network
    is made, and which weights of a file may differ from it.

    Args:
        frontend: module from loaded signals to the network's input.
        settings: settings of the network and its recipe.
        network: module from the front end's output to (B, C) logits; made from the settings by default.
        classes: names of the C classes.
        seed: seed of dropout and augmentation. Each batch draws from (seed, epoch, batch), so a resumed run repeats it.
        distillation: the teacher and its part of the loss, if there is one.

    Raises:
        ConfigError: the settings do not fit together.
        CheckpointError: the weights to start from cannot be loaded.
    """

    settings: NetworkConfig
    published: ClassVar[bool] = False
    """Whether weights for `model.pretrained` are published."""
    stem: ClassVar[tuple[str, ...]] = ()
    """Names of the weights that see the front end's channels. A file of weights may have another number of channels."""
    head: ClassVar[tuple[str, ...]] = ("head.",)
    """Beginnings of the names of the weights that give the classes. A file of weights may have other classes."""
    make_network: ClassVar[Callable[..., nn.Module]]
    """Function from the architecture's settings, an `InputSpec` and the number of classes to the network."""

    convert_weights: ClassVar[Callable[..., State]] = staticmethod(lambda state, network: state)
    """Function from a file's weights and the network to weights with the network's names and shapes."""

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
        loss = make_loss(settings.loss, len(classes), settings.label_smoothing, settings.class_weights)
        if settings.mixup and loss.single_label:
            raise ConfigError(
                "model.mixup blends labels, which model.loss=argmax_cross_entropy does not support. Use model.loss=bce"
            )
        made = self._make(settings, frontend.network_input, len(classes)) if network is None else network
        super().__init__(frontend, settings, made, seed=seed)
        self.classes = classes
        self.loss: Loss = loss
        self.distillation = distillation
        self.thresholds: Tensor
        self.register_buffer("thresholds", torch.full((len(classes),), 0.5, dtype=torch.float64))
        self.choices: Choices | None = None  # made in the last validation, or read from a checkpoint
        self.scored: dict[str, Scored] = {}
        self._scored_columns: list[int] | None = None  # None: all columns

    def _parts(self) -> str:
        return f"{super()._parts()}, {', '.join(self.classes[:10])}"

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
        return Chain(network) if type(network) is nn.Sequential else network

    @property
    def link(self) -> str:
        """The function from logits to probabilities, see `evaluation.calibration`."""
        return "softmax" if self.loss.single_label else "sigmoid"

    def score_only(self, classes: Sequence[str]) -> None:
        """Score only some of the classes, for an external validation whose records lack the other labels.

        Args:
            classes: names in the order of the targets' columns.

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

    def match_labels(self, datamodule: ECGDataModule) -> None:
        """Score only the classes that the data set has labels for."""
        self.score_only(datamodule.source.match(self.classes))

    def predict_probabilities(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) float64 probabilities of (B, 12, T) signals."""
        return self.loss.probabilities(self(signals_BCT))

    def fit_to(self, dataset: SignalDataset) -> None:
        """Fit the normalisation and the class weights."""
        super().fit_to(dataset)
        self.loss.balance(dataset.targets)

    def step(self, phase: str, batch: ECGBatch) -> Step:
        """Return the loss of the labels, and keep the logits and targets."""
        if phase == "train":
            loss, logits = self.loss_and_logits(batch)
        else:
            logits = self._evaluated(phase, batch.signals)
            if self._scored_columns is not None:
                logits = logits[:, self._scored_columns]
            loss = self.loss(logits, batch.targets)
        return Step(loss, {"logits": logits.float(), "targets": batch.targets})

    def loss_and_logits(self, batch: ECGBatch) -> tuple[Tensor, Tensor]:
        """Return the training loss and the logits that are scored. An architecture may override this."""
        millivolts, targets, taught = self.augmented(batch)
        logits = self.network(self.frontend.represent(millivolts))
        loss = self.loss(logits, targets)
        if self.distillation and taught is not None:
            loss = self.distillation.total_loss(loss, logits, taught, self.link)
        return loss, logits

    def augmented(self, batch: ECGBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return a step's signals and targets, augmented and mixed.

        Returns:
            (B, leads, T) mV, (B, C) targets and, with a teacher, the (B, 2, C) targets of `Distillation`. Precomputed
            teacher targets are mixed with the same weights as the labels. A teacher that sees the augmented batch
            receives the mixed signals.
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
        """Move the teacher to the device. If it sees each record once, compute its targets in the training's precision.

        Args:
            trainer: trainer of the coming fit. The fit itself calls this unless the teacher is prepared.
            dataset: the training split.
        """
        if self.distillation and not self.distillation.is_prepared:
            with trainer.precision_plugin.forward_context():
                self.distillation.prepare(dataset, trainer.strategy.root_device, self.link)

    def predict_step(self, batch: ECGBatch, batch_idx: int) -> Tensor:
        """Return the (B, C) probabilities of one batch."""
        return self.predict_probabilities(batch.signals)

    @staticmethod
    def followed() -> dict[str, str]:
        """Return the labels of the headline metrics by name."""
        return {name: f"macro {label}" for name, label in metric_table.followed().items()}

    def scores(self, phase: str, kept: dict[str, Tensor]) -> dict[str, float]:
        """Return the metrics of an epoch. The validation split first chooses the thresholds."""
        logits, targets = kept["logits"], kept["targets"]
        if phase == "val":
            dataset = cast(Any, self.trainer).datamodule.datasets["val"]
            self.choices = Choices.fit(predictions_of(self.classes, self.link, dataset, logits.double().numpy()))
            self.thresholds.copy_(torch.from_numpy(self.choices.raw_thresholds))
        probabilities = self.loss.probabilities(logits)
        metrics = superclass_metrics(probabilities, targets, self.classes, self.thresholds.cpu())
        if self.loss.single_label:
            metrics |= single_label_metrics(logits, targets)
        self.scored[phase] = Scored(logits, probabilities, targets)
        return metrics

    def keep_found(self, checkpoint: dict[str, Any]) -> None:
        """Write the choices of the last validation into the checkpoint that was validated.

        The thresholds in the checkpoint may belong to other weights: those before averaging, or those of the last
        validated epoch.
        """
        assert self.choices is not None
        checkpoint["state_dict"]["thresholds"] = self.thresholds.cpu()
        checkpoint["ecg_lightning"]["chosen"] = self.choices.as_dict()

    def outcome(self, metrics: Mapping[str, dict[str, float]], datamodule: ECGDataModule) -> Outcome:
        """Return the evaluation of the splits' predictions with the choices of the validation fold."""
        chosen = self.choices
        assert chosen is not None  # from the last validation, or from the checkpoint
        predictions = {split: self._predictions(split, datamodule.datasets[split]) for split in metrics}
        nested = {split: nested_metrics(scores) for split, scores in metrics.items()}
        for split, one in predictions.items():
            nested[split]["ci95"] = macro_intervals(chosen.apply_raw(one), one.targets_NC, one.patient_ids)
        train_folds = self.description["folds"]["train"]
        evaluation, left_out = evaluate_splits(chosen, predictions, datamodule.source, train_folds)
        notes = [] if chosen.is_calibrated else [_NOT_CALIBRATED]
        return Outcome(nested, evaluation, predictions, chosen, [*notes, *left_out])

    def _predictions(self, split: str, dataset: SignalDataset) -> Predictions:
        scored = self.scored[split]
        spreads_NC = None if scored.spreads is None else scored.spreads.double().numpy()
        return predictions_of(self.classes, self.link, dataset, scored.logits.double().numpy(), spreads_NC)

    def _evaluated(self, phase: str, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits to be scored. An architecture may override this to keep more."""
        logits: Tensor = self(signals_BCT)
        return logits
