"""What every compression stage is: a trained classifier in, a smaller or faster one out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.models.classifier import ECGClassifier


class Deployment(NamedTuple):
    """One way to run a variant: a file, the runtime that takes it, and the precision of its products.

    Attributes:
        path: the file; None where there is none, see `skipped`.
        runtime: one of `deployment.runtimes`.
        precision: `fp32`, `bf16` or `int8`; on a CUDA device `fp8` and `2:4`, too.
        skipped: why this runtime cannot take the variant.
        simulated: whether PyTorch computes the same, so that the two must agree; a runtime's own quantization tool
            makes another model.
    """

    path: Path | None
    runtime: str
    precision: str
    skipped: str | None = None
    simulated: bool = True

    @property
    def runs_in(self) -> tuple[str, str]:
        """Runtime and precision, which tell the deployments of a variant apart."""
        return self.runtime, self.precision


class Fit(Protocol):
    """A Lightning fit of a stage; see `stage_fit.StageFit`.

    Attributes:
        epochs: `compression.fine_tune.epochs`, for a stage that shares them between several fits.
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
        """Train with the run's data, metrics, early stopping and logging; the best epoch's weights are kept.

        Weights that are zero stay zero. The uncompressed model teaches along (`compression.fine_tune.alpha`), unless
        the classifier has a `distillation` of its own.

        Args:
            classifier: changed in place.
            epochs: `compression.fine_tune.epochs` by default; 0 trains nothing.
            lr: `compression.fine_tune.lr` by default.
            precision: of the training; the hardware profile's by default.
            callbacks: more of them.
        """


@dataclass
class StageContext:
    """What a stage may use.

    Attributes:
        datamodule: with its splits loaded.
        accelerator: `cpu` or `cuda`.
        uncompressed: the model as trained, which teaches.
        fit: fine-tunes.
        notes: what a reader of the figures must know; a stage appends.
    """

    datamodule: PTBXLDataModule
    accelerator: str
    uncompressed: ECGClassifier
    fit: Fit
    notes: list[str] = field(default_factory=list)

    def signals(self, n_records: int) -> Tensor:
        """(N, 12, T) int16 signals of training records, drawn by a fixed seed: for calibration and examples."""
        dataset = self.datamodule.datasets["train"]
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
        return dataset.__getitems__(order[:n_records].tolist()).signals

    def network_inputs(self, classifier: ECGClassifier, n_records: int, batch_size: int = 32) -> Iterator[Tensor]:
        """Batches of what the network takes, from training records, through the classifier's front end."""
        for signals in torch.split(self.signals(n_records), batch_size):
            with torch.no_grad():  # not around the yield: the caller's own code would run under it
                inputs = classifier.frontend.eval()(signals.to(classifier.device)).clone()
            yield inputs


class CompressionStage:
    """A technique. `apply` may change the classifier that it is given.

    Args:
        epochs: of the fine-tuning; `compression.fine_tune.epochs` by default.
        lr: of the fine-tuning; `compression.fine_tune.lr` by default.
    """

    quantizes = False
    """Whether what comes out is int8, which no later stage can change."""
    zeroes = False
    """Whether it sets weights to zero that later fits must keep so."""

    def __init__(self, epochs: int | None = None, lr: float | None = None) -> None:
        self.epochs = epochs
        self.lr = lr
        self.found: dict[str, Any] = {}  # arguments that `apply` found out and `restore` needs

    def check(self, accelerator: str) -> None:
        """Refuse, before anything is trained, what this machine or environment cannot do.

        Raises:
            HardwareUnavailableError: the hardware profile lacks what this stage needs.
            MissingPackageError: a package of the extra `compress` is missing.
        """

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Compress, and fine-tune where the technique calls for it."""
        raise NotImplementedError

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """Give a newly built classifier the structure that `apply` gave, so that `state` can be loaded into it.

        Args:
            classifier: as the stages before this one leave it.
            state: the compressed classifier's `state_dict`.
        """
        return classifier

    def export(self, classifier: ECGClassifier, folder: Path, context: StageContext) -> list[Deployment]:
        """Write the files that deploy what `apply` gave; the first one is the variant's own.

        A float model by default: its checkpoint, ONNX and OpenVINO files.
        """
        from ecg_lightning.deployment.float_files import export_float

        return export_float(classifier, folder, context.accelerator)


def plain_classifier(classifier: ECGClassifier) -> ECGClassifier:
    """The same front end, network, loss and thresholds without the architecture's own training loss.

    A stage may replace the network by one without the architecture's inner parts, which DeiT's loss, for one, uses.
    """
    plain = ECGClassifier(
        classifier.frontend,
        classifier.network,
        classes=classifier.classes,
        mixup=classifier.mixup,
        optimizer=classifier.optimizer_config,
        scheduler=classifier.scheduler_config,
        seed=classifier.seed,
    )
    plain.loss = classifier.loss
    plain.thresholds.copy_(classifier.thresholds)
    plain.description = dict(classifier.description)
    return plain.eval()


def replace_module(network: torch.nn.Module, name: str, new: torch.nn.Module) -> None:
    """Put a module in the place of the one called `name` (dotted)."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, new)
