"""What Lightning, the metrics and the logging add to a step, on a model so small that nothing hides it.

python benchmarks/trainer_overhead.py --output benchmarks/results/trainer_overhead.json
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import lightning as L
import torch
from _common import report
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.frontend import SignalFrontend
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.optimization import make_optimizer
from ecg_lightning.runs.callbacks import CollapseGuard, ProgressLines


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
    return time.process_time() - started


def fitted(module: PTBXLDataModule, epochs: int, folder: str) -> float:
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=TensorBoardLogger(folder), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
        callbacks=[ProgressLines(), CollapseGuard()], log_every_n_steps=25,
    )  # fmt: skip
    classifier = tiny()
    started = time.process_time()
    trainer.fit(classifier, datamodule=module)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic_ptbxl(Path(folder) / "data", n_records=4000, seed=0)
        module = PTBXLDataModule(Path(folder) / "data", cache_dir=Path(folder) / "cache")
        module.load(("train", "val"))
        steps, results = len(module.train_dataloader()), []
        for _ in range(3):  # two lengths, so that start-up cancels out
            short, long = fitted(module, 2, folder), fitted(module, 12, folder)
            results.append(((long - short) / (10 * steps), bare(module, 10) / (10 * steps)))
    with_trainer, alone = (sorted(values)[1] * 1e3 for values in zip(*results, strict=True))
    report(
        "trainer_overhead",
        [{"bare_ms_per_step": alone, "trainer_ms_per_step": with_trainer, "added_ms_per_step": with_trainer - alone}],
        arguments.output,
    )


if __name__ == "__main__":
    main()
