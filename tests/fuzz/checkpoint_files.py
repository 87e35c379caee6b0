"""Checkpoints with hostile descriptions: refused, or built with the state and classes in the file."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hypothesis import strategies as st

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.checkpoints.io import save_checkpoint
from ecg_lightning.checkpoints.loading import data_option, load_classifier, members_of, read_checkpoint
from ecg_lightning.config import conf_folder
from ecg_lightning.config import schema as config
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.ptbxl_source import SyntheticSource
from ecg_lightning.data.schema import SyntheticConfig
from ecg_lightning.training.leakage import check_taught, data_notes, learned_from
from fuzz.lanes import Target, WrongAnswerError
from fuzz.mutation import damaged_bytes, damaged_tree

_CLASSES = ["CD", "HYP", "MI", "NORM", "STTC"]


def targets(folder: Path) -> list[Target]:
    """Return the targets, with their good files in `folder`."""
    good = folder / "good.ckpt"
    content = _checkpoint()
    save_checkpoint(content, good)
    written = torch.load(good, weights_only=True)  # with what the writer adds, such as a digest
    description = content["ecg_lightning"]
    drawn = st.one_of(
        damaged_tree(description).map(lambda tree: ("signed", {**content, "ecg_lightning": tree})),
        damaged_tree(description).map(lambda tree: ("plain", {**content, "ecg_lightning": tree})),
        damaged_tree(description).map(lambda tree: ("plain", {**written, "ecg_lightning": tree})),
        damaged_bytes(good.read_bytes()).map(lambda damaged: ("bytes", damaged)),
    )
    return [Target("checkpoint", drawn, partial(_check, folder, content))]


def _checkpoint() -> dict[str, Any]:
    config.register()
    with initialize_config_dir(str(conf_folder.config_dir()), version_base="1.3"):
        cfg = compose("train", ["model=resnet1d_wang", "model.channels=2", "paths.output_dir=unused"])
    model, frontend = config.plain(cfg.model), config.plain(cfg.frontend)
    classifier = build_classifier(model, frontend, n_samples=1000, seed=0, classes=tuple(_CLASSES), teacher=None)
    description = {
        "format": 1,
        "version": "0.1.0",
        "model": model,
        "frontend": frontend,
        "choices": {"model": "resnet1d_wang", "frontend": "signal"},
        "classes": _CLASSES,
        "sampling_rate": 100,
        "n_samples": 1000,
        "batch_size": 8,
        "label_rule": "benchmark",
        "task": "superdiagnostic",
        "folds": {"train": [1, 2], "val": [9], "test": [10]},
        "data": {"kind": "ptbxl"},
        "learned_from": [],
        "seed": 0,
    }
    return {"state_dict": classifier.state_dict(), "ecg_lightning": description}


def _check(folder: Path, good: dict[str, Any], drawn: tuple[str, Any]) -> None:
    way, content = drawn
    path = folder / "damaged.ckpt"
    if way == "bytes":
        path.write_bytes(content)
    elif way == "signed":  # as somebody can who writes checkpoints with this program
        save_checkpoint(content, path)
    else:
        torch.save(content, path, pickle_protocol=pickle.DEFAULT_PROTOCOL)
    described = read_checkpoint(path)["ecg_lightning"]
    classifier = load_classifier(path)
    expected = good["ecg_lightning"] if way == "bytes" else content["ecg_lightning"]
    if list(classifier.classes) != list(expected["classes"]) or described["classes"] != expected["classes"]:
        raise WrongAnswerError(f"classes {classifier.classes}, the file says {expected['classes']}")
    state = classifier.state_dict()
    if differing := [name for name, value in good["state_dict"].items() if not torch.equal(state[name], value)]:
        raise WrongAnswerError(f"{differing[0]} is not what the file holds")
    datamodule = ECGDataModule(
        SyntheticSource(SyntheticConfig(root=str(folder)))
    )  # never loaded: its folds and its task are what is compared
    for use in (data_option, members_of, lambda one: learned_from([one]), lambda one: dict(one["choices"])):
        use(described)
    data_notes(described, datamodule)
    check_taught("model.teacher=damaged.ckpt", described, datamodule)
