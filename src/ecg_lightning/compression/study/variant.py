"""A model at one point of a compression, with its files and measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecg_lightning.compression.stage import CompressionStage
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.errors import HardwareUnavailableError
from ecg_lightning.evaluation.choices import Choices, Decided
from ecg_lightning.evaluation.predictions import Predictions


@dataclass
class Evaluation:
    """The scores of one deployment.

    Attributes:
        choices: choices made from the file's predictions of the validation fold.
        metrics: scores by split, as in `result.json`.
        predictions: predictions of the file, by split.
    """

    choices: Choices
    metrics: dict[str, dict[str, Any]]
    predictions: dict[str, Predictions]

    @property
    def decided(self) -> Decided:
        """Raw probabilities of the test fold, and the thresholds for them."""
        return self.choices.apply_raw(self.predictions["test"])


@dataclass
class Variant:
    """A model at one point of a compression.

    Attributes:
        name: name of the stage, or `baseline`.
        stage: the stage that made the variant; None for the model as trained.
        deployments: ways to run the variant, its own first.
        size: bytes of its own file, and counts of the network.
        evaluations: scores by deployment, without those that are skipped.
        parity: differences from PyTorch, by deployment.
        fine_tuning: seconds and epochs of the stage's fits.
        notes: sentences that a reader of the figures must know.
        runtimes: rows of the latency measurement.
        files: further files, which are not deployed here.
    """

    name: str
    stage: CompressionStage | None
    deployments: list[Deployment]
    size: dict[str, Any]
    evaluations: dict[Deployment, Evaluation] = field(default_factory=dict)
    parity: dict[Deployment, dict[str, float]] = field(default_factory=dict)
    fine_tuning: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    runtimes: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def own(self) -> Deployment:
        """The deployment whose figures are the variant's."""
        for deployment in self.deployments:
            if deployment.skipped is None:
                return deployment
        reasons = "; ".join(f"{one.runtime}: {one.skipped}" for one in self.deployments)
        raise HardwareUnavailableError(f"no runtime on this machine can run {self.name} ({reasons})")

    @property
    def evaluation(self) -> Evaluation:
        """The scores of the variant's own deployment."""
        return self.evaluations[self.own]
