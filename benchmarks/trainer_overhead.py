"""What Lightning, metrics, checkpoints and logging add to a step, on a model so small that nothing hides it.

    python benchmarks/trainer_overhead.py --output benchmarks/results/trainer_overhead.json

The trainer is that of `python train.py`: TensorBoard, progress lines, collapse guard, learning-rate monitor, two
checkpoints and a validation each epoch. The bare loop goes over the same batches, those of the validation too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from _common import composed, report
from torch import nn

from ecg_lightning import hardware
from ecg_lightning.building import build_loggers
from ecg_lightning.config import plain
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.frontend import SignalFrontend
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.optimization import make_optimizer
from ecg_lightning.trainer import make_trainer


def tiny() -> ECGClassifier:
    return ECGClassifier(SignalFrontend(), nn.Sequential(nn.AvgPool1d(50), nn.Flatten(), nn.Linear(240, 5)))


def bare(module: PTBXLDataModule, epochs: int) -> float:
    classifier = tiny().train()
    optimizer = make_optimizer(classifier, classifier.optimizer_config)
    started = time.process_time()
    for _ in range(epochs):
        for batch in module.train_dataloader():
            loss, _ = classifier.loss_and_logits(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        with torch.inference_mode():
            for batch in module.val_dataloader():
                classifier.loss_and_logits(batch)
    return time.process_time() - started


def fitted(module: PTBXLDataModule, epochs: int, folder: Path) -> float:
    cfg = composed(f"trainer.max_epochs={epochs}", f"paths.output_dir={folder}", "hardware.precision=32-true")
    trainer = make_trainer(cfg, hardware.prepare(cfg.hardware), build_loggers(plain(cfg.logger), str(folder)))
    started = time.process_time()
    trainer.fit(tiny(), datamodule=module)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic_ptbxl(folder / "data", n_records=4000, seed=0)
        module = PTBXLDataModule(folder / "data", cache_dir=folder / "cache")
        module.load(("train", "val"))
        steps, rounds = 10 * len(module.train_dataloader()), []
        for number in range(arguments.repeats):
            # Two lengths, so that start-up cancels out; a folder each, since a run keeps to its own.
            short, long = (fitted(module, epochs, folder / f"{number}-{epochs}") for epochs in (2, 12))
            rounds.append(((long - short) / steps, bare(module, 10) / steps))
    with_trainer, alone = (1e3 * statistics.median(values) for values in zip(*rounds, strict=True))
    report(
        "trainer_overhead",
        [{"bare_ms_per_step": alone, "trainer_ms_per_step": with_trainer, "added_ms_per_step": with_trainer - alone}],
        arguments.output,
    )


if __name__ == "__main__":
    main()
