"""Resumption of a training: its checkpoint, the check of its settings, and the place where it continues."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ecg_lightning.checkpoints.loading import read_checkpoint
from ecg_lightning.components.registry import schema_of
from ecg_lightning.errors import CheckpointError
from ecg_lightning.results.equality import flat, value_at
from ecg_lightning.results.results import read_config
from ecg_lightning.text import as_yaml
from ecg_lightning.training.leakage import dataset_of
from ecg_lightning.training.schema import TrainingConfig

log = logging.getLogger(__name__)

_FREE = ("weights", "pretrained")  # they gave the first weights, which the checkpoint has replaced
_MAX_EPOCHS = "trainer.max_epochs"
_COMPARED = (
    *("monitor", "scored_epoch", "data.keep_unlabelled", "data.on_bad_record", _MAX_EPOCHS),
    *("trainer.accumulate_grad_batches", "trainer.limit_train_batches", "trainer.limit_val_batches"),
    *("trainer.overfit_batches", "trainer.gradient_clip_val", "trainer.extra"),
    *("callbacks.early_stopping", "callbacks.extra"),
    *("hardware.accelerator", "hardware.devices", "hardware.precision", "hardware.channels_last", "hardware.compile"),
)
"""Settings besides the model's that change the steps, their number, or the scored epoch."""


class Place(NamedTuple):
    """The place where a training stands.

    Attributes:
        epoch: next or unfinished epoch, from 0.
        batch: number of batches of this epoch that were seen.
    """

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Resume:
    """A checkpoint to resume from.

    Attributes:
        path: the file.
        description: description from `describe` in the run that wrote the file.
        place: place where the training stood.
        training: the training's settings by their dotted keys.
    """

    path: Path
    description: dict[str, Any]
    place: Place
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def threads(self) -> int | None:
        """The number of threads of the training; None if the checkpoint does not hold it."""
        threads = self.training.get("threads")
        return threads if isinstance(threads, int) and 1 <= threads <= 4096 else None

    def check_fits(self, description: Mapping[str, Any]) -> None:
        """Refuse to resume with another model, recipe, front end, seed or training data, or a shorter training.

        Raises:
            CheckpointError: names the first setting that differs.
        """
        dataset = dataset_of(self.description)
        if dataset not in (None, description["dataset"]):
            raise CheckpointError(
                f"{self.path} was trained on the data set {dataset}, but data.root holds "
                f"{description['dataset']}. Resume with the same data"
            )
        self._compare("seed", self.description["seed"], description["seed"])
        for name in ("label_rule", "task", "sampling_rate", "batch_size"):
            self._compare(f"data.{name}", self.description[name], description[name])
        for split in ("train", "val"):
            self._compare(f"data.{split}_folds", self.description["folds"][split], description["folds"][split])
        for part in ("model", "frontend"):
            # An earlier version may have had fewer settings.
            there = _with_defaults(
                self.description[part], dataclasses.asdict(schema_of(part, description[part], part)())
            )
            for name, value in description[part].items():
                if name not in _FREE:
                    before, now = flat({name: there.get(name)}), flat({name: value})
                    for key in before | now:
                        self._compare(f"{part}.{key}", before.get(key), now.get(key))
        asked, own = description.get("training", {}), self.training
        for key in (key for key in _COMPARED if key in own and key in asked):
            if key != _MAX_EPOCHS:
                self._compare(key, own[key], asked[key])
            elif own[key] > asked[key]:
                raise CheckpointError(
                    f"{self.path} belongs to a training of {own[key]} epochs, which its learning-rate schedule "
                    f"depends on; this run has trainer.max_epochs={asked[key]}. Set trainer.max_epochs={own[key]} "
                    "to finish it, or start again in another folder"
                )

    def check_records(self, described: Mapping[str, Any]) -> None:
        """Refuse to resume with other records, because their order would differ.

        Args:
            described: `root_hash` and `n_train` of this run's data.

        Raises:
            CheckpointError: the records differ.
        """
        own = self.training
        for name, what in (("n_train", "training records"), ("root_hash", "content (root_hash)")):
            if own.get(name) not in (None, described[name]):
                raise CheckpointError(
                    f"{self.path} was trained on other data: its {what} was {own[name]}, but data.root has "
                    f"{described[name]}. Resume with the same folder"
                )

    def announce(self, max_epochs: int) -> None:
        """Log where the training resumes, after all checks have passed."""
        if self.place.epoch >= max_epochs and not self.place.batch:
            log.info(
                "the training of %s has finished its %d epochs; only the evaluation is left", self.path, max_epochs
            )
        else:
            where = f"epoch {self.place.epoch + 1}, after {self.place.batch} batches"
            log.info("the training resumes from %s: %s", self.path, where)

    @property
    def max_epochs(self) -> int | None:
        """The planned number of epochs of its training; None if the checkpoint does not hold it."""
        there = self.training.get(_MAX_EPOCHS)
        return there if isinstance(there, int) else None

    def earlier_lengths(self, max_epochs: int) -> list[int]:
        """Return the planned numbers of epochs before each extension of the training, the first one first.

        Args:
            max_epochs: planned number of epochs now.
        """
        known, last = self.training.get("earlier_lengths", []), self.max_epochs
        return [*known, last] if last is not None and last < max_epochs else known

    def _compare(self, key: str, there: Any, asked: Any) -> None:
        if there != asked:
            raise CheckpointError(
                f"{self.path} was trained with {key}={as_yaml(there)}, but this run has {as_yaml(asked)}. Resume "
                "with the settings in the run's config.yaml"
            )


def find_resume(ckpt_path: str | None, output_dir: Path) -> Resume | None:
    """Return the checkpoint to resume from; None for a new training.

    `last` names the checkpoint of the run's own folder. `auto` names it if the file exists.

    Raises:
        CheckpointError: there is no such file, or it is not from this project.
    """
    if ckpt_path is None:
        return None
    own = output_dir / "checkpoints" / "last.ckpt"
    path = own if ckpt_path in ("last", "auto") else Path(ckpt_path).expanduser()
    if ckpt_path == "auto" and not path.exists():
        log.info("ckpt_path=auto: %s holds no checkpoint, so the training starts from the beginning", output_dir)
        return None
    if ckpt_path == "last" and not path.is_file():
        raise CheckpointError(
            f"ckpt_path=last: {path} is not there. Name the folder of the run to resume with hydra.run.dir=DIR, "
            "or start a new run with ckpt_path=auto"
        )
    checkpoint = read_checkpoint(path)
    try:
        place = _place(checkpoint["loops"]["fit_loop"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path} holds weights but no training state, so it cannot be resumed. Name a checkpoint of train.py, "
            f"or train from these weights with model.weights={path}"
        ) from None
    described = checkpoint["ecg_lightning"]
    return Resume(path, described, place, described.get("training") or _training_beside(path))


def _training_beside(path: Path) -> dict[str, Any]:
    """Return a training's settings from its run's `config.yaml`, for checkpoints of versions without them."""
    config = read_config(path.absolute().parents[1])
    found = {key: value for key in _COMPARED if (value := value_at(config, key)) is not None}
    if found.get("hardware.precision") == "auto":  # "auto" does not name the precision that was used
        del found["hardware.precision"]
    return found


def _place(loops: Mapping[str, Any]) -> Place:
    epochs = loops["epoch_progress"]["current"]
    unfinished = epochs["started"] != epochs["processed"]
    return Place(
        int(epochs["processed"]), int(loops["epoch_loop.batch_progress"]["current"]["completed"]) if unfinished else 0
    )


def training_settings(settings: TrainingConfig, precision: str) -> dict[str, Any]:
    """Return the training's settings that a checkpoint must hold so that it can be resumed, by dotted keys.

    Args:
        settings: the run's configuration.
        precision: precision that `auto` stands for here.
    """
    values = asdict(settings)
    found = {key: value_at(values, key) for key in _COMPARED}
    return found | {"hardware.precision": precision, "threads": torch.get_num_threads()}


def _with_defaults(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in missing settings with their defaults, recursively."""
    nested = {
        name: _with_defaults(value, defaults[name])
        for name, value in settings.items()
        if isinstance(value, Mapping) and isinstance(defaults.get(name), Mapping)
    }
    return {**defaults, **settings, **nested}
