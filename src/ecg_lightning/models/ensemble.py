"""A model that averages trained models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.signal import SignalFrontend
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import EnsembleConfig, NetworkConfig
from ecg_lightning.models.windows import Windows, logit_of_mean


class Ensemble(ECGClassifier):
    """An average of its members' probabilities, each behind its own front end. Nothing is trained.

    Members are seeds of one recipe, different architectures, or snapshots of one training (Lakshminarayanan et al.
    2017, arXiv 1612.01474; Huang et al. 2017, arXiv 1704.00109). As a teacher, an ensemble is one model. With
    `mc_dropout` each member is an ensemble itself: its dropout stays on and is drawn anew in every pass (Gal &
    Ghahramani 2016, arXiv 1506.02142).

    Args:
        frontend: front end that passes millivolts on unchanged.
        settings: settings of the average.
        members: trained classifiers.
        classes: names of the classes.
        seed: seed of the dropout.
        distillation: None, because an ensemble is not trained.
    """

    trainable: ClassVar[bool] = False

    def __init__(
        self,
        frontend: SignalFrontend,
        settings: EnsembleConfig,
        *,
        members: Sequence[ECGClassifier],
        classes: tuple[str, ...],
        seed: int,
        distillation: None = None,
    ) -> None:
        if not members:
            raise ConfigError(
                "model.members=[]: there is nothing to average. Name the checkpoints, as in model.members=[FILE,FILE]"
            )
        if any(member.loss.single_label for member in members):
            raise ConfigError(
                "model.members: a member was trained with model.loss=argmax_cross_entropy, but only models with "
                "independent classes are averaged. Remove it"
            )
        n_leads, n_samples = frontend.network_input.signal
        probe = torch.linspace(-1, 1, n_samples).expand(2, n_leads, -1)
        if frontend.normalization != "fixed" or not torch.equal(frontend.represent_as_is(probe), probe):
            raise ConfigError(
                "frontend: model=ensemble reads the signal in mV, because each member has its own front end. "
                "Remove the frontend setting; if a checkpoint holds it, make that checkpoint again"
            )
        if settings.stride_s or settings.aggregate:
            _recut(members, settings.stride_s, settings.aggregate)
        for member in members if settings.mc_dropout else ():
            alone = EnsembleNetwork([member], 1)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                if torch.equal(alone(probe), alone(probe)):
                    raise ConfigError(
                        f"model.mc_dropout={settings.mc_dropout}: all passes of {type(member).__name__} are equal, "
                        "because it has no dropout that can stay on. Use other members, or set model.mc_dropout=0"
                    )
        network = EnsembleNetwork(members, settings.mc_dropout)
        super().__init__(frontend, NetworkConfig(), network=network, classes=classes, seed=seed)
        self._spreads: defaultdict[str, list[Tensor]] = defaultdict(list)

    def _evaluated(self, phase: str, signals_BCT: Tensor) -> Tensor:
        network = cast(EnsembleNetwork, self.network)
        logits_MBC = network.passes(self.frontend(signals_BCT))
        self._spreads[phase].append(logits_MBC.sigmoid().std(dim=0, correction=0))
        return logit_of_mean(logits_MBC)

    def scores(self, phase: str, kept: dict[str, Tensor]) -> dict[str, float]:
        """Return the metrics of an epoch, and keep the spread of members and passes."""
        metrics = super().scores(phase, kept)
        spreads = torch.cat(self._spreads.pop(phase)).cpu()
        columns = self._scored_columns
        self.scored[phase] = self.scored[phase]._replace(spreads=spreads if columns is None else spreads[:, columns])
        return metrics


class EnsembleNetwork(nn.Module):
    """A network from (B, leads, T) float mV to (B, C) logits of the mean probability.

    It is always in evaluation mode, except for MC dropout.
    """

    def __init__(self, members: Sequence[ECGClassifier], mc_dropout: int = 0) -> None:
        super().__init__()
        self.frontends = nn.ModuleList(member.frontend for member in members)
        self.networks = nn.ModuleList(member.network for member in members)
        self.mc_dropout = mc_dropout
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Keep the members in evaluation mode, without augmentation and random crops. Their dropout may stay on."""
        super().train(False)
        for module in self.networks.modules() if self.mc_dropout else ():
            if _drops(module):
                module.train()
        return self

    def forward(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) millivolts."""
        return logit_of_mean(self.passes(millivolts_BCT))

    def passes(self, millivolts_BCT: Tensor) -> Tensor:
        """Return the (M, B, C) logits of every pass of every member for (B, leads, T) millivolts."""
        logits: list[Any] = []
        for frontend, network in zip(self.frontends, self.networks, strict=True):
            represented = frontend.represent_as_is(millivolts_BCT)  # type: ignore[operator]
            logits += [network(represented) for _ in range(max(1, self.mc_dropout))]
        return torch.stack(logits)


def _recut(members: Sequence[ECGClassifier], stride_s: float | None, aggregate: str | None) -> None:
    """Change the stride and the aggregation of the members' windows."""
    for member in members:
        windows = [module for module in member.network.modules() if isinstance(module, Windows)]
        if not windows:
            raise ConfigError(
                f"model.stride_s and model.aggregate: the member {type(member).__name__} reads the whole record "
                "and has no windows. Remove both settings, or use other members"
            )
        for one in windows:
            one.stride_s, one.aggregate = stride_s or one.stride_s, aggregate or one.aggregate


def _drops(module: nn.Module) -> bool:
    return isinstance(module, _DropoutNd) and module.p > 0
