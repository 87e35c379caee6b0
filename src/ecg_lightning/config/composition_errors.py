"""Sentences for errors of Hydra's composition: the key, its value, and the nearest known name.

They use the fields of the exceptions, never their messages.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

from ecg_lightning.components.registry import why_not_offered
from ecg_lightning.config import conf_folder
from ecg_lightning.config import schema as config
from ecg_lightning.config.quoting import quoted
from ecg_lightning.config.safe_composition import ConfigFileError
from ecg_lightning.errors import UserError, did_you_mean

_TRAINING_ALONE = ("model", "frontend", "train", "test", "experiment")
_OF_A_SEARCH = ("n_trials", "n_jobs", "direction", "storage", "study_name", "max_failure_rate", "sampler")
_PACKAGES = {
    "hydra/sweeper/optuna": "'.[search]', in a clone of the repository",
    "hydra/launcher/joblib": "hydra-joblib-launcher",
    "hydra/launcher/submitit_local": "hydra-submitit-launcher",
    "hydra/launcher/submitit_slurm": "hydra-submitit-launcher",
    "hydra/launcher/ray": "hydra-ray-launcher",
}
"""Requirement for pip to install for each option of Hydra."""

_CALLED = {
    "epochs": "trainer.max_epochs",
    "max_epoch": "trainer.max_epochs",
    "learning_rate": "model.optimizer.lr",
    "optimizer": "model.optimizer.name",
    "scheduler": "model.scheduler.name",
    "batch": "data.batch_size",
    "bs": "data.batch_size",
    "workers": "data.num_workers",
    "ema": "callbacks=ema",
    "swa": "callbacks=swa",
    "patience": "callbacks.early_stopping.patience",
    "early_stopping": "callbacks.early_stopping",
    "image_size": "frontend.size",
    "checkpoint": "ckpt_path",
    "ckpt": "ckpt_path",
    "resume": "ckpt_path",
    "output_dir": "hydra.run.dir",
    "device": "hardware=cuda or hardware=cpu",
    "devices": "hardware=cuda or hardware=cpu",
    "gpu": "hardware=cuda",
    "cuda": "hardware=cuda",
    "accelerator": "hardware=cuda or hardware=cpu",
}
"""Usual names of settings in other programs, and this program's settings."""

_FAMILIES = {
    "xresnet": "xresnet1d50, xresnet1d101 or xresnet1d18",
    "resnet": "resnet18d (on images), resnet1d_wang or xresnet1d50 (on signals)",
    "efficientnet": "effnetv2",
    "inception": "inception1d",
    "transformer": "vit (on images) or vit1d (on signals)",
}
"""Beginnings of other names of networks, and the options that are meant."""

_LONGEST = 1_500  # characters of a sentence, which may contain a stranger's value
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def explain(error: BaseException, program: str = "train", typed: Sequence[str] = ()) -> str:
    """Return one sentence for an error of Hydra's composition or of this package, with long values cut.

    Args:
        error: the error that was raised.
        program: `train` or `compress`, because some keys belong to one of them.
        typed: the command line, if the error came from one.
    """
    sentence = _explain(error, program, typed)
    if len(sentence) <= _LONGEST:
        return sentence
    return f"{sentence[: _LONGEST // 2]} … {sentence[-_LONGEST // 2 :]}"


def explain_option(option: str, program: str) -> str:
    """Return one sentence for an unknown option of the command line, such as `--epochs`.

    Args:
        option: the option as it was typed.
        program: `train` or `compress`.
    """
    key, _, value = option.lstrip("-").replace("-", "_").partition("=")
    groups = [path.name for path in _folders() if path.parent == conf_folder.config_dir()]
    meant = key if key in (*groups, *config.leaf_keys()) else _meant_by(key, program)
    example = f"{meant}={value or 'VALUE'}" if meant and "=" not in meant else meant
    hint = f" Did you mean {example}?" if example else ""
    return f"{option}: there is no such option; a setting is written KEY=VALUE, without dashes.{hint}"


def _explain(error: BaseException, program: str, typed: Sequence[str]) -> str:
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, OverrideParseException):
            return _explain_grammar(link.override, typed)
        if isinstance(link, MissingConfigException):
            return _explain_missing(link)
    where = next((f"{link.config_path}.yaml: " for link in chain if isinstance(link, ConfigFileError)), "")
    if where.startswith("schema/"):
        group, _, option = where.removeprefix("schema/").removesuffix(".yaml: ").partition("/")
        return f"{group}={option}: this program cannot use that option; --help lists its own"
    for link in chain:
        if isinstance(link, OmegaConfBaseException) and link.full_key:
            if isinstance(link, ConfigAttributeError | ConfigKeyError):
                return where + _explain_key(link, program, typed)
            if isinstance(link, InterpolationResolutionError) and link.full_key == "_dummy_":  # Hydra's name for it
                return f"a list of defaults: {str(link).splitlines()[0]}. Write the option out"
            if isinstance(link, InterpolationResolutionError):
                return f"{where}{link.full_key}: {str(link).splitlines()[0]}"
            if isinstance(link, ValidationError):
                return where + _explain_value(link)
    told = next((link for link in chain if isinstance(link, OmegaConfBaseException)), error)
    return where + " ".join(str(told).split("\n    full_key:")[0].split())


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _explain_grammar(override: str, typed: Sequence[str]) -> str:
    if "=" not in override:
        after = typed[typed.index(override) + 1 :] if override in typed else ()
        if after and re.fullmatch(r"[\w./@]+", override) and not re.match(r"-|.*=", after[0]):
            return f"{override} {after[0]}: a setting is written with =. Write {override}={after[0]}"
        return (
            f"{override}: this is not a setting. Write key=value, as in model=vit; a value with spaces needs quotes, "
            "as in \"data.root='/my data'\""
        )
    if override.partition("=")[2].lstrip().startswith(("[", "{")):
        return f"{override}: brackets and quotes in a list must match, as in 'data.val_folds=[8,9]'"
    if (way_out := quoted(override)) is None:
        return f"{override}: this cannot be read as key=value; see hydra.cc/docs/advanced/override_grammar/basic"
    return f"{override}: a value with spaces or special characters needs quotes. Write it as {way_out}"


def _explain_missing(error: MissingConfigException) -> str:
    named = error.missing_cfg_file or ""
    group, _, option = named.rpartition("/")
    if package := _PACKAGES.get(named):
        return f"{group}={option} is not installed; install it with: pip install {package}"
    if not error.options:
        return f"{named or 'the configuration'}: there is no such file in the configuration's folders"
    if why := why_not_offered("stage" if group == "compression" else group, option):
        return f"{group}={option}: {why}"
    options = list(error.options)
    family = next((names for begin, names in _FAMILIES.items() if group == "model" and option.startswith(begin)), None)
    meant = f" Did you mean {family}?" if family else did_you_mean(option, options)
    return f"{group}={option}: allowed are {', '.join(options)}.{meant}"


def _explain_value(error: ValidationError) -> str:
    """Return the sentence for a value of the wrong type, or for an option's name that was given as a value."""
    key, value, wanted = str(error.full_key), error.value, _wanted(error)
    if dataclasses.is_dataclass(wanted):
        folder = key.replace(".", "/")
        if isinstance(value, str) and (conf_folder.config_dir() / folder / f"{value}.yaml").is_file():
            return f"{key}={value}: this names an option. Choose it with a slash: {folder}={value}"
        names = [entry.name for entry in dataclasses.fields(wanted)]
        return f"{key}={value}: holds {', '.join(names)}. Set one of them, as in {key}.{names[0]}=VALUE"
    if value is None or str(value) == "None":
        return f"{key}=null: it cannot be null. Leave it out, or set it to a value"
    if typing.get_origin(wanted) is list:
        return f"{key}={value}: must be a list, as in {key}=[{value}]"
    if typing.get_origin(wanted) is dict:
        return f"{key}={value}: must be a mapping, as in {key}={{NAME:VALUE}}"
    return f"{key}={value}: must be {_WORDS.get(wanted, 'of another type')}"


def _wanted(error: ValidationError) -> Any:
    """Return the type that a value should have: that of a dataclass's field, or of a list's entries."""
    owner = error.object_type
    if dataclasses.is_dataclass(owner):
        wanted = typing.get_type_hints(owner).get(str(error.key))
    else:
        wanted = (typing.get_args(error.ref_type) or (None,))[-1]
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):  # a type or None
        wanted = next(one for one in typing.get_args(wanted) if one is not type(None))
    return wanted


def _explain_key(error: ConfigAttributeError | ConfigKeyError, program: str, typed: Sequence[str]) -> str:
    """Return the sentence for an unknown key: its deepest known part, the keys there, and the nearest name."""
    key, name = str(error.full_key), str(error.key)
    where = key.removesuffix(name).rstrip(".")
    known = [str(one) for one in error.parent_node or () if one not in ("kind", "hydra")]
    group = key.split(".")[0]
    if "/" in key:
        groups = sorted(str(path.relative_to(conf_folder.config_dir())) for path in _folders())
        return f"{key}: there is no such group; known are {', '.join(groups)}.{did_you_mean(key, groups)}"
    if where == "hydra.sweeper" and name in _OF_A_SEARCH:
        return f"{key}: only a search by Optuna has this key. Add hydra/sweeper=optuna, or choose an hparams_search"
    if program == "compress" and group in _TRAINING_ALONE:
        return f"{key}: the checkpoint sets this in compress.py. Set it in train.py"
    if where in ("trainer.extra", "model.arguments"):
        return f"{key}: {where} has no such key yet. Add it with +{key}=VALUE"
    if where == "logger" and not known:
        return f"{key}: logger=none has no such key; logger=tensorboard and logger=csv bring one logger each"
    if where == "callbacks.extra":
        return f"{key}: no such callback was chosen; callbacks=ema and callbacks=swa bring one each"
    if key.startswith("compression.stages."):
        return (
            f"{key}: the chosen compression has no such stage, or the stage has no such key; python compress.py "
            f"compression=NAME --cfg job shows them.{did_you_mean(name, known)}"
        )
    if having := [one for one in _options_with(group, key.removeprefix(f"{group}.")) if where == group]:
        return f"{key}: the chosen {group} has no such key; these options have it: {', '.join(having)}"
    key = next((one for one in (part.partition("=")[0] for part in typed) if one.startswith(f"{key}.")), key)
    if meant := _meant_by(key, program) or _CALLED.get(name):
        return f"{key}: there is no such key. Did you mean {meant}?"
    inside = f"{where} holds" if where else "known are"
    nearest = {one: one for one in known}
    if not where:
        nearest |= {path.name: path.name for path in _folders() if path.parent == conf_folder.config_dir()}
    close = difflib.get_close_matches(name, nearest, 1, 0.5 if where else 0.75)
    if not (where or close):
        nearest |= {one.rpartition(".")[2]: one for one in reversed(config.leaf_keys())}
        close = difflib.get_close_matches(name, nearest, 1, 0.5)
    hint = f" Did you mean {nearest[close[0]]}?" if close else ""
    return f"{key}: there is no such key; {inside} {', '.join(known) or 'nothing'}.{hint}"


def _meant_by(key: str, program: str) -> str | None:
    """Return the known key with an unknown key's ending, or with its name in other programs; None if there is none.

    A key of the same group comes first, then a key of the training, then the shortest.
    """
    group, _, name = key.rpartition(".")
    if group.split(".")[0] in ("hydra", "logger", "callbacks", "compression", "paths"):
        return None
    if program == "compress" and name in ("epochs", "lr"):
        return f"compression.fine_tune.{name}"
    if name in _CALLED:
        return _CALLED[name]
    ends = [one for one in config.leaf_keys() if one.endswith(f".{key}") or (one.endswith(f".{name}") and group)]
    if program == "compress":
        ends = [one for one in ends if one.split(".")[0] not in _TRAINING_ALONE]
    first = group.split(".")[0]
    order = ("model.optimizer", "data", "trainer", "hardware")
    ranked = sorted(
        ends,
        key=lambda one: (
            not (first and one.startswith(f"{first}.")),
            next((place for place, start in enumerate(order) if one.startswith(f"{start}.")), len(order)),
            one.count("."),
        ),
    )
    return ranked[0] if ranked else None


def _options_with(group: str, name: str) -> Sequence[str]:
    """Return the options of a group whose settings include a name."""
    schemas = config.SCHEMAS.get(group, {}).items()
    return [option for option, schema in schemas if name in {entry.name for entry in dataclasses.fields(schema)}]


def _folders() -> Iterator[Any]:
    return (path for path in conf_folder.config_dir().rglob("*") if path.is_dir())
