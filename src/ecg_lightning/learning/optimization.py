"""Optimizer and learning-rate schedule from a recipe."""

from __future__ import annotations

import math

import torch
from torch import nn

from ecg_lightning.learning.schema import OptimizerConfig, SchedulerConfig

_NOT_DECAYED = (
    *("pos_embed", "cls_token", "dist_token"),
    *("log_step_H", "log_decay_HN", "frequency_HN", "direct_H"),  # a state space's poles have no neutral 0
)
"""Endings of the names of parameters without weight decay, whatever their shape. A traced graph keeps these names."""


def make_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return a fused optimizer. With AdamW and SGD, `_NOT_DECAYED`, biases and norms have no weight decay.

    With `decay_norms`, biases and norms decay as well. Plain Adam decays all parameters, as PyTorch's Adam does.
    """
    betas = (0.9, config.beta2)
    if config.name == "adam":
        return torch.optim.Adam(module.parameters(), config.lr, betas, weight_decay=config.weight_decay, fused=True)
    groups = _decay_groups(module, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, config.lr, betas, fused=True)


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: SchedulerConfig, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule over `n_steps` optimizer steps.

    `one_cycle` is Smith & Topin 2019 (arXiv 1708.07120) with fastai's figures. The rate rises from 1/25 of `lr`
    to `lr` in the warm-up, and falls to 4e-6 of `lr`. The momentum goes from 0.95 to 0.85 and back.
    """
    if config.name == "one_cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=n_steps, pct_start=config.warmup)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, n_steps, config))


def learning_rates(optimizer: OptimizerConfig, scheduler: SchedulerConfig, n_steps: int) -> list[float]:
    """Return the learning rate of each of a training's steps."""
    weight = nn.Parameter(torch.zeros(1))
    steps = make_scheduler(torch.optim.SGD([weight], optimizer.lr, momentum=0.9), scheduler, n_steps)
    rates = []
    for _ in range(n_steps):
        rates.append(float(steps.get_last_lr()[0]))
        steps.optimizer.step()
        steps.step()
    return rates


def learning_rate_factor(step: int, n_steps: int, config: SchedulerConfig) -> float:
    """Return the factor on the base rate: linear warm-up, then a half cosine down to `final`. A constant rate has 1.

    With `cycles` the cosine starts again in each equal part of the steps. The first part includes the warm-up
    (Loshchilov & Hutter 2017, arXiv 1608.03983).
    """
    if config.name == "constant":
        return 1.0
    n_warmup = config.warmup * n_steps
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    length = n_steps / config.cycles
    cycle = min(int(step / length), config.cycles - 1)
    first = max(n_warmup, cycle * length)
    progress = min(1.0, (step - first) / max(1.0, (cycle + 1) * length - first))
    return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * progress))


def _decay_groups(module: nn.Module, config: OptimizerConfig) -> list[dict[str, object]]:
    kept = {"decay": [], "no_decay": []}  # type: dict[str, list[nn.Parameter]]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            plain = name.endswith(_NOT_DECAYED) or (parameter.ndim < 2 and not config.decay_norms)
            kept["no_decay" if plain else "decay"].append(parameter)
    return [
        {"params": kept["decay"], "weight_decay": config.weight_decay},
        {"params": kept["no_decay"], "weight_decay": 0.0},
    ]
