"""Optimizers and learning-rate schedules."""

import pytest
import torch

from ecg_lightning.learning.optimization import learning_rate_factor, make_optimizer, make_scheduler
from ecg_lightning.learning.schema import OptimizerConfig, SchedulerConfig


def test_norms_biases_and_positions_do_not_decay(make):
    classifier = make("deit")
    optimizer = make_optimizer(classifier, OptimizerConfig("adamw", weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0.1 for p in group["params"]}
    for name, parameter in classifier.named_parameters():
        plain = parameter.ndim == 1 or "pos_embed" in name or "token" in name
        assert (id(parameter) in decayed) != plain, name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(classifier.parameters()))


def test_the_benchmark_trains_as_fastai_1_did(make):
    """Adam with a second beta of 0.99, decay of everything, He's weights in every product."""
    for model in ("resnet1d_wang", "lstm"):
        classifier = make(model, "experiment=benchmark")
        optimizer = make_optimizer(classifier, classifier.settings.optimizer)
        assert all(group["betas"] == (0.9, 0.99) for group in optimizer.param_groups)
        decayed = sum(len(group["params"]) for group in optimizer.param_groups if group["weight_decay"] == 0.01)
        assert decayed == len(list(classifier.parameters()))
        for name, module in classifier.network.named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and module.weight.numel() > 500:
                expected = (2 / module.weight[0].numel()) ** 0.5
                assert module.weight.std().item() == pytest.approx(expected, rel=0.15), name


def test_poles_of_state_spaces_do_not_decay(make):
    classifier = make("s4d")
    optimizer = make_optimizer(classifier, OptimizerConfig("adamw", weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    names = [name for name, p in classifier.named_parameters() if "state_space" in name and id(p) in decayed]
    assert {name.rpartition(".")[2] for name in names} == {"output_HN"}


def test_one_cycle_has_fastais_figures(make):
    """The rate from 1/25 of its peak at 30 % of the steps down to 4e-6, the momentum the other way round."""
    optimizer = make_optimizer(make("resnet1d_wang"), OptimizerConfig("adamw", 1e-2, 0.1))
    scheduler = make_scheduler(optimizer, SchedulerConfig("one_cycle", warmup=0.3), 100)
    rates, momenta = [], []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        scheduler.step()
    assert (rates[0], rates[29], rates[99]) == pytest.approx((4e-4, 1e-2, 4e-8))
    assert (momenta[0], momenta[29], momenta[99]) == pytest.approx((0.95, 0.85, 0.95))


def test_sgd_has_nesterovs_momentum(make):
    optimizer = make_optimizer(make("vit"), OptimizerConfig("sgd", 1e-3, 0.1))
    assert all((group["momentum"], group["nesterov"]) == (0.9, True) for group in optimizer.param_groups)


def test_adams_second_moment_and_the_decay_of_norms_are_settings(make):
    for decay_norms in (False, True):
        classifier = make("vit", "model.optimizer.beta2=0.9", f"model.optimizer.decay_norms={decay_norms}")
        groups = make_optimizer(classifier, classifier.settings.optimizer).param_groups
        assert {group["betas"] for group in groups} == {(0.9, 0.9)}
        decayed = {id(one) for group in groups if group["weight_decay"] for one in group["params"]}
        norms = {id(one) for part in classifier.modules() if "Norm" in type(part).__name__ for one in part.parameters()}
        assert norms
        assert (norms <= decayed) == decay_norms


def test_plain_adam_is_the_seeds(make):
    optimizer = make_optimizer(make("vit"), OptimizerConfig("adam", 1e-4, 0.0))
    assert type(optimizer) is torch.optim.Adam
    assert len(optimizer.param_groups) == 1


def test_warm_up_then_cosine():
    config = SchedulerConfig("cosine", warmup=0.1, final=0.01)
    factors = [learning_rate_factor(step, 100, config) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.505)
    assert factors[100] == pytest.approx(0.01)
    assert {learning_rate_factor(step, 100, SchedulerConfig("constant")) for step in range(100)} == {1.0}


def test_cosines_one_after_the_other():
    config = SchedulerConfig("cosine", warmup=0.1, final=0.0, cycles=4)
    factors = [learning_rate_factor(step, 100, config) for step in range(101)]
    assert [factors[step] for step in (10, 25, 50, 75)] == pytest.approx([1.0] * 4)
    assert max(factors[step] for step in (24, 49, 74, 99, 100)) < 0.02
    assert factors[62] == pytest.approx(0.5, abs=0.04)
