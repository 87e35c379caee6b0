"""The log before a training: the data, the model, and an upper bound of the time."""

from __future__ import annotations

import logging
import math

import torch

from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.identity import PTBXL
from ecg_lightning.data.ptbxl_source import SyntheticSource
from ecg_lightning.data.source import OWN
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.text import counted, duration
from ecg_lightning.training.schema import TrainerConfig, TrainingConfig
from ecg_lightning.training.step_time import measure_step

log = logging.getLogger(__name__)

_LONG_S = 600.0  # from here on a line of advice is worth it


def announce(
    settings: TrainingConfig,
    module: ECGModule,
    datamodule: ECGDataModule,
    precision: str,
    first_epoch: int = 0,
    seconds_per_record: float | None = None,
) -> None:
    """Log the data and the model, and an upper bound of the training time from a few measured steps.

    Args:
        settings: the run's configuration.
        module: module to be trained, its teacher prepared.
        datamodule: data module with its splits loaded.
        precision: precision of the training.
        first_epoch: first epoch of this training, from 0.
        seconds_per_record: time of a step, if it was measured before.
    """
    announce_synthetic(datamodule)
    counts = " · ".join(f"{split} {len(dataset):,}" for split, dataset in datamodule.datasets.items())
    n_parameters = sum(parameter.numel() for parameter in module.network.parameters())
    shape = module.frontend.network_input.shape
    log.info(
        "%s: %s parameters%s, %s, %s; %s, records: %s",
        type(module).__name__,
        f"{n_parameters / 1e6:.2f} M" if n_parameters >= 5000 else f"{n_parameters:,}",  # no "0.00 M"
        f", images {' × '.join(map(str, shape))}" if len(shape) == 3 else "",
        precision,
        counted(torch.get_num_threads(), "thread"),
        data_name(datamodule),
        counts,
    )
    n_epochs = settings.trainer.max_epochs - first_epoch
    if (
        module.trainable
        and settings.hardware.accelerator == "cpu"
        and not settings.trainer.fast_dev_run
        and n_epochs > 0
    ):
        records = records_of_an_epoch(settings.trainer, datamodule)
        if seconds_per_record is None:
            (seconds_per_record,) = measure_step(module, datamodule, precision, records * n_epochs)
        seconds = seconds_per_record * records
        in_all = f", and all {n_epochs} epochs at most about {duration(seconds * n_epochs)}" if n_epochs > 1 else ""
        advice = _advice(settings, module, seconds * n_epochs)
        log.info("an epoch will take about %s%s%s", duration(seconds), in_all, advice)


def records_of_an_epoch(trainer: TrainerConfig, datamodule: ECGDataModule) -> float:
    """Return the records of an epoch that is trained and validated, within `trainer.limit_*`.

    A validation record counts a third, since it has no backward pass.
    """
    n_train, n_val = (len(datamodule.datasets[split]) for split in ("train", "val"))
    size = datamodule.batch_size
    limits = (trainer.overfit_batches or trainer.limit_train_batches, trainer.limit_val_batches)
    trained, validated = (
        min(n, size * _limited(math.ceil(n / size), limit)) for n, limit in zip((n_train, n_val), limits, strict=True)
    )
    return trained + validated / 3


def _limited(n_batches: int, limit: float | None) -> float:
    """Return the batches that Lightning leaves of an epoch. An int is a number of batches, a float a share of them."""
    if limit is None:
        return n_batches
    return min(n_batches, limit) if isinstance(limit, int) else limit * n_batches


def _advice(settings: TrainingConfig, module: ECGModule, seconds: float) -> str:
    """Return the settings that would shorten a long training and are not set yet."""
    if seconds < _LONG_S:
        return ""
    ways = [
        *([] if module.description.get("choices", {}).get("experiment") else ["experiment=demo"]),
        *(f"a smaller frontend.{name}" for name in ("size", "width") if hasattr(settings.frontend, name)),
        *(["fewer trainer.max_epochs"] if settings.trainer.max_epochs > 1 else []),
    ]
    return f"; to shorten it, use {', or '.join(ways)}" if ways else ""


def data_name(datamodule: ECGDataModule) -> str:
    """Return the name of the data in words, with the version of a whole PTB-XL."""
    if datamodule.version == "synthetic":
        return "synthetic data"
    if datamodule.version == OWN:
        return datamodule.dataset
    if datamodule.dataset != PTBXL:
        return f"records that are not PTB-XL's ({datamodule.dataset})"
    return "a part of PTB-XL" if datamodule.version == "unknown" else f"PTB-XL {datamodule.version}"


def announce_synthetic(datamodule: ECGDataModule) -> None:
    """Warn if the data is synthetic and has no medical meaning."""
    if isinstance(datamodule.source, SyntheticSource):
        log.warning(
            "the data is SYNTHETIC (%s), for trying and testing, and has no medical meaning. For PTB-XL, add "
            "data=ptbxl data.root=DIR (the folder that holds ptbxl_database.csv)",
            datamodule.root,
        )
