"""What a run says before it trains: the data, the model, and how long it will take at most."""

from __future__ import annotations

import copy
import logging
import time

import torch
from omegaconf import DictConfig
from torch import Tensor

from ecg_lightning.data.datamodule import ECGBatch, PTBXLDataModule, SyntheticPTBXLDataModule
from ecg_lightning.data.identity import PTBXL
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.runs.results import clock
from ecg_lightning.text import counted

log = logging.getLogger(__name__)

_PROBED_RECORDS = 8
_PROBE_S = 3.0  # a step this short says nothing that the progress display will not say at once


def announce(cfg: DictConfig, classifier: ECGClassifier, datamodule: PTBXLDataModule, precision: str) -> None:
    """Log the data and the model, and an upper bound of the training time from one measured step."""
    announce_synthetic(datamodule)
    counts = " · ".join(f"{split} {len(dataset):,}" for split, dataset in datamodule.datasets.items())
    n_parameters = sum(parameter.numel() for parameter in classifier.network.parameters())
    shape = getattr(classifier.frontend, "image_shape", None)
    log.info(
        "%s: %s parameters%s, %s, %s; %s, records: %s",
        type(classifier).__name__,
        f"{n_parameters / 1e6:.2f} M" if n_parameters >= 5000 else f"{n_parameters:,}",  # no "0.00 M"
        f", images {' × '.join(map(str, shape))}" if shape else "",
        precision,
        counted(torch.get_num_threads(), "thread"),
        data_name(datamodule),
        counts,
    )
    if classifier.trainable and cfg.hardware.accelerator == "cpu" and not cfg.trainer.fast_dev_run:
        n_records = len(datamodule.datasets["train"]) + len(datamodule.datasets["val"]) // 3  # no backward pass there
        seconds = seconds_per_record(classifier, datamodule, precision) * n_records
        log.info(
            "an epoch will take about %s, all %d at most about %s; shorter: experiment=demo, a smaller frontend.size, "
            "or fewer trainer.max_epochs",
            clock(seconds),
            cfg.trainer.max_epochs,
            clock(seconds * cfg.trainer.max_epochs),
        )


def data_name(datamodule: PTBXLDataModule) -> str:
    """Return the name of the data in words, with the version of a whole PTB-XL."""
    if datamodule.version == "synthetic":
        return "synthetic data"
    if datamodule.dataset != PTBXL:
        return f"records that are not PTB-XL's ({datamodule.dataset})"
    return "a part of PTB-XL" if datamodule.version == "unknown" else f"PTB-XL {datamodule.version}"


def announce_synthetic(datamodule: PTBXLDataModule) -> None:
    """Say so where the data has no medical meaning."""
    if isinstance(datamodule, SyntheticPTBXLDataModule):
        log.warning(
            "the data is SYNTHETIC (%s): for trying and testing, without medical meaning. For PTB-XL add: "
            "data=ptbxl data.root=DIR (the folder that holds ptbxl_database.csv)",
            datamodule.root,
        )


def seconds_per_record(classifier: ECGClassifier, datamodule: PTBXLDataModule, precision: str) -> float:
    """Seconds that training takes for one record, from a few steps of a copy; the model and its randomness stay."""
    dataset = datamodule.datasets["train"]
    batch = dataset.__getitems__(range(min(_PROBED_RECORDS, len(dataset))))
    with torch.random.fork_rng(devices=[]):
        probe = copy.deepcopy(classifier).train()
        durations: list[float] = []
        while len(durations) < 2 or (sum(durations) < _PROBE_S and len(durations) < 6):
            started = time.perf_counter()
            _step(probe, batch, precision).backward()  # type: ignore[no-untyped-call]
            durations.append(time.perf_counter() - started)
    return min(durations) / len(batch.targets)


def _step(classifier: ECGClassifier, batch: ECGBatch, precision: str) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision.startswith("bf16")):
        loss, _ = classifier.loss_and_logits(batch)
    return loss
