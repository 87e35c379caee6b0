"""Mixup: which signals and labels it blends, and when."""

import torch
from stages import ToyRecords

from ecg_lightning.learning.mixup import mix


def test_mixup_blends_signals_and_labels_alike():
    torch.manual_seed(0)
    signals, targets = torch.eye(16)[:, None] * 3.0, torch.eye(16)
    mixed_signals, mixed_targets = mix(0.4, signals, targets)
    assert torch.allclose(mixed_signals[:, 0] / 3, mixed_targets)
    own = mixed_targets.diagonal()
    assert (own >= 0.5).all()  # the larger part is the record's own
    assert (own < 0.999).sum() > 4
    assert torch.allclose(mixed_targets.sum(dim=1), torch.ones(16))


def test_mixup_reaches_the_loss_and_no_evaluation(make):
    classifier = make("resnet1d", "model.mixup=1.0", "frontend/augmentation=none").train()
    batch = ToyRecords(8).__getitems__(range(8))
    millivolts, targets, _ = classifier.augmented(batch)
    assert not torch.equal(targets, batch.targets)
    assert not torch.equal(millivolts, classifier.frontend.to_millivolts(batch.signals))
    classifier.eval()
    classifier._evaluate("val", batch)
    assert torch.equal(classifier._steps["val"][0].kept["targets"], batch.targets)
