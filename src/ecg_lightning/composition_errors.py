"""Sentences for errors of Hydra's composition: the key, its value, and the nearest known name.

They are made of the fields of the exceptions, never of their messages.
"""

from __future__ import annotations

import dataclasses
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

from ecg_lightning import config
from ecg_lightning.errors import UserError
from ecg_lightning.quoting import quoted
from ecg_lightning.safe_composition import ConfigFileError

_TRAINING_ALONE = ("model", "frontend", "train", "test", "experiment")
_OF_A_SEARCH = ("n_trials", "n_jobs", "direction", "storage", "study_name", "max_failure_rate", "sampler")
_PACKAGES = {
    "hydra/sweeper/optuna": "'ecg-lightning[search]'",
    "hydra/launcher/joblib": "hydra-joblib-launcher",
    "hydra/launcher/submitit_local": "hydra-submitit-launcher",
    "hydra/launcher/submitit_slurm": "hydra-submitit-launcher",
    "hydra/launcher/ray": "hydra-ray-launcher",
}
"""The requirement to install for each option of Hydra, as pip takes it."""

_LONGEST = 1_500  # characters of a sentence; a value in it may be a stranger's
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def explain(error: BaseException, program: str = "train") -> str:
    """Return one sentence for an error of Hydra's composition or of this package, long values cut.

    Args:
        error: what was raised.
        program: `train` or `compress`; some keys belong to one of them.
    """
    sentence = _explain(error, program)
    if len(sentence) <= _LONGEST:
        return sentence
    return f"{sentence[: _LONGEST // 2]} … {sentence[-_LONGEST // 2 :]}"


def _explain(error: BaseException, program: str) -> str:
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, OverrideParseException):
            return _explain_grammar(link.override)
        if isinstance(link, MissingConfigException):
            return _explain_missing(link)
    where = next((f"{link.config_path}.yaml: " for link in chain if isinstance(link, ConfigFileError)), "")
    if where.startswith("schema/"):
        group, _, option = where.removeprefix("schema/").removesuffix(".yaml: ").partition("/")
        return f"{group}={option}: this program cannot use that option; --help lists its own"
    for link in chain:
        if isinstance(link, OmegaConfBaseException) and link.full_key:
            if isinstance(link, ConfigAttributeError | ConfigKeyError):
                return where + _explain_key(link, program)
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


def _explain_grammar(override: str) -> str:
    if "=" not in override:
        return (
            f"{override}: this is no setting. Write key=value, as in model=vit; a value with spaces needs quotes, "
            "as in \"data.root='/my data'\""
        )
    if override.partition("=")[2].lstrip().startswith(("[", "{")):
        return f"{override}: brackets and quotes inside of a list must match, as in 'data.val_folds=[8,9]'"
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
    options = list(error.options)
    return f"{group}={option}: allowed are {', '.join(options)}.{config.did_you_mean(option, options)}"


def _explain_value(error: ValidationError) -> str:
    """Say what a value of the wrong type should be; or the option of a group, where its name was given as a value."""
    key, value, wanted = str(error.full_key), error.value, _wanted(error)
    if dataclasses.is_dataclass(wanted):
        folder = key.replace(".", "/")
        if isinstance(value, str) and (config.config_dir() / folder / f"{value}.yaml").is_file():
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
    """Return the type that a value should have had: of a dataclass's field, or of a list's entries."""
    owner = error.object_type
    if dataclasses.is_dataclass(owner):
        wanted = typing.get_type_hints(owner).get(str(error.key))
    else:
        wanted = (typing.get_args(error.ref_type) or (None,))[-1]
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):  # of something and None
        wanted = next(one for one in typing.get_args(wanted) if one is not type(None))
    return wanted


def _explain_key(error: ConfigAttributeError | ConfigKeyError, program: str) -> str:
    """Name the deepest known part of an unknown key, what it holds, and the nearest name."""
    key, name = str(error.full_key), str(error.key)
    where = key.removesuffix(name).rstrip(".")
    known = [str(one) for one in error.parent_node or () if one not in ("_target_", "hydra")]
    group = key.split(".")[0]
    if "/" in key:
        groups = sorted(str(path.relative_to(config.config_dir())) for path in _folders())
        return f"{key}: there is no such group; known are {', '.join(groups)}.{config.did_you_mean(key, groups)}"
    if where == "hydra.sweeper" and name in _OF_A_SEARCH:
        return f"{key}: only a search by Optuna has this key. Add hydra/sweeper=optuna, or choose an hparams_search"
    if program == "compress" and group in _TRAINING_ALONE:
        return f"{key}: compress.py takes it from the checkpoint; train.py has it"
    if where == "trainer.extra":
        return f"{key}: trainer.extra holds nothing yet; add to it with +{key}=VALUE"
    if where == "callbacks.extra":
        return f"{key}: no such callback was chosen; callbacks=ema and callbacks=swa bring one each"
    if key.startswith("compression.stages."):
        return (
            f"{key}: the chosen compression has no such stage, or the stage no such key; python compress.py "
            f"compression=NAME --cfg job shows them.{config.did_you_mean(name, known)}"
        )
    if having := [one for one in _options_with(group, key.removeprefix(f"{group}.")) if where == group]:
        return f"{key}: the chosen {group} has no such key; these options have it: {', '.join(having)}"
    inside = f"{where} holds" if where else "known are"
    return f"{key}: there is no such key; {inside} {', '.join(known) or 'nothing'}.{config.did_you_mean(name, known)}"


def _options_with(group: str, name: str) -> Sequence[str]:
    """Return the options of a group whose settings have a name."""
    schemas = config.SCHEMAS.get(group, {}).items()
    return [option for option, schema in schemas if name in {entry.name for entry in dataclasses.fields(schema)}]


def _folders() -> Iterator[Any]:
    return (path for path in config.config_dir().rglob("*") if path.is_dir())
