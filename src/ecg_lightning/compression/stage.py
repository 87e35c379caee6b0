"""The interface of every compression stage: a trained classifier in, a smaller or faster one out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ecg_lightning.checkpoints.building import Plain, build_restorable
from ecg_lightning.components.registry import schema_of
from ecg_lightning.compression.schema import StageConfig
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.float_files import export_float
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.structure import Restorable


class Fit(Protocol):
    """A Lightning fit of a stage; see `stage_fit.StageFit`.

    Attributes:
        epochs: number of epochs from `compression.fine_tune.epochs`. A stage may share them between several fits.
    """

    epochs: int

    def __call__(
        self,
        classifier: ECGClassifier,
        epochs: int | None = None,
        lr: float | None = None,
        precision: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> ECGClassifier:
        """Train with the run's data, metrics, early stopping and logging, and keep the best epoch's weights.

        Weights that are zero stay zero. The uncompressed model is the teacher (`compression.fine_tune.alpha`), unless
        the classifier has a `distillation` of its own.

        Args:
            classifier: classifier to train. It is changed in place.
            epochs: number of epochs, `compression.fine_tune.epochs` by default; 0 trains nothing.
            lr: learning rate, `compression.fine_tune.lr` by default.
            precision: precision of the training; the hardware profile's by default.
            callbacks: further callbacks of Lightning.
        """


@dataclass
class StageContext:
    """The objects that a stage may use.

    Attributes:
        datamodule: data module with its splits loaded.
        accelerator: `cpu` or `cuda`.
        uncompressed: the model as trained, which is the teacher.
        given: copy of the model that the stage received, before `apply` changed it.
        fit: function that fine-tunes.
        notes: sentences that a reader of the figures must know. A stage appends its own.
    """

    datamodule: ECGDataModule
    accelerator: str
    uncompressed: ECGClassifier
    given: ECGClassifier
    fit: Fit
    notes: list[str] = field(default_factory=list)

    def signals(self, n_records: int) -> Tensor:
        """Return the (N, 12, T) int16 signals of training records, drawn by a fixed seed."""
        dataset = self.datamodule.datasets["train"]
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
        return dataset.__getitems__(order[:n_records].tolist()).signals

    def network_inputs(self, classifier: ECGClassifier, n_records: int, batch_size: int = 32) -> Iterator[Tensor]:
        """Yield batches of training records as the classifier's front end gives them to its network."""
        for signals in torch.split(self.signals(n_records), batch_size):
            with torch.no_grad():  # not around the yield: the caller's own code would run under it
                inputs = classifier.frontend.eval()(signals.to(classifier.device)).clone()
            yield inputs


class CompressionStage(Restorable):
    """A technique of compression. `apply` may change the classifier that it receives.

    Args:
        settings: settings of the technique, see `compression.schema`.
        found: values that `apply` found, for `restore`.
    """

    quantizes = False
    """Whether the stage returns an int8 model, which no later stage can change."""
    zeroes = False
    """Whether the stage sets weights to zero, which later fits must keep at zero."""
    replaces_model = False
    """Whether the stage replaces the model by another network, in which no weight was pruned."""
    is_precision_only = False
    """Whether the stage changes only the precision of the network."""

    def check(self, accelerator: str) -> None:
        """Refuse a stage that cannot run on this machine or in this environment, before anything is trained.

        Raises:
            HardwareUnavailableError: the hardware profile lacks what this stage needs.
            MissingPackageError: a package of the extra `compress` is missing.
        """

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Compress the classifier, and fine-tune it if the technique needs it."""
        raise NotImplementedError

    def export(self, classifier: ECGClassifier, folder: Path, context: StageContext) -> list[Deployment]:
        """Write the files of the model that `apply` returned, and return the ways to run it, its own first.

        By default these are the files of a float model: its checkpoint and ONNX file.
        """
        return export_float(classifier, folder, context.accelerator)


def build_stage(settings: StageConfig | Plain, key: str) -> CompressionStage:
    """Build a compression stage from its settings, see `building.build_restorable`."""
    stage = build_restorable(settings, key)
    assert isinstance(stage, CompressionStage)
    return stage


def stages_of(description: Mapping[str, Any]) -> list[str]:
    """Return the classes of the stages that a checkpoint went through, in order."""
    return [schema_of("stage", node, "stage").target.rpartition(".")[2] for node in description.get("stages", [])]
