"""Distillation: a small network, made for the hardware, learns from the trained one and replaces it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.components.registry import schema_of, settings_of
from ecg_lightning.compression.schema import DistillConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.errors import UnsupportedModelError
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.frontend.schema import DEFAULT_FRONTENDS
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.schema import TeachingConfig
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.models.ensemble import EnsembleNetwork
from ecg_lightning.models.structure import plain_classifier


class Distill(CompressionStage):
    """Trains a student with labels and the uncompressed model's probabilities, see `learning.distillation`.

    The student gets the teacher's front end. If one of them takes signals and the other an image, it gets its default
    front end with the same normalisation and augmentation. If the teacher is an ensemble, the front end is that of the
    first member with the student's kind of input. Earlier stages have no effect, because the teacher is the model as
    trained.
    """

    replaces_model = True
    settings: DistillConfig

    def __init__(self, settings: DistillConfig, found: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings, found)
        self.student = settings_of("model", settings.student, "distill.student")

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Build the student, train it, and merge the branches that only the training needs."""
        teacher = context.uncompressed
        student = self._build(teacher)
        student.loss.balance(context.datamodule.datasets["train"].targets)
        student.distillation = Distillation(
            copy.deepcopy(teacher), TeachingConfig(self.settings.alpha, self.settings.temperature)
        )
        name = type(student).__name__
        student = plain_classifier(context.fit(student, self.settings.epochs, self.settings.lr))
        student.network = reparameterize(student.network)
        context.notes.append(
            f"{name} learned from {type(teacher).__name__}: "
            f"{_parameters(student):,} parameters instead of {_parameters(teacher):,}"
        )
        return student.eval()

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """Merge the branches, as `apply` does after the training. The description's model is the student."""
        classifier.network = reparameterize(classifier.network)
        return classifier

    def _build(self, teacher: ECGClassifier) -> ECGClassifier:
        description = teacher.description
        frontend, fitted = self.frontend_for(teacher)
        with torch.random.fork_rng(devices=[]):  # the student does not depend on earlier random numbers
            torch.manual_seed(description["seed"])
            student = build_classifier(
                self.student,
                frontend,
                n_samples=description["n_samples"],
                duration_s=description["n_samples"] / description["sampling_rate"],
                seed=description["seed"],
                classes=tuple(description["classes"]),
            )
        student.frontend.mean.copy_(fitted.mean)
        student.frontend.std.copy_(fitted.std)
        student.description = {
            **{name: value for name, value in description.items() if name != "members"},
            "model": dataclasses.asdict(self.student),
            "frontend": frontend,
            "choices": {
                "model": getattr(self.student, "variant", self.student.kind),  # the name of the option
                "frontend": frontend["kind"],
            },
            "stages": [],
        }
        return student

    def frontend_for(self, teacher: ECGClassifier) -> tuple[dict[str, Any], Frontend]:
        """Return the student's front-end settings, and the front end that gives its mean and standard deviation.

        Raises:
            UnsupportedModelError: no front end of the teacher fits the student, and none normalises the signal.
        """
        candidates = [*_front_ends(teacher.description, teacher.frontend, teacher.network)]
        fitting = [
            one for one in candidates if self.student.takes in ("any", schema_of("frontend", one[0], "frontend").gives)
        ]
        node, fitted = (fitting or candidates)[0]
        if fitting:
            return dict(node), fitted
        if schema_of("frontend", node, "frontend").normalizes != "signal":
            raise UnsupportedModelError(
                f"distill: a student that reads the {self.student.takes} needs the normalisation of the signal, which "
                f"the teacher's frontend={node['kind']} does not have. Use a student that reads images"
            )
        default = dataclasses.asdict(DEFAULT_FRONTENDS[self.student.takes]())
        return default | {name: node[name] for name in ("normalization", "mean", "std", "augmentation")}, fitted


def _front_ends(
    description: Mapping[str, Any], frontend: nn.Module, network: nn.Module
) -> Iterator[tuple[Mapping[str, Any], Frontend]]:
    """Yield the description and the fitted module of a model's front end; for an ensemble, those of its members."""
    if "members" not in description:
        yield description["frontend"], cast(Frontend, frontend)
        return
    ensemble = cast(EnsembleNetwork, network)
    for member, *parts in zip(description["members"], ensemble.frontends, ensemble.networks, strict=True):
        yield from _front_ends(member, *parts)


def _parameters(classifier: ECGClassifier) -> int:
    return sum(parameter.numel() for parameter in classifier.network.parameters())
