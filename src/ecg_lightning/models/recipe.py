"""Training recipes as plain data; no PyTorch here, so that a configuration is checked before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class OptimizerConfig:
    """Optimizer, see `optimization.make_optimizer`."""

    name: str = field(default="adamw", metadata={"choices": ("adamw", "adam", "sgd")})
    lr: float = field(default=5e-4, metadata={"above": 0.0})
    weight_decay: float = field(default=0.05, metadata={"min": 0.0})
    beta2: float = field(default=0.999, metadata={"min": 0.0, "max": 0.9999})  # Adam's mean of squared gradients
    decay_norms: bool = False  # and biases


@dataclass
class SchedulerConfig:
    """Learning rate over the steps of the whole fit, see `optimization.make_scheduler`."""

    name: str = field(default="cosine", metadata={"choices": ("cosine", "one_cycle", "constant")})
    warmup: float = field(default=0.1, metadata={"min": 0.0, "max": 1.0})  # fraction of all steps
    final: float = field(default=0.01, metadata={"min": 0.0, "max": 1.0})  # last rate, as a fraction of lr
    cycles: int = field(default=1, metadata={"min": 1})  # cosines one after the other, each from lr down
