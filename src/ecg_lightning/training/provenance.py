"""The first part of a result, before anything is trained: its origin, data and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch

from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.hardware import device as hardware
from ecg_lightning.hardware.schema import HardwareConfig
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.results.delayed_files import write_delayed_files
from ecg_lightning.results.results import RunResult, git_revision, hash_config, package_versions
from ecg_lightning.system import bounded_yaml
from ecg_lightning.system.disk import write_whole
from ecg_lightning.training.schema import TrainingConfig


def begin(
    hardware_settings: HardwareConfig, seed: int, choices: Mapping[str, str] | None, overrides: Sequence[str]
) -> tuple[dict[str, Any], RunResult]:
    """Return the prepared device, see `hardware.device.prepare`, and a result with its host, code and settings.

    Args:
        hardware_settings: settings of the device.
        seed: seed of the run.
        choices: option chosen in each config group.
        overrides: the command line's settings.
    """
    device = hardware.prepare(hardware_settings)
    L.seed_everything(seed, workers=True, verbose=False)
    return device, RunResult(
        status="ok",
        choices=dict(choices or {}),
        overrides=list(overrides),
        seed=seed,
        git=git_revision(),
        versions=package_versions(),
        host=describe_run_host(device),
    )


def describe_run_host(device: Mapping[str, Any]) -> dict[str, Any]:
    """Return the host for `result.json`: processor, memory, threads and precision."""
    return hardware.describe_host() | {"threads": torch.get_num_threads(), "precision": device["precision"]}


def write_config(values: dict[str, Any], output_dir: Path, result: RunResult) -> None:
    """Write `config.yaml` and Hydra's files into the run's folder, and the configuration's hash into the result."""
    write_delayed_files()
    result.config_hash = hash_config(values)
    write_whole(output_dir / "config.yaml", bounded_yaml.dump(values))


def limits(settings: TrainingConfig) -> list[str]:
    """Return a note for each setting that leaves some records out, so that readers of the scores see it."""
    if settings.trainer.fast_dev_run:
        return ["trainer.fast_dev_run: the program was tested on a few batches, so the scores mean nothing"]
    names = ("overfit_batches", *(f"limit_{phase}_batches" for phase in ("train", "val", "test")))
    limits = {name: getattr(settings.trainer, name) for name in names}
    return [
        f"trainer.{name}={value}: only a part of the records was used"
        for name, value in limits.items()
        if value and not (isinstance(value, float) and value == 1.0)
    ]


def resolved(settings: TrainingConfig, module: ECGModule) -> dict[str, Any]:
    """Return the settings with the model and the front end that really run."""
    return asdict(settings) | {name: module.description[name] for name in ("model", "frontend")}


def describe_data(datamodule: ECGDataModule) -> dict[str, Any]:
    """Return the records and data set of a run, for `result.json`."""
    counts = {f"n_{split}": len(dataset) for split, dataset in datamodule.datasets.items()}
    names = ("dataset", "root_hash", "version", "task", "label_rule", "n_left_out")
    return {name: getattr(datamodule, name) for name in names} | counts
