"""ensemble: the average of trained models, as a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self, Unpack

import torch
from torch import Tensor, nn

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend import SignalFrontend
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.recipe import Recipe
from ecg_lightning.models.windows import logit_of_mean


class Ensemble(ECGClassifier):
    """Averages the probabilities of its members, each behind its own front end; nothing is trained.

    Seeds of one recipe, different architectures, or snapshots of one training (Lakshminarayanan et al. 2017, arXiv
    1612.01474; Huang et al. 2017, arXiv 1704.00109). As a teacher it is one model.

    Args:
        frontend: that gives millivolts as they are.
        members: trained classifiers.
        dropout: as every model's; not used, as the next three: nothing is trained, and the members are the weights.
        drop_path: not used.
        pretrained: not used.
        weights: not used.
        **recipe: see `ECGClassifier`.
    """

    trainable: ClassVar[bool] = False

    def __init__(
        self,
        frontend: SignalFrontend,
        *,
        members: Sequence[ECGClassifier],
        dropout: float = 0.0,
        drop_path: float = 0.0,
        pretrained: bool = False,
        weights: str | None = None,
        **recipe: Unpack[Recipe],
    ) -> None:
        if not members:
            raise ConfigError("model.members=[]: name the checkpoints to average, model.members=[FILE,FILE]")
        if any(member.loss.single_label for member in members):
            raise ConfigError(
                "model.members: a member was trained with a softmax; only independent classes are averaged"
            )
        super().__init__(frontend, EnsembleNetwork(members), **recipe)


class EnsembleNetwork(nn.Module):
    """(B, leads, T) float mV → (B, C) logits of the mean probability; always in evaluation mode."""

    def __init__(self, members: Sequence[ECGClassifier]) -> None:
        super().__init__()
        self.frontends = nn.ModuleList(member.frontend for member in members)
        self.networks = nn.ModuleList(member.network for member in members)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Members stay in evaluation mode: without augmentation, dropout and random crops."""
        return super().train(False)

    def forward(self, millivolts_BCT: Tensor) -> Tensor:
        """(B, leads, T) → (B, C)."""
        logits: list[Any] = [
            network(frontend.represent_as_is(millivolts_BCT))  # type: ignore[operator]
            for frontend, network in zip(self.frontends, self.networks, strict=True)
        ]
        return logit_of_mean(torch.stack(logits))
