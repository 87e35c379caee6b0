"""Checks that a model is not scored on data that the model, its teacher or its first weights have seen.

Folds are compared within one data set, because fold 9 of another data set holds other patients.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ecg_lightning.checkpoints.loading import data_option
from ecg_lightning.data.datamodule import TASK_KEYS, ECGDataModule
from ecg_lightning.data.identity import dataset_name, synthetic_name
from ecg_lightning.errors import ConfigError, DataError

log = logging.getLogger(__name__)

_TABLE = ", table "
"""Text between a folder's name and the hash of its table, see `folder.FolderSource.name`."""

Seen = dict[str, Any]
"""Folds of each split (`train`, `val`, `test`), and the name of their `dataset`, None if it is not known."""


def learned_from(sources: Iterable[Mapping[str, Any]], begun: Iterable[Seen] = ()) -> list[Seen]:
    """Return the folds that a model learns from: those of teachers, first weights and members, and of their sources.

    Args:
        sources: descriptions of the teachers', weights' and members' checkpoints.
        begun: folds that the model had learned from before it was resumed.
    """
    found = list(begun)
    for seen in (seen for described in sources for seen in _seen(described)):
        if seen not in found:
            found.append(seen)
    return found


def dataset_of(described: Mapping[str, Any]) -> str | None:
    """Return the name of the data set that a checkpoint was trained on; None if it cannot be known.

    A checkpoint of version 0.1 or earlier holds no name, so the name follows from the checkpoint's `data` settings.
    """
    if "dataset" in described:
        name: str | None = described["dataset"]
        return name
    option, settings = data_option(described), described.get("data", {})
    if option == "synthetic":
        return synthetic_name(settings.get("data_seed", 0))
    root = settings.get("root") if option == "ptbxl" else None
    return _name_of_folder(root) if isinstance(root, str) else None


@cache
def _name_of_folder(root: str) -> str | None:
    log.info("a checkpoint does not name its data set, so the name is read from its data.root=%s", root)
    try:
        return dataset_name(Path(root))
    except DataError:
        return None


def is_other_data(described: Mapping[str, Any], datamodule: ECGDataModule) -> bool:
    """Return whether a checkpoint is known to be trained on another data set than this run's."""
    return _is_other(dataset_of(described), datamodule)


def check_taught(what: str, taught: Mapping[str, Any], datamodule: ECGDataModule) -> None:
    """Refuse a teacher or member that was trained on another label task, or on folds that this run holds out."""
    for name in TASK_KEYS:
        if taught[name] != (own := getattr(datamodule, name)):
            raise ConfigError(
                f"{what} was trained with data.{name}={taught[name]}, but this run has {own}. Set "
                f"data.{name}={taught[name]}, or use another checkpoint"
            )
    if "classes" in taught and tuple(taught["classes"]) != datamodule.classes:
        raise ConfigError(
            f"{what} predicts {', '.join(taught['classes'][:10])}, but this run's classes are "
            f"{', '.join(datamodule.classes[:10])}. Use another checkpoint"
        )
    if "n_samples" in taught and taught["n_samples"] != datamodule.n_samples:
        raise ConfigError(
            f"{what} was trained on records of {taught['n_samples'] / taught['sampling_rate']:g} s, but this run has "
            f"{datamodule.n_samples / datamodule.sampling_rate:g} s. Set data.duration_s, or use another checkpoint"
        )
    check_unseen(what, taught, datamodule)


def check_unseen(what: str, taught: Mapping[str, Any], datamodule: ECGDataModule) -> None:
    """Refuse a checkpoint that was trained on folds that this run holds out, or chosen by its test folds."""
    check_held_out(taught, datamodule, what)
    tested = {*datamodule.folds["test"]}
    for seen in _seen_here(taught, datamodule):
        if chosen := sorted(tested & {*seen["val"]}):
            raise ConfigError(
                f"{what}, or a model it learned from, was chosen by fold {chosen[0]}, which is a test fold of "
                f"this run. Use a checkpoint of other folds, or set other data.test_folds{_if_unknown(seen)}"
            )


def check_held_out(described: Mapping[str, Any], datamodule: ECGDataModule, what: str) -> None:
    """Refuse a checkpoint that was trained on folds that this run chooses and scores by.

    Args:
        described: the checkpoint's description.
        datamodule: this run's data module.
        what: key and value that name the checkpoint.
    """
    held_out = {*datamodule.folds["val"], *datamodule.folds["test"]}
    own = _own(described)
    for seen in _seen_here(described, datamodule):
        if not (leaked := sorted(held_out & {*seen["train"]})):
            continue
        if seen == own:
            raise ConfigError(
                f"{what} was trained on fold {leaked[0]}, which this run holds out. Set "
                f"data.train_folds={seen['train']}, or use another checkpoint{_if_unknown(seen)}"
            )
        raise ConfigError(
            f"{what} learned from a model (teacher, first weights, members) that was trained on fold {leaked[0]}, "
            f"which this run holds out. Use another checkpoint, or hold out other folds{_if_unknown(seen)}"
        )


def data_notes(described: Mapping[str, Any], datamodule: ECGDataModule) -> list[str]:
    """Return notes for the reader of a checkpoint's scores: other data than the checkpoint's, and folds it has seen."""
    trained, here = dataset_of(described), datamodule.dataset
    other = []
    if trained is None:
        other = [f"the checkpoint does not say which data it was trained on; the records scored here are of {here}"]
    elif trained != here:
        other = [f"the checkpoint was trained on {trained}, but the records scored here are of {here}"]
    tested = {*datamodule.folds["test"]}
    seen = {
        split: sorted(tested & {fold for seen in _seen_here(described, datamodule) for fold in seen[split]})
        for split in ("train", "val")
    }
    what = {"train": "trained on", "val": "chosen by"}
    return other + [
        f"the checkpoint, or a model it learned from, was {what[split]} the test folds {folds}; on the same data, "
        "the scores are optimistic"
        for split, folds in seen.items()
        if folds
    ]


def _own(described: Mapping[str, Any]) -> Seen:
    return {**described["folds"], "dataset": dataset_of(described)}


def _seen(described: Mapping[str, Any]) -> list[Seen]:
    return [_own(described), *described.get("learned_from", [])]


def _seen_here(described: Mapping[str, Any], datamodule: ECGDataModule) -> Iterator[Seen]:
    """Return the folds that a checkpoint has seen of this run's data set, or of a data set that may be the same."""
    return (seen for seen in _seen(described) if not _is_other(seen.get("dataset"), datamodule))


def _is_other(name: str | None, datamodule: ECGDataModule) -> bool:
    if name is None or name == datamodule.dataset:
        return False
    if _TABLE in name and _TABLE in datamodule.dataset:  # a copy of the folder may have another name
        _warn_of_another_table(name, datamodule.dataset)
    return True


@cache
def _warn_of_another_table(name: str, own: str) -> None:
    log.warning(
        "a checkpoint was trained on %s, and this run reads %s: if these are versions of one table, records of its "
        "training folds may be held out here. Write the folds into the table, and keep them",
        name,
        own,
    )


def _if_unknown(seen: Seen) -> str:
    if seen.get("dataset") is not None:
        return ""
    return ". The checkpoint does not name its data set, which is therefore assumed to be this run's"
