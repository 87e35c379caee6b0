"""A tiny described classifier and a context that fits in plain steps, as a compression stage needs them."""

from __future__ import annotations

import copy
import functools
from dataclasses import asdict

import torch
from tiny import TINY

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.compression.stage import StageContext
from ecg_lightning.compression.tools.masks import KeepZeros
from ecg_lightning.data.datamodule import ECGBatch
from ecg_lightning.models.structure import plain_classifier


class ToyRecords:
    """Records whose classes are told apart by which lead holds a bump."""

    def __init__(self, n=32):
        generator = torch.Generator().manual_seed(0)
        self.targets = torch.eye(5)[torch.arange(n) % 5]
        self.signals = torch.randint(-100, 100, (n, 12, 1000), generator=generator, dtype=torch.int16)
        for number in range(n):
            self.signals[number, 2 * (number % 5), 200:800] += 3000

    def __len__(self):
        return len(self.targets)

    def __getitems__(self, rows):
        rows = torch.as_tensor(list(rows))
        return ECGBatch(self.signals[rows], self.targets[rows])


class ToyData:
    def __init__(self):
        self.datasets = {"train": ToyRecords()}


class PlainFit:
    """Two AdamW steps an epoch, pruned weights kept at zero; remembers how it was called."""

    def __init__(self, records, epochs=2):
        self.records = records
        self.epochs = epochs
        self.calls = []

    def __call__(self, classifier, epochs=None, lr=None, precision=None, callbacks=()):
        epochs = self.epochs if epochs is None else epochs
        self.calls.append((epochs, lr))
        keep_zeros = KeepZeros()
        keep_zeros.remember(classifier)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr or 1e-3)
        classifier.train()
        for step in range(2 * epochs):
            loss, _ = classifier.loss_and_logits(self.records.__getitems__(range(8 * (step % 4), 8 * (step % 4) + 8)))
            optimizer.zero_grad()
            loss.backward()
            for parameter in classifier.parameters():
                assert parameter.grad is None or torch.isfinite(parameter.grad).all()
            optimizer.step()
            keep_zeros.enforce()
        return classifier.eval()


@functools.cache
def describe_tiny(configure, model, *overrides):
    cfg = configure(f"model={model}", *TINY.get(model, []), *overrides)
    nodes = {name: asdict(getattr(cfg, name)) for name in ("model", "frontend")}
    task = {"n_samples": 1000, "sampling_rate": 100, "classes": list("ABCDE")}
    return {**nodes, **task, "choices": {"model": model}, "seed": 0, "stages": []}


def build_described(description, members=()):
    """As a checkpoint's model is built."""
    torch.manual_seed(0)
    classifier = build_classifier(
        {name: value for name, value in description["model"].items() if name not in ("pretrained", "weights")},
        description["frontend"],
        n_samples=description["n_samples"],
        seed=description["seed"],
        classes=tuple(description["classes"]),
        members=members,
    )
    classifier.description = description
    return plain_classifier(classifier)


def make_context(uncompressed):
    data = ToyData()
    given = copy.deepcopy(uncompressed)
    return StageContext(data, "cpu", uncompressed, given, PlainFit(data.datasets["train"]))


def assert_restores(stage, compressed):
    """A new classifier, given the stage's structure and the compressed one's state, computes the same."""
    restored = stage.restore(build_described(compressed.description), compressed.state_dict())
    restored.load_state_dict(compressed.state_dict())
    signals = ToyRecords(4).signals
    assert torch.equal(restored.eval()(signals), compressed.eval()(signals))
    return restored
