"""Objects from plain settings: components by their names in `registry`, callbacks and loggers by an allow-list.

Settings may come from a stranger's checkpoint. Hydra's own `instantiate` only has a block-list, so it is not used. A
`_target_` must be a class of this package or one of Lightning's callbacks and loggers, and of the expected kind.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging
from lightning.pytorch.loggers import Logger

from ecg_lightning.components.registry import moved, schema_of, settings_of
from ecg_lightning.components.trust import explain_foreign, package_of, trusted_packages
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.data.source import ECGSource
from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.errors import ConfigError, ForeignCodeError, UserError
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.frontend.schema import FrontendConfig
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.held_out import HeldOutTeacher
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import EnsembleConfig, ModelConfig
from ecg_lightning.models.structure import Restorable

log = logging.getLogger(__name__)

T = TypeVar("T")

Plain = Mapping[str, Any]
"""Settings as a checkpoint or a file holds them; those of a run are dataclasses."""

_ALLOWED_MODULES = ("ecg_lightning.", "lightning.pytorch.callbacks.", "lightning.pytorch.loggers.")


def build(node: Mapping[str, Any], expected: type[T], key: str, **more: Any) -> T:
    """Return the object that `node` describes by its `_target_` and arguments.

    Raises:
        ConfigError: the target is not on the allow-list, is of another kind, or does not take these arguments.
    """
    settings = dict(node)
    target = resolve(settings.pop("_target_", None), expected, key)
    arguments = {**settings, **more}
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{key}: {target.__name__} does not take these settings ({error})") from None
    return _made(target, key, **arguments)


def _made(target: type[T], key: str, *arguments: Any, **more: Any) -> T:
    """Return the object. A setting that the object refuses becomes a message of one sentence.

    Raises:
        ConfigError: a package is missing, or the object refuses a setting.
    """
    try:
        return target(*arguments, **more)
    except ImportError as error:
        raise ConfigError(f"{key}: {target.__name__} needs a package that is not installed ({error})") from None
    # Networks raise these for shapes that do not fit together.
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{key}: {target.__name__} cannot be built from these settings ({error})") from None


def resolve(name: Any, expected: type[T], key: str, trusted: tuple[str, ...] = ()) -> type[T]:
    """Return the class behind a class path, after a check of the class itself and not only of its name.

    Args:
        name: the class path.
        expected: base class that the class must have.
        key: key of the settings, for the message.
        trusted: a trusted package's name with a dot, if the path comes from that package's schema.

    Raises:
        ConfigError: the class is not on the allow-list, does not exist, or is not a subclass of `expected`.
    """
    allowed = (*_ALLOWED_MODULES, *trusted)
    if not isinstance(name, str) or not name.startswith(allowed):
        raise ConfigError(
            f"{key}._target_={name}: this class is not allowed. Name a class of ecg_lightning, or a callback or "
            "logger of Lightning"
        )
    module_name, _, attribute = moved(name).rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError):
        raise ConfigError(f"{key}._target_={name}: there is no such class") from None
    if not inspect.isclass(found) or not issubclass(found, expected) or not f"{found.__module__}.".startswith(allowed):
        raise ConfigError(f"{key}._target_={name}: this is not a {expected.__name__} of ecg_lightning or Lightning")
    return found


def _class_of(schema: type[Any], expected: type[T], key: str) -> type[T]:
    """Return the class that a schema names. A trusted package's schema may name a class of the same package.

    Raises:
        ConfigError: see `resolve`.
        ForeignCodeError: the package's module fails.
    """
    package = package_of(schema.__module__)
    if package not in trusted_packages():
        return resolve(schema.target, expected, key)
    try:
        return resolve(schema.target, expected, key, (f"{package}.",))
    except UserError:
        raise
    except Exception as error:  # code of others may raise anything
        raise ForeignCodeError(f"{key}: {schema.target} cannot be imported ({explain_foreign(error)})") from None


def build_datamodule(data: DataConfig | Plain, seed: int) -> ECGDataModule:
    """Return the data module of data settings, with the source that their `kind` names."""
    settings = settings_of("data", data, "data")
    kind: Any = ECGSource  # abstract, as mypy notes; only subclasses of it are made
    source = _made(resolve(settings.target, kind, "data"), "data", settings)
    folds = (settings.train_folds, settings.val_folds, settings.test_folds)
    return ECGDataModule(source, settings.batch_size, *folds, settings.num_workers, seed)


def build_classifier(model: ModelConfig | Plain, frontend: FrontendConfig | Plain, **more: Any) -> ECGClassifier:
    """Return a classifier. The arguments are those of `build_module`.

    Raises:
        ConfigError: the model cannot be built, or is not a classifier.
    """
    built = build_module(model, frontend, **more)
    if not isinstance(built, ECGClassifier):
        kind = settings_of("model", model, "model").kind
        raise ConfigError(f"model.kind={kind}: this model predicts no classes. Name a classifier")
    return built


def build_module(
    model: ModelConfig | Plain,
    frontend: FrontendConfig | Plain,
    *,
    n_samples: int,
    seed: int,
    duration_s: float = DURATION_S,
    classes: tuple[str, ...] = SUPERCLASSES,
    teacher: ECGClassifier | HeldOutTeacher | None = None,
    members: Sequence[ECGClassifier] = (),
) -> ECGModule:
    """Return a model with its front end, from their settings. `members` are an ensemble's models.

    The image gets the nearest size that the model's patches fill. A change of size is logged.
    """
    settings = settings_of("model", model, "model")
    patch_size = getattr(settings, "patch_size", 1)
    built = build_frontend(frontend, n_samples=n_samples, duration_s=duration_s, patch_size=patch_size)
    more: dict[str, Any] = {"members": list(members)} if isinstance(settings, EnsembleConfig) else {}
    if teacher is not None:
        more["distillation"] = Distillation(teacher, settings)
    kind: Any = ECGModule  # abstract, as mypy notes; only its children are made
    target = _class_of(type(settings), kind, "model")
    made: ECGModule = _made(target, "model", built, settings, classes=classes, seed=seed, **more)
    return made


def build_frontend(
    frontend: FrontendConfig | Plain, *, n_samples: int, duration_s: float = DURATION_S, patch_size: int = 1
) -> Frontend:
    """Return a front end for signals of `n_samples` in `duration_s`. Its image is a multiple of `patch_size`."""
    settings = settings_of("frontend", frontend, "frontend")
    target = _class_of(type(settings), Frontend, "frontend")
    return _made(target, "frontend", settings, n_samples, patch_size, duration_s)


def build_restorable(node: Any, key: str) -> Restorable:
    """Return a change of a classifier's structure, such as a compression stage, with the values that it found.

    Args:
        node: typed settings; or plain ones, as a checkpoint keeps them together with the values that were found.
        key: the node's key, for the message.
    """
    found: dict[str, Any] = {}
    if isinstance(node, Mapping):
        finds = _class_of(schema_of("stage", node, key), Restorable, key).finds
        found = {name: node[name] for name in finds if name in node}
        node = {name: value for name, value in node.items() if name not in found}
    settings = settings_of("stage", node, key)
    return _made(_class_of(type(settings), Restorable, key), key, settings, found)


def build_callbacks(nodes: Mapping[str, Any], output_dir: Path) -> list[Callback]:
    """Return the callbacks of `callbacks.extra`, which write inside the run's folder `output_dir`.

    Raises:
        ConfigError: a callback cannot be built, would write elsewhere, or its result would be lost.
    """
    for name, node in nodes.items():
        for key in ("dirpath", "output_dir", "filename"):
            path = Path(str(node.get(key) or "") if isinstance(node, Mapping) else "")
            written = (output_dir / path if key == "filename" else path).expanduser().resolve()
            if path.parts and not written.is_relative_to(output_dir.resolve()):
                raise ConfigError(
                    f"callbacks.extra.{name}.{key}={str(path)[:100]}: the path must be inside the run's folder. "
                    "Remove it, or start it with ${paths.output_dir}"
                )
    built = {name: build(node, Callback, f"callbacks.extra.{name}") for name, node in nodes.items() if node}
    for name, callback in built.items():
        if isinstance(callback, StochasticWeightAveraging):
            raise ConfigError(
                f"callbacks.extra.{name}: Lightning's StochasticWeightAveraging does not save the averaged "
                "weights, so other weights would be scored. Use callbacks=swa"
            )
    return [*built.values()]


def build_loggers(nodes: Mapping[str, Any], save_dir: str) -> list[Logger]:
    """Return the loggers of the `logger` node, which write inside the run's folder.

    Raises:
        ConfigError: a logger's folder would be outside it.
    """
    for logger, node in nodes.items():
        for key in ("name", "version", "sub_dir", "log_dir", "dir", "filename_suffix"):
            folder = str(node.get(key) or "") if isinstance(node, Mapping) else ""
            if folder.startswith("/") or ".." in folder.split("/"):
                raise ConfigError(
                    f"logger.{logger}.{key}={folder[:100]}: the path must be inside the run's folder. Use a relative "
                    "path without .."
                )
    kind: Any = Logger  # abstract, as mypy notes; only subclasses of it are made
    return [build(node, kind, f"logger.{name}", save_dir=save_dir) for name, node in nodes.items() if node]
