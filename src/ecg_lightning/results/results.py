"""The result of one run, in the layout of `result.json` (schema 2)."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from ecg_lightning.components.registry import renamed
from ecg_lightning.errors import DataError
from ecg_lightning.results.equality import in_effect
from ecg_lightning.results.schema import SCHEMA, upgraded
from ecg_lightning.system import bounded_yaml
from ecg_lightning.system.disk import write_whole
from ecg_lightning.text import printable

RESULT_FILE = "result.json"
TRAINING_FILE = "training.json"  # the result of a training that cells of a sweep share
SWEEP_TABLE = "results.csv"
CELL_FILE = "cell.json"
"""The settings and time of a sweep's cell, as the sweep wrote them. A single run in the cell's folder removes it."""
SWEEP_FILE = "sweep.json"
"""The command of a sweep, in the sweep's folder."""
HYDRA_SWEEP_FILE = "multirun.yaml"
"""Hydra's file with the command of a sweep, which sweeps of every version have."""
_MAX_RESULT_BYTES = 16 * 2**20
"""The largest size of a result that is read. A usual result has about ten kilobytes."""
_PACKAGES = ("torch", "torchvision", "timm", "lightning", "hydra-core", "torchmetrics", "numpy")
_COMPRESSION_PACKAGES = ("torchao", "torch-pruning", "nncf", "openvino", "onnxruntime", "onnx")


@dataclass
class RunResult:
    """The result of a run, or the reason why it has none.

    Attributes:
        status: `ok`, `failed`, `skipped` or `interrupted`; in a sweep's table also `planned` or `running`.
        reason: the reason why the status is not `ok`.
        choices: the option chosen in each config group: data, frontend, model, compression, hardware.
        overrides: the settings of the command line.
        seed: the run's seed.
        config_hash: SHA-256 of the resolved configuration; see `hash_config`.
        git: the revision of the code, or None outside a repository.
        versions: the versions of the packages that figures depend on.
        host: the machine.
        data: the data set's name, root hash, label rule and number of records of each split.
        metrics: the scores by split. Those of a classifier come from raw probabilities, and `ci95` holds 95 % intervals
            of `f1_macro_tuned` and `auroc_macro`, by patient.
        evaluation: the output of `evaluation.report` and `evaluation.cohort` by split, for calibrated probabilities.
        chosen: the choices that the validation folds alone made; see `choices.Choices.as_dict`.
        score: the monitored value of the scored epoch; a sweep's objective.
        variants: the model as trained (`baseline`), and its compressed variants.
        earlier_lengths: the planned number of epochs before each time that the training was made longer.
        timing: the seconds of the fit, records per second, epochs.
        artifacts: name → path relative to the run's folder.
        notes: remarks that a reader of the figures must know, such as a collapse.
        schema: the version of this layout.
        folder: the run's folder, for a program that ran it; it is not written.
    """

    folder = Path()  # without a type, so that it is not a field

    status: str = "failed"
    reason: str | None = None
    choices: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    seed: int | None = None
    config_hash: str | None = None
    git: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    score: float | None = None
    variants: list[dict[str, Any]] = field(default_factory=list)
    earlier_lengths: list[int] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def __repr__(self) -> str:
        test = self.metrics.get("test") or {}
        shown = {"F1": test.get("f1_macro_tuned"), "AUROC": test.get("auroc_macro")}
        scores = "".join(f", test {name} {value:.3f}" for name, value in shown.items() if isinstance(value, float))
        chosen = " ".join(f"{group}={name}" for group, name in self.choices.items() if group in ("data", "model"))
        reason = f": {self.reason}" if self.reason else ""
        return f"RunResult({self.status}{reason}, {chosen} seed={self.seed}{scores}, in {self.folder})"

    def write(self, folder: Path, name: str = RESULT_FILE) -> None:
        """Write `result.json` into `folder`, whole or not at all."""
        content = json.dumps(without_nan(dataclasses.asdict(self)), indent=2, allow_nan=False)
        write_whole(folder / name, content + "\n")


class UnfinishedError(Exception):
    """The end of a run that was stopped or failed, with a partial result.

    Args:
        result: the part that was finished.
        cause: the error that ended the run.
    """

    def __init__(self, result: RunResult, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.result = result
        self.cause = cause


def read_result(folder: Path) -> dict[str, Any]:
    """Return the content of a run folder's `result.json`. The file may come from elsewhere.

    Fields that an earlier version did not write have their defaults. Control characters are escaped, so that every text
    can be printed.

    Raises:
        DataError: the file cannot be read, or a field has another type than in `RunResult`.
    """
    try:
        return _read_checked(folder / RESULT_FILE)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder / RESULT_FILE} cannot be read ({error}); remove it, or name another folder") from None


def run_of(folder: Path) -> Path:
    """Return the run of a folder, which is the run itself or a variant of it."""
    return folder.absolute().parent.parent if folder.absolute().parent.name == "variants" else folder


def _read_checked(path: Path) -> dict[str, Any]:
    read: Any = json.loads(_text_of(path))
    if not isinstance(read, dict):
        raise ValueError("it is not a table of fields")
    found: dict[str, Any] = _printable({**dataclasses.asdict(RunResult()), **upgraded(read)})
    for name, kind in get_type_hints(RunResult).items():
        if not _is_of(found[name], kind):
            raise ValueError(f"{name} holds {found[name]!r:.60}")
    return found


def _text_of(path: Path) -> str:
    """Return the text of a run's file. A file that is not regular or is too large is refused."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    if (size := path.stat().st_size) > _MAX_RESULT_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than the {_MAX_RESULT_BYTES:,} that are read")
    return path.read_text(encoding="utf-8")


def _is_of(value: Any, kind: Any) -> bool:
    """Return whether a value from JSON has a type, such as `dict[str, float]`. A figure may be null."""
    inner = get_args(kind)
    if kind is Any:
        return True
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is_of(item, inner[1]) for item in value.values())
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_of(item, inner[0]) for item in value)
    if get_origin(kind) is UnionType:
        return any(_is_of(value, one) for one in inner)
    if kind is float:
        return value is None or is_figure(value)
    return isinstance(value, kind) and not isinstance(value, bool)


def is_figure(value: Any) -> bool:
    """Return whether a value from JSON is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def _printable(value: Any) -> Any:
    """Return plain values with the control characters of every text escaped."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's configuration from its `config.yaml`; it is empty if there is no file.

    Raises:
        DataError: the file cannot be read.
    """
    path = folder / "config.yaml"
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a regular file; remove it, or name another folder")
    try:
        known = path.stat() if path.exists() else None
        config = copy.deepcopy(_parsed(path, known.st_mtime_ns, known.st_size)) if known else {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read ({reason}); run the model again, or name another folder") from None
    return renamed(config) if isinstance(config, dict) else {}


@lru_cache(maxsize=64)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> Any:
    """Return the content of a YAML file. It is parsed once and again only after a change."""
    return bounded_yaml.load(path)


def read_training(folder: Path, name: str = TRAINING_FILE) -> RunResult:
    """Return the result of a training that cells of a sweep share, or of one training of a cross-validation.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return RunResult(**_read_checked(folder / name))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{folder / name} cannot be read ({error}). Remove {folder} to train this fold again") from None


def hash_config(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a resolved configuration, without the settings that change neither weights nor scores."""
    return hashlib.sha256(json.dumps(in_effect(config), sort_keys=True, default=str).encode()).hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of this package, Python and the packages that figures depend on."""
    from ecg_lightning.version import __version__

    python = ".".join(str(part) for part in sys.version_info[:3])
    installed = {"ecg_lightning": __version__, "python": python}
    for name in (*_PACKAGES, *_COMPRESSION_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # the extra `compress` may be absent
            installed[name] = importlib.metadata.version(name)
    return installed


def git_revision() -> str | None:
    """Return the code's revision, with `-dirty` if files were changed, or None if no repository tracks this code."""
    here = Path(__file__)
    try:
        if _git(here.parent, "ls-files", here.name):  # an environment inside another repository is not tracked
            return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or None
    except (OSError, subprocess.TimeoutExpired):
        pass
    return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()


def without_nan(value: Any) -> Any:
    """Return plain values for JSON, which has no NaN. A figure that does not exist becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
