"""Checkpoints that explain themselves, are written whole or not at all, and never run code."""

from __future__ import annotations

import os
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from ecg_lightning import __version__
from ecg_lightning.building import build_classifier, build_stage
from ecg_lightning.compression.stage import plain_classifier
from ecg_lightning.config import SCHEMAS, plain
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.errors import CheckpointError, ConfigError
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize

TASK_KEYS = ("sampling_rate", "label_rule", "task")
"""Settings of the data that make a checkpoint's task what it is."""

_FORMAT = 1
_FREE_ON_RESUME = ("weights", "pretrained")  # they gave the first weights, which the checkpoint has replaced
_KEYS = (
    *("format", "seed", "model", "frontend", "choices", "classes"),
    *("sampling_rate", "n_samples", "batch_size", "label_rule", "folds"),
)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a full disk or a killed run leaves the previous file whole.

    Lightning's own save goes through `$TMPDIR`, and is a plain copy where that is another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save to `path`; on any failure the file that was there stays."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-", suffix=".tmp")
        try:
            torch.save(checkpoint, temporary)  # by name: a Ctrl-C while it writes to a file object aborts the process
            os.fsync(descriptor)
            Path(temporary).chmod(0o666 & ~_umask())  # as any other file; a temporary one is for its owner alone
            Path(temporary).replace(target)
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            raise CheckpointError(
                f"{target} cannot be written ({error}); free some space. The file that was there before is kept"
            ) from error
        finally:
            os.close(descriptor)
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    """The process's; the system tells it only by setting another."""
    os.umask(mask := os.umask(0o077))
    return mask


def describe(cfg: DictConfig, datamodule: PTBXLDataModule, choices: Mapping[str, str]) -> dict[str, Any]:
    """What a checkpoint of this run must hold to be built again: plain values only."""
    model = plain(cfg.model)
    if "members" in model:  # comparisons know them by their files, from wherever they are made
        model["members"] = [str(Path(path).expanduser().absolute()) for path in model["members"]]
    return {
        "format": _FORMAT,
        "version": __version__,
        "model": model,
        "frontend": plain(cfg.frontend),
        "choices": {name: choices[name] for name in ("model", "frontend") if name in choices},
        "classes": list(datamodule.classes),
        "sampling_rate": datamodule.sampling_rate,
        "n_samples": datamodule.n_samples,
        "batch_size": datamodule.batch_size,
        "label_rule": datamodule.label_rule,
        "task": datamodule.task,
        "folds": {split: list(folds) for split, folds in datamodule.folds.items()},
        "dataset": datamodule.dataset,
        # A folder of real data is only read; one of synthetic data would be written, on another machine, too.
        "data": plain(cfg.data) | ({"root": str(datamodule.root.absolute())} if cfg.data.root else {}),
        "seed": cfg.seed,
    }


def data_option(description: Mapping[str, Any]) -> str | None:
    """`ptbxl` or `synthetic`: what a checkpoint was trained on; None where it does not say."""
    target = description.get("data", {}).get("_target_")
    if target is None:
        return None
    return "synthetic" if target.endswith("SyntheticPTBXLDataModule") else "ptbxl"


def members_of(described: Mapping[str, Any]) -> list[Path]:
    """Checkpoints that an ensemble averages, its members' own too, where they were."""
    own = [Path(path).expanduser() for path in described["model"].get("members") or []]
    return own + [path for member in described.get("members", []) for path in members_of(member)]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project, without running anything in it.

    Raises:
        CheckpointError: it is not there, damaged, holds code, or is not from this project.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise CheckpointError(f"{path} is a folder; name the checkpoint in it, such as {path}/checkpoints/best.ckpt")
    if not file.is_file():
        raise CheckpointError(f"{path} is not there; name a checkpoint, such as RUN/checkpoints/best.ckpt")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TypedStorage is deprecated", UserWarning)  # quantized tensors use it
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not zipfile.is_zipfile(file):
            raise CheckpointError(f"{path} is no checkpoint; name one, such as RUN/checkpoints/best.ckpt") from None
        raise CheckpointError(
            f"{path} holds objects that could run code, so it was not loaded; only checkpoints of this project are"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        why = f" ({reason})" if zipfile.is_zipfile(file) else ""  # of another file it says nothing
        raise CheckpointError(f"{path} is truncated or no checkpoint{why}; take another, such as last.ckpt") from None
    described = checkpoint.get("ecg_lightning") if isinstance(checkpoint, dict) else None
    if not isinstance(described, dict) or any(key not in described for key in _KEYS) or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{path} is not a checkpoint of ecg_lightning; name one, such as RUN/checkpoints/best.ckpt"
        )
    if described["format"] != _FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {described['format']}, this version ({__version__}) reads {_FORMAT}; "
            f"use ecg_lightning {described.get('version', 'of that time')}"
        )
    described.setdefault("task", "superdiagnostic")  # the only one before there were others
    return cast(dict[str, Any], checkpoint)


def described_in(path: str | Path) -> dict[str, Any] | None:
    """What a checkpoint of this project says about itself; None of any other file."""
    try:
        return cast(dict[str, Any], read_checkpoint(path)["ecg_lightning"])
    except CheckpointError:
        return None


def save_classifier(classifier: ECGClassifier, path: Path, deployed: Mapping[str, Any] | None = None) -> Path:
    """Write a compressed classifier's checkpoint: its state, and what it takes to build it again.

    Args:
        classifier: to save.
        path: of the file.
        deployed: what a deployed file says about itself, as plain values.
    """
    described = classifier.description | ({"deployed": _listed(deployed)} if deployed else {})
    content = {"state_dict": classifier.state_dict(), "ecg_lightning": described}
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _as_list(value) for name, value in values.items()}


def _as_list(value: Any) -> Any:
    return [_as_list(one) for one in value] if isinstance(value, tuple) else value


def load_classifier(path: str | Path) -> ECGClassifier:
    """Build the classifier of a checkpoint and fill it: model, front end, normalisation and thresholds.

    Raises:
        CheckpointError: see `read_checkpoint`; or its parameters do not fit its description.
    """
    checkpoint = read_checkpoint(path)
    described = checkpoint["ecg_lightning"]
    try:
        classifier = _build(described, checkpoint["state_dict"])
        classifier.load_state_dict(checkpoint["state_dict"])
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} cannot be built again: {reason}") from None
    classifier.description = described
    return classifier.eval()


def _build(described: Mapping[str, Any], state: Mapping[str, Any]) -> ECGClassifier:
    """The classifier that a description describes, its parameters still its own."""
    model = {**described["model"], "pretrained": False, "weights": None}
    members = [_build(member, {}) for member in described.get("members", [])]
    classifier = build_classifier(
        model,
        described["frontend"],
        n_samples=described["n_samples"],
        seed=described["seed"],
        classes=tuple(described["classes"]),
        members=members,
    )
    classifier.description = dict(described)
    nodes = described.get("stages", [])  # a compressed model's structure
    if nodes:
        classifier.network = reparameterize(classifier.network)  # as the first stage found it
    for node in nodes:
        classifier = build_stage(node, "stage").restore(plain_classifier(classifier), dict(state))
    return classifier


@dataclass(frozen=True)
class Resume:
    """A checkpoint to go on from.

    Attributes:
        path: the file.
        description: what `describe` gave for the run that wrote it.
    """

    path: Path
    description: dict[str, Any]

    def check_fits(self, description: Mapping[str, Any]) -> None:
        """Refuse to go on with another model, recipe, front end, seed or training data.

        Raises:
            CheckpointError: names the first setting that differs.
        """
        self._compare("seed", self.description["seed"], description["seed"])
        for name in ("label_rule", "task", "sampling_rate", "batch_size"):
            self._compare(f"data.{name}", self.description[name], description[name])
        for split in ("train", "val"):
            self._compare(f"data.{split}_folds", self.description["folds"][split], description["folds"][split])
        for part in ("model", "frontend"):
            # It may be of a version that did not have all settings.
            there = _with_defaults(self.description[part], _defaults(part, description[part]["_target_"]))
            for name, value in description[part].items():
                if name not in _FREE_ON_RESUME:
                    self._compare(f"{part}.{name}", there.get(name), value)

    def _compare(self, key: str, there: Any, asked: Any) -> None:
        if there != asked:
            raise CheckpointError(
                f"{self.path} was trained with {key}={there}, this run asks for {asked}: go on with the same settings "
                "(they stand in the run's config.yaml)"
            )


def _defaults(group: str, target: str) -> dict[str, Any]:
    """What the settings of an option are where nobody sets them."""
    schemas = [OmegaConf.structured(schema) for schema in SCHEMAS[group].values()]
    return next((plain(schema) for schema in schemas if schema._target_ == target), {})


def _with_defaults(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, and the defaults of those that are not there, of nested ones, too."""
    nested = {
        name: _with_defaults(value, defaults[name])
        for name, value in settings.items()
        if isinstance(value, Mapping) and isinstance(defaults.get(name), Mapping)
    }
    return {**defaults, **settings, **nested}


def find_resume(ckpt_path: str | None, output_dir: Path) -> Resume | None:
    """The checkpoint to go on from; `last` is that of the run's own folder.

    Raises:
        CheckpointError: there is no such file, or it is none of this project.
    """
    if ckpt_path is None:
        return None
    path = output_dir / "checkpoints" / "last.ckpt" if ckpt_path == "last" else Path(ckpt_path).expanduser()
    if ckpt_path == "last" and not path.is_file():
        raise CheckpointError(
            f"ckpt_path=last: {path} is not there; name the folder of the run to go on with: hydra.run.dir=DIR"
        )
    return Resume(path, read_checkpoint(path)["ecg_lightning"])
