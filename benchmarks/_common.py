"""A composed configuration, interleaved timing of several ways in one process, the JSON that every benchmark writes."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ecg_lightning.config import conf_folder
from ecg_lightning.config import schema as config
from ecg_lightning.hardware.device import describe_host
from ecg_lightning.results.results import git_revision, package_versions


def composed(*overrides: str) -> DictConfig:
    """`conf/train.yaml` with overrides, one thread, as the command line composes it."""
    config.register()
    with initialize_config_dir(str(conf_folder.config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["hardware.threads=1", *overrides])
    torch.set_num_threads(cfg.hardware.threads)
    return cfg


def interleave(ways: dict[str, Callable[[], Any]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each way; the ways take turns, so that a busy machine slows all of them alike."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(name: str, rows: list[dict[str, Any]], output: Path | None) -> None:
    """Print the rows; write them with host and versions where `output` names a file."""
    for row in rows:
        print(
            "  ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
            )
        )
    if output:
        host = describe_host() | {"threads": torch.get_num_threads()}
        content = {"benchmark": name, "host": host, "versions": package_versions(), "git": git_revision()}
        output.write_text(json.dumps({**content, "rows": rows}, indent=2) + "\n")
