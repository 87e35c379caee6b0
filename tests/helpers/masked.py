"""A masked model: it hides stretches of the signal and fills them in. A child of `ECGModule` without classes."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from ecg_lightning.components.setting import kind, setting
from ecg_lightning.learning.module import ECGModule, Step
from ecg_lightning.learning.schema import OptimizerConfig, SchedulerConfig
from ecg_lightning.models.schema import ModelConfig

STRETCH = 20  # samples


@dataclass
class MaskedConfig(ModelConfig):
    """Settings of `MaskedModel`."""

    takes: ClassVar[str] = "signal"
    target: ClassVar[str] = "masked.MaskedModel"
    kind: str = kind("masked")
    channels: int = setting(8, "width of the network", min=1)
    share: float = setting(0.3, "share of the signal that is hidden", above=0.0, max=0.9)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)


class MaskedModel(ECGModule):
    """Learns to fill in hidden stretches; its loss is the mean squared error there."""

    def __init__(self, frontend, settings, *, classes, seed):
        width = settings.channels
        layers = nn.Conv1d(12, width, 41, padding=20), nn.GELU(), nn.Conv1d(width, 12, 41, padding=20)
        super().__init__(frontend, settings, nn.Sequential(*layers), seed=seed)

    def step(self, phase, batch):
        signals = self.frontend(batch.signals)
        generator = None if phase == "train" else torch.Generator().manual_seed(0)  # every evaluation hides the same
        drawn = torch.rand(len(signals), 1, signals.shape[2] // STRETCH, generator=generator)
        hidden = (drawn < self.settings.share).repeat_interleave(STRETCH, dim=2).expand_as(signals)
        filled = self.network(signals.masked_fill(hidden, 0.0))
        error, power, count = ((value * hidden).sum((1, 2)) for value in ((filled - signals) ** 2, signals**2, hidden))
        return Step(error.sum() / count.sum(), {"error": error, "power": power, "count": count})

    def scores(self, phase, kept):
        error, power, count = (float(kept[name].sum()) for name in ("error", "power", "count"))
        return {"mse": error / count, "explained": 1 - error / power}

    @staticmethod
    def followed():
        return {"explained": "explained power"}
