"""A model may not be judged by what it, its teacher or its weights have seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ecg_lightning.checkpoints import TASK_KEYS
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.errors import ConfigError


def learned_from(
    sources: Iterable[Mapping[str, Any]], begun: Iterable[dict[str, list[int]]] = ()
) -> list[dict[str, list[int]]]:
    """`folds` of all that a model learns from: teachers, first weights, members, and what these learned from.

    Args:
        sources: the descriptions of their checkpoints.
        begun: what the model had learned from before it went on.
    """
    found = list(begun)
    for folds in (folds for described in sources for folds in _seen(described)):
        if folds not in found:
            found.append(folds)
    return found


def _seen(described: Mapping[str, Any]) -> list[dict[str, list[int]]]:
    return [described["folds"], *described.get("learned_from", [])]


def check_taught(what: str, taught: Mapping[str, Any], datamodule: PTBXLDataModule) -> None:
    """A model of other labels knows another task; one that saw this run's held-out folds would leak them."""
    for name in TASK_KEYS:
        if taught[name] != (own := getattr(datamodule, name)):
            raise ConfigError(
                f"{what} was trained with data.{name}={taught[name]}, this run has {own}: set "
                f"data.{name}={taught[name]}, or take another one"
            )
    check_unseen(what, taught, datamodule)


def check_unseen(what: str, taught: Mapping[str, Any], datamodule: PTBXLDataModule) -> None:
    """One that saw the folds which this run holds out, or was chosen by those that it tests on, would leak them."""
    check_held_out(taught, datamodule, what)
    chosen_by = {fold for folds in _seen(taught) for fold in folds["val"]}
    if chosen := sorted(chosen_by & {*datamodule.folds["test"]}):
        raise ConfigError(
            f"{what}, or what it learned from, was chosen by fold {chosen[0]}, which this run tests on: take a "
            "checkpoint of other folds, or other data.test_folds"
        )


def check_held_out(described: Mapping[str, Any], datamodule: PTBXLDataModule, what: str) -> None:
    """Refuse a checkpoint that was trained on folds which this run chooses and scores by.

    Args:
        described: the checkpoint's description.
        datamodule: this run's.
        what: key and value that name the checkpoint.
    """
    held_out = {*datamodule.folds["val"], *datamodule.folds["test"]}
    if leaked := sorted(held_out & {*described["folds"]["train"]}):
        raise ConfigError(
            f"{what} was trained on fold {leaked[0]}, which this run holds out: choose its folds "
            f"(data.train_folds={described['folds']['train']}), or take another one"
        )
    taught_on = {fold for folds in _seen(described)[1:] for fold in folds["train"]}
    if leaked := sorted(held_out & taught_on):
        raise ConfigError(
            f"{what} learned from a model (teacher, first weights, members) that was trained on fold {leaked[0]}, "
            "which this run holds out: take another one, or hold other folds out"
        )


def fold_notes(described: Mapping[str, Any], datamodule: PTBXLDataModule) -> list[str]:
    """What an evaluation on folds that the checkpoint has seen must say."""
    tested = {*datamodule.folds["test"]}
    seen = {
        split: sorted(tested & {fold for folds in _seen(described) for fold in folds[split]})
        for split in ("train", "val")
    }
    what = {"train": "trained on", "val": "chosen by"}
    return [
        f"evaluated on folds {folds}, which the checkpoint, or what it learned from, was {what[split]}: on the same "
        "data the score is too good"
        for split, folds in seen.items()
        if folds
    ]
