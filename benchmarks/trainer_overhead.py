"""What Lightning, metrics, checkpoints and logging add to a step, on a model so small that nothing hides it.

    python benchmarks/trainer_overhead.py --output benchmarks/results/trainer_overhead.json

The trainer is that of `python train.py`: TensorBoard, progress lines, collapse guard, learning-rate monitor, two
checkpoints and a validation each epoch. The bare loop goes over the same batches, those of the validation too, with
the same optimizer, schedule and clipping. Epochs of two lengths tell what a step costs from what an epoch's end does.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import lightning as L
import torch
from _common import composed, report
from torch import nn

from ecg_lightning.checkpoints.building import build_loggers
from ecg_lightning.config.schema import settings_of
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.frontend.schema import FrontendConfig
from ecg_lightning.frontend.signal import SignalFrontend
from ecg_lightning.hardware import device as hardware
from ecg_lightning.learning.optimization import make_optimizer, make_scheduler
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import NetworkConfig
from ecg_lightning.training.trainer import make_trainer

EPOCHS = 6


def tiny() -> ECGClassifier:
    network = nn.Sequential(nn.AvgPool1d(50), nn.Flatten(), nn.Linear(240, 5))
    return ECGClassifier(SignalFrontend(FrontendConfig(), 1000), NetworkConfig(), network=network)


def bare(module: PTBXLDataModule, n_steps: int, folder: Path) -> float:
    classifier = tiny()
    optimizer = make_optimizer(classifier, classifier.settings.optimizer)
    scheduler = make_scheduler(optimizer, classifier.settings.scheduler, EPOCHS * n_steps)
    started = time.process_time()
    for _ in range(EPOCHS):
        classifier.train()
        for batch in itertools.islice(module.train_dataloader(), n_steps):
            loss, _ = classifier.loss_and_logits(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        classifier.eval()
        with torch.inference_mode():
            for batch in module.val_dataloader():
                classifier.loss_and_logits(batch)
    return time.process_time() - started


def fitted(module: PTBXLDataModule, n_steps: int, folder: Path) -> float:
    cfg = composed(
        f"trainer.max_epochs={EPOCHS}", f"trainer.limit_train_batches={n_steps}", "callbacks.early_stopping=null",
        "hardware.precision=32-true", f"paths.output_dir={folder}",
    )  # fmt: skip
    settings = settings_of(cfg)
    device = hardware.prepare(settings.hardware)
    trainer = make_trainer(settings, device, build_loggers(settings.logger, str(folder)))
    return seconds_of_fit(trainer, module)


def plain_lightning(module: PTBXLDataModule, n_steps: int, folder: Path) -> float:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, limit_train_batches=n_steps, logger=False, gradient_clip_val=1.0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    return seconds_of_fit(trainer, module)


def seconds_of_fit(trainer: L.Trainer, module: PTBXLDataModule) -> float:
    classifier = tiny()
    started = time.process_time()
    trainer.fit(classifier, datamodule=module)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    ways = {"bare loop": bare, "Lightning without callbacks and loggers": plain_lightning, "train.py's trainer": fitted}
    rounds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic_ptbxl(folder / "data", n_records=4000, seed=0)
        module = PTBXLDataModule(folder / "data", cache_dir=folder / "cache")
        module.load(("train", "val"))
        few, many = 10, len(module.train_dataloader())
        for number in range(arguments.repeats):
            for way, run in ways.items():
                # A folder each, since a run keeps to its own.
                short, long = (run(module, steps, folder / f"{number}-{steps}") for steps in (few, many))
                step = (long - short) / (EPOCHS * (many - few))
                rounds[way].append((step, short / EPOCHS - few * step))
    medians = {way: [1e3 * statistics.median(part) for part in zip(*rounds[way], strict=True)] for way in ways}
    rows = [
        {
            "way": way,
            "ms_per_step": step,
            "added_per_step": step - medians["bare loop"][0],
            "ms_per_epoch": epoch,
            "added_per_epoch": epoch - medians["bare loop"][1],
        }
        for way, (step, epoch) in medians.items()
    ]
    report("trainer_overhead", rows, arguments.output)


if __name__ == "__main__":
    main()
