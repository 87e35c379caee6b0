"""One training step of each model: the source's way against this project's settings, at the same batch, one thread.

    python benchmarks/training_step.py --output benchmarks/results/training_step.json

Source: fp32, eager, contiguous, the original student project's dropout (attention included), plain Adam.
Ours: what hardware=cpu and the default recipe set: bfloat16 where the processor has it, channels_last, fused AdamW,
no attention dropout. Between them
stands what one change alone gives. The one-dimensional networks are compared with themselves as the PTB-XL benchmark
has them: one-dimensional convolutions in fp32, contiguous, AdamW without fusion; and with the same in bfloat16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from _common import composed, interleave, report
from torch import Tensor, nn

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.config.schema import plain
from ecg_lightning.data.datamodule import ECGBatch
from ecg_lightning.hardware.device import resolve_precision
from ecg_lightning.learning.optimization import make_optimizer
from ecg_lightning.models.classifier import ECGClassifier

CASES = {  # model: (batch, image)
    "vit": (8, "[184,256]"),
    "deit": (32, "224"),
    "effnetv2": (8, "224"),
    "convnext": (8, "224"),
}
SIGNAL_BATCH = 128
SIGNAL_MODELS = ("resnet1d_wang", "xresnet1d101")
BF16_WAYS = ("ours", "ours, attention dropout 0.1", "source in bf16")
SEED = {
    "vit": ["model.dropout=0.1", "model.attention_dropout=0.1", "model.drop_path=0"],
    "deit": ["model.dropout=0.2", "model.drop_path=0"],
    "effnetv2": ["model.dropout=0.2", "model.drop_path=0.2"],
    "convnext": ["model.dropout=0.2", "model.drop_path=0"],
}


def source(model: str, size: str, batch: ECGBatch, *changes: str) -> Callable[[], None]:
    classifier = build(model, f"frontend.size={size}", *SEED[model], *changes)
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-4, fused=False, foreach=False)
    return step(classifier, optimizer, batch, bf16=False)


def ours(model: str, size: str, batch: ECGBatch, bf16: bool, *changes: str) -> Callable[[], None]:
    classifier = build(model, f"frontend.size={size}", *changes)
    classifier.network.to(memory_format=torch.channels_last)
    return step(classifier, make_optimizer(classifier, classifier.settings.optimizer), batch, bf16)


class Conv1d(nn.Module):
    """A (1, k) convolution as the one-dimensional one that it is: (B, C, 1, T) → (B, C', 1, T')."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            conv.in_channels, conv.out_channels, conv.kernel_size[1], conv.stride[1], int(conv.padding[1]), bias=False
        )

    def forward(self, features_BC1T: Tensor) -> Tensor:
        features: Tensor = self.conv(features_BC1T.squeeze(2)).unsqueeze(2)
        return features


def source_signal(model: str, batch: ECGBatch, bf16: bool = False) -> Callable[[], None]:
    classifier = build(model, "experiment=benchmark")
    for name, module in [*classifier.network.named_modules()]:
        if isinstance(module, nn.Conv2d):
            parent, _, attribute = name.rpartition(".")
            setattr(classifier.network.get_submodule(parent), attribute, Conv1d(module))
    return step(classifier, torch.optim.AdamW(classifier.parameters(), 1e-2), batch, bf16)


def build(model: str, *overrides: str) -> ECGClassifier:
    cfg = composed(f"model={model}", *overrides)
    return build_classifier(plain(cfg.model), plain(cfg.frontend), n_samples=1000, seed=0).train()


def ours_signal(model: str, batch: ECGBatch, bf16: bool) -> Callable[[], None]:
    classifier = build(model, "experiment=benchmark")
    classifier.network.to(memory_format=torch.channels_last)
    return step(classifier, make_optimizer(classifier, classifier.settings.optimizer), batch, bf16)


def step(
    classifier: ECGClassifier, optimizer: torch.optim.Optimizer, batch: ECGBatch, bf16: bool
) -> Callable[[], None]:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, _ = classifier.loss_and_logits(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def image_ways(model: str, bf16: bool) -> tuple[ECGBatch, dict[str, Callable[[], None]]]:
    n_records, size = CASES[model]
    batch = random_batch(n_records)
    ways = {"source": source(model, size, batch)}
    if model == "vit":
        ways["source, attention dropout 0"] = source(model, size, batch, "model.attention_dropout=0")
        ways["ours, attention dropout 0.1"] = ours(model, size, batch, bf16, "model.attention_dropout=0.1")
    if bf16:
        ways["ours in fp32"] = ours(model, size, batch, False)
    ways["ours"] = ours(model, size, batch, bf16)
    return batch, ways


def signal_ways(model: str, bf16: bool) -> tuple[ECGBatch, dict[str, Callable[[], None]]]:
    batch = random_batch(SIGNAL_BATCH)
    ways = {"source": source_signal(model, batch)}
    if bf16:
        ways["source in bf16"] = source_signal(model, batch, True)
        ways["ours in fp32"] = ours_signal(model, batch, False)
    ways["ours"] = ours_signal(model, batch, bf16)
    return batch, ways


def random_batch(n_records: int) -> ECGBatch:
    signals = torch.randint(-2000, 2000, (n_records, 12, 1000), dtype=torch.int16)
    return ECGBatch(signals, torch.eye(5)[torch.arange(n_records) % 5])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--models", nargs="+", default=[*CASES, *SIGNAL_MODELS], choices=[*CASES, *SIGNAL_MODELS])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    bf16 = resolve_precision("auto", "cpu") == "bf16-mixed"
    rows: list[dict[str, object]] = []
    for model in arguments.models:
        batch, ways = (signal_ways if model in SIGNAL_MODELS else image_ways)(model, bf16)
        n_records = len(batch.targets)
        seconds = interleave(ways, arguments.repeats)
        rows += [
            {
                "model": model,
                "image": CASES[model][1] if model in CASES else None,
                "batch": n_records,
                "way": way,
                "precision": "bf16-mixed" if bf16 and way in BF16_WAYS else "32-true",
                "records_per_s": n_records / value,
                "ratio": seconds["source"] / value,
            }
            for way, value in seconds.items()
        ]
    report("training_step", rows, arguments.output)


if __name__ == "__main__":
    main()
