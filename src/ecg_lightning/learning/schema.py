"""Training recipes as plain data; no PyTorch here, so that a configuration is checked before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ecg_lightning.components.setting import setting
from ecg_lightning.errors import ConfigError


@dataclass
class OptimizerConfig:
    """Optimizer, see `optimization.make_optimizer`."""

    name: str = setting("adamw", "optimizer", choices=("adamw", "adam", "sgd"))
    lr: float = setting(5e-4, "learning rate", above=0.0)
    weight_decay: float = setting(0.05, "weight decay, which AdamW and SGD keep off biases and norms", min=0.0)
    beta2: float = setting(0.999, "decay of Adam's mean of squared gradients", min=0.0, max=0.9999)
    decay_norms: bool = setting(False, "whether biases and norms also decay")


@dataclass
class SchedulerConfig:
    """Learning rate over the steps of the whole fit, see `optimization.make_scheduler`."""

    name: str = setting("cosine", "shape of the schedule", choices=("cosine", "one_cycle", "constant"))
    warmup: float = setting(0.1, "share of all steps in which the rate rises", min=0.0, max=1.0)
    final: float = setting(0.01, "last rate of a cosine, as a share of lr", min=0.0, max=1.0)
    cycles: int = setting(1, "number of cosines, one after the other, each from lr down", min=1)

    def check(self, key: str) -> None:
        """Refuse a warm-up that leaves no steps, and cycles of another schedule than cosine.

        Args:
            key: the settings' own key.

        Raises:
            ConfigError: names the key, its value and how to fix it.
        """
        if self.name == "one_cycle" and self.warmup >= 1:
            raise ConfigError(
                f"{key}.warmup={self.warmup}: the one_cycle schedule needs steps after the warm-up. Set a value below 1"
            )
        if self.cycles > 1 and self.name != "cosine":
            raise ConfigError(f"{key}.cycles={self.cycles}: only the cosine schedule can repeat. Set {key}.name=cosine")
        if self.cycles > 1 and self.warmup * self.cycles >= 1:
            raise ConfigError(
                f"{key}.warmup={self.warmup} fills the whole first cycle of {key}.cycles={self.cycles}. Set it below "
                f"{1 / self.cycles:.3g}"
            )


@dataclass
class TeachingConfig:
    """Settings of a teacher, see `learning.distillation`. They have no effect without a teacher."""

    alpha: float = setting(0.5, "weight of the labels beside a teacher, who has the rest", min=0.0, max=1.0)
    temperature: float = setting(
        1.0, "divisor of the teacher's and the student's logits; above 1 it softens", above=0.0
    )
    hard_share: float = setting(0.0, "share of the teacher's part that learns its decisions", min=0.0, max=1.0)
    teacher_sees: str = setting(
        "augmented",
        "augmented: the student's signals in each step; record: each record once, before the training",
        choices=("augmented", "record"),
    )
