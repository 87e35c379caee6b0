"""Fixtures of the whole suite: a cache of its own, a small synthetic PTB-XL, composed configurations."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import absl.logging
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ecg_lightning.commands import launching
from ecg_lightning.compression.schema import CompressConfig, TrainConfig
from ecg_lightning.config import conf_folder, validation
from ecg_lightning.config import schema as config
from ecg_lightning.data.synthetic import write_synthetic_ptbxl

config.register()


def _take_own_cores() -> None:
    """Keep this pytest-xdist worker, and what it starts, to its share of the cores: threads that wait cost time."""
    name, n_workers = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if name and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        own = cores[int(name.removeprefix("gw")) :: n_workers]
        os.sched_setaffinity(0, own or cores)
        torch.set_num_threads(max(1, len(own)))


_take_own_cores()
# Hydra closes every handler that it replaces, and absl's, which TensorBoard brings, would close pytest's own stream.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


def pytest_collection_finish() -> None:
    """Keep what is imported by now out of every later search for garbage, which a job ends with."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' own cache folder: the user's is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["ECG_LIGHTNING_CACHE"] = str(folder)
    for name in ("HYDRA_FULL_ERROR", "ECG_LIGHTNING_TRUST"):
        os.environ.pop(name, None)
    return folder


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PTB-XL-shaped folder of 200 synthetic records at 100 Hz; not to be changed."""
    root = tmp_path_factory.mktemp("ptbxl") / "synthetic"
    write_synthetic_ptbxl(root, n_records=200, seed=0)
    return root


@pytest.fixture(scope="session")
def ptbxl_root() -> Path:
    """A real PTB-XL folder, named by ECG_PTBXL_ROOT."""
    if not os.environ.get("ECG_PTBXL_ROOT"):
        pytest.skip("ECG_PTBXL_ROOT does not name a PTB-XL folder")
    return Path(os.environ["ECG_PTBXL_ROOT"])


@pytest.fixture(scope="session")
def configure() -> Callable[..., TrainConfig]:
    """Compose `conf/train.yaml` with overrides, as the command line does, and check it."""
    return _composer("train", validation.validate)


@pytest.fixture(scope="session")
def configure_compression() -> Callable[..., CompressConfig]:
    """The same for `conf/compress.yaml`."""
    return _composer("compress", validation.validate_compression)


def _composer(root: str, validate: Callable[[DictConfig], None]) -> Callable[..., Any]:
    def make(*overrides: str, output_dir: Path | str = "unused") -> Any:
        with initialize_config_dir(str(conf_folder.config_dir()), version_base="1.3"):
            cfg = compose(root, overrides=[*overrides, f"paths.output_dir={output_dir}"])
        validate(cfg)
        return config.settings_of(cfg)

    return make


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    """Run `train.py` or `compress.py` in this process, which has imported all; its exit code and what it said."""

    def run(*arguments: str, program: str = "train") -> SimpleNamespace:
        capfd.readouterr()
        code = 0
        try:
            getattr(launching, program)(arguments)
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


@pytest.fixture
def hears_signals() -> Iterator[None]:
    """Signals as a terminal gives them: `nohup` and a shell's background jobs, which tests may be, ignore some."""
    before = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM)
    }
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
