"""Checkpoints that describe themselves: the description of a classifier, and the classifier built from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from ecg_lightning.checkpoints.building import build_module, build_restorable
from ecg_lightning.checkpoints.description import KEYS, check_description, check_state
from ecg_lightning.checkpoints.io import load_checkpoint, save_checkpoint
from ecg_lightning.components.registry import renamed
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.data.sources import source_class
from ecg_lightning.errors import CheckpointError, ConfigError, ForeignCodeError
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.frontend.schema import FrontendConfig
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.models.schema import ModelConfig
from ecg_lightning.models.structure import plain_classifier
from ecg_lightning.version import __version__

_FORMAT = 2  # components by name in place of class paths
_READ = (1, _FORMAT)


def describe(
    model: ModelConfig,
    frontend: FrontendConfig,
    data: DataConfig,
    datamodule: ECGDataModule,
    choices: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """Return the plain values from which a checkpoint's model can be built again.

    Args:
        model: settings of the network and its recipe.
        frontend: settings of the front end.
        data: settings of the training data.
        datamodule: the data.
        choices: option of each group of the configuration, such as `{"model": "vit"}`.
        seed: seed of the training.
    """
    model_node = asdict(model)
    if "members" in model_node:  # comparisons find members by their files, from any folder
        model_node["members"] = [str(Path(path).expanduser().absolute()) for path in model_node["members"]]
    return {
        "format": _FORMAT,
        "version": __version__,
        "model": model_node,
        "frontend": asdict(frontend),
        "choices": {name: choices[name] for name in ("model", "frontend") if name in choices},
        "classes": list(datamodule.classes),
        "sampling_rate": datamodule.sampling_rate,
        "n_samples": datamodule.n_samples,
        "batch_size": datamodule.batch_size,
        "label_rule": datamodule.label_rule,
        "task": datamodule.task,
        "folds": {split: list(folds) for split, folds in datamodule.folds.items()},
        "dataset": datamodule.dataset,
        # A folder of real data is only read. A folder of synthetic data would also be written, even on another machine.
        "data": asdict(data) | (datamodule.source.files() if data.root else {}),
        "seed": seed,
    }


def check_classes(what: str, known: Sequence[str], datamodule: ECGDataModule) -> None:
    """Refuse a checkpoint whose classes are not those of the data.

    Args:
        what: key and value that name the checkpoint.
        known: the classes that the checkpoint predicts.
        datamodule: data of the same task.

    Raises:
        CheckpointError: the classes differ.
    """
    if tuple(known) != datamodule.classes:
        raise CheckpointError(
            f"{what} predicts {', '.join(known[:10])}, but data.task={datamodule.task} in {datamodule.root} has "
            f"{', '.join(datamodule.classes[:10])}: name another checkpoint, or the data that it was trained on"
        )


def data_option(description: Mapping[str, Any]) -> str | None:
    """Return the data that a checkpoint was trained on: an option of `data`; None if it is not known."""
    kind: str | None = description.get("data", {}).get("kind")
    return kind


def licences_of(description: Mapping[str, Any]) -> list[str]:
    """Return the licences and attributions of all data that a checkpoint was trained and fine-tuned on."""
    option = data_option(description)
    own = source_class(option).licence_of(description["data"]) if option else "not known"
    return list(dict.fromkeys([*description.get("licences", []), own]))


def members_of(described: Mapping[str, Any]) -> list[Path]:
    """Return the checkpoints that an ensemble averages, at their original paths, with the members of its members."""
    own = [Path(path).expanduser() for path in described["model"].get("members") or []]
    return own + [path for member in described.get("members", []) for path in members_of(member)]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint of this project, without running anything in it.

    Raises:
        CheckpointError: the file is not there, is damaged, holds code, is not from this project, or has impossible
            values.
    """
    file = Path(path).expanduser()
    checkpoint = load_checkpoint(file)
    described = checkpoint["ecg_lightning"] = renamed(checkpoint.get("ecg_lightning"))
    if not isinstance(described, dict) or any(key not in described for key in KEYS) or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{path} is not a checkpoint of ecg_lightning; name one, such as RUN/checkpoints/best.ckpt"
        )
    if described["format"] not in _READ:
        raise CheckpointError(
            f"{path} has checkpoint format {described['format']}, but this version ({__version__}) reads formats "
            f"up to {_FORMAT}; use ecg_lightning {described.get('version', 'of the version that wrote it')}"
        )
    described.setdefault("task", "superdiagnostic")  # the only task in old versions
    check_description(described, file)
    check_state(checkpoint["state_dict"], described, file)
    return checkpoint


def described_in(path: str | Path) -> dict[str, Any] | None:
    """Return the description in a checkpoint of this project; None for any other file."""
    try:
        return cast(dict[str, Any], read_checkpoint(path)["ecg_lightning"])
    except CheckpointError:
        return None


def save_classifier(
    classifier: ECGClassifier, path: Path, choices: Choices | None = None, deployed: Mapping[str, Any] | None = None
) -> Path:
    """Write a checkpoint of a classifier that was not trained, or was compressed, and return its path.

    Args:
        classifier: the classifier to save.
        path: path of the file.
        choices: choices made on the validation fold; None before it is scored.
        deployed: metadata of a deployed file, as plain values.
    """
    described = {name: value for name, value in classifier.description.items() if name != "chosen"}
    described |= {"chosen": choices.as_dict()} if choices else {}
    described |= {"deployed": dict(deployed)} if deployed else {}
    content = {"state_dict": classifier.state_dict(), "ecg_lightning": described}
    save_checkpoint(content, path)
    return path


def load_classifier(path: str | Path) -> ECGClassifier:
    """Return the classifier of a checkpoint with its model, front end, normalisation and thresholds.

    Raises:
        CheckpointError: see `load_module`; or the model is not a classifier.
    """
    module = load_module(path)
    if not isinstance(module, ECGClassifier):
        raise CheckpointError(
            f"{path} holds a {type(module).__name__}, which predicts no classes. Use the checkpoint of a classifier"
        )
    return module


def load_module(path: str | Path) -> ECGModule:
    """Return the model of a checkpoint with its weights.

    Raises:
        CheckpointError: see `read_checkpoint`; or the weights do not fit the description.
    """
    checkpoint = read_checkpoint(path)
    described = checkpoint["ecg_lightning"]
    try:
        with _no_more_parameters_than(checkpoint["state_dict"], compressed=bool(described.get("stages"))):
            module = _build(described, checkpoint["state_dict"])
        module.load_state_dict(checkpoint["state_dict"])
    except ForeignCodeError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (
        *(ConfigError, LookupError, TypeError, ValueError, AttributeError),
        *(ArithmeticError, AssertionError, RuntimeError),
    ) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise CheckpointError(f"the network of {path} cannot be built: {reason}. Use another checkpoint") from None
    module.description = described
    if isinstance(module, ECGClassifier):
        module.choices = (
            Choices.from_dict(described["chosen"], module.classes)
            if "chosen" in described
            else Choices.of_thresholds(module.classes, module.link, module.thresholds.numpy())
        )
    return module.eval()


@contextlib.contextmanager
def _no_more_parameters_than(state: Mapping[str, Any], compressed: bool) -> Iterator[None]:
    """Stop a description that would build a network much larger than the weights in its file.

    Building may make layers twice. The network before compression may be larger, by 1 / (1 - amount)² if channels were
    cut.
    """
    factor = 400 if compressed else 4
    n_left, elements_left = 20 * len(state) + 100, factor * _n_elements(state) + 1_000

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal n_left, elements_left
        n_left -= 1
        elements_left -= 0 if parameter is None or is_lazy(parameter) else parameter.numel()
        if min(n_left, elements_left) < 0:
            raise ValueError("its settings describe a network with more parameters than the file has weights")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _n_elements(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return sum(map(_n_elements, parts))


def _build(described: Mapping[str, Any], state: Mapping[str, Any]) -> ECGModule:
    """Return the model that a description describes, with its initial parameters."""
    model = {name: value for name, value in described["model"].items() if name not in ("pretrained", "weights")}
    members = [_classifier(_build(member, {})) for member in described.get("members", [])]
    module = build_module(
        model,
        described["frontend"],
        n_samples=described["n_samples"],
        duration_s=described["n_samples"] / described["sampling_rate"],
        seed=described["seed"],
        classes=tuple(described["classes"]),
        members=members,
    )
    module.description = dict(described)
    nodes = described.get("stages", [])  # a compressed model's structure
    if nodes:
        module.network = reparameterize(module.network)  # the first stage received a merged network
    for node in nodes:
        module = build_restorable(node, "stage").restore(plain_classifier(_classifier(module)), dict(state))
    return module


def _classifier(module: ECGModule) -> ECGClassifier:
    if not isinstance(module, ECGClassifier):
        raise ConfigError(f"a {type(module).__name__} predicts no classes")
    return module
