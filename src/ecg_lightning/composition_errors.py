"""Sentences for errors of Hydra's composition: the key, its value, and the nearest known name."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ecg_lightning import config
from ecg_lightning.errors import UserError

_TRAINING_ALONE = ("model", "frontend", "train", "test", "experiment")


def explain(error: BaseException) -> str:
    """One sentence for an error of Hydra's composition or of this package, with the nearest known name."""
    if isinstance(error, UserError):
        return str(error)
    messages: list[str] = []
    link: BaseException | None = error
    while link is not None and len(messages) < 5:
        messages.append(str(link))
        link = link.__cause__ or link.__context__
    text = "\n".join(messages)
    if match := re.search(r"Key '([^']+)' (?:is not in struct|not in '\w+')(?:.|\n)*?full_key: (\S+)", text):
        return _explain_key(match.group(2))
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match.group(1)}: several values are a sweep: add -m"
    if match := re.search(r"Could not override '([^']+)'", text):
        detail = re.search(r"(Value '.*?' of type '.*?' could not be converted to \w+|Invalid value .*)", text)
        if detail:
            return f"{match.group(1)}: {detail.group(1)}"
        return _explain_key(match.group(1))
    if match := re.search(r"(Value '.*?' of type '.*?' could not be converted to \w+)(?:.|\n)*?full_key: (\S+)", text):
        return f"{match.group(2)}: {match.group(1)}"
    if match := re.search(
        r"(?:In '.*?': )?Could not find '([\w/]+)/([^'/]+)'(?:.|\n)*?Available options in '.*?':\n((?:\t\S+\n?)+)", text
    ):
        group, option, options = match.group(1), match.group(2), match.group(3).split()
        if (group, option) == ("hydra/sweeper", "optuna"):
            return "hydra-optuna-sweeper is not installed; install it with: pip install 'ecg-lightning[search]'"
        return f"{group}={option}: allowed are {', '.join(options)}.{config.did_you_mean(option, options)}"
    if match := re.search(r"In 'schema/(\w+)/(\w+)'(?:.|\n)*?is not a subclass of", text):
        return f"{match.group(1)}={match.group(2)}: this program cannot use that option; --help lists its own"
    told = messages[:2] if messages[0].startswith("Error merging override") else messages[:1]
    return re.sub(r"\s+", " ", ": ".join(told)).strip()


def _explain_key(key: str) -> str:
    """The deepest known part of an unknown key, what it holds, and the nearest name."""
    if key.startswith("hydra."):
        return f"{key}: Hydra has no such setting; those of this project are hydra.run.dir and hydra.sweep.dir"
    if match := re.fullmatch(r"compression\.stages\.\w+(?:\.(\w+))?", key):
        names = {entry.name for schema in config.SCHEMAS["stage"].values() for entry in dataclasses.fields(schema)}
        return (
            f"{key}: the chosen compression has no such stage, or the stage no such key; python compress.py "
            f"compression=NAME --cfg job shows them.{config.did_you_mean(match.group(1) or '', sorted(names))}"
        )
    if "compress" in Path(sys.argv[0].split()[-1]).stem and key.split(".")[0] in _TRAINING_ALONE:
        return f"{key}: compress.py takes it from the checkpoint; train.py has it"
    known = OmegaConf.create(_known_keys())
    parent, parts = known, key.lstrip("+").split(".")
    for depth, part in enumerate(parts):
        if not isinstance(parent, DictConfig) or part not in parent:
            where = ".".join(parts[:depth])
            options = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
            full = f"{where}.{part}" if where else part
            if where == "trainer.extra":
                return f"{key}: trainer.extra holds nothing yet; add to it with +{key}=VALUE"
            if where == "callbacks.extra":
                return f"{key}: no such callback was chosen; callbacks=ema and callbacks=swa bring one each"
            inside = f"{where} holds" if where else "known are"
            return f"{full}: there is no such key; {inside} {', '.join(options)}.{config.did_you_mean(part, options)}"
        parent = parent[part]
    group, _, name = key.partition(".")
    having = [
        option
        for option, schema in config.SCHEMAS.get(group, {}).items()
        if name.split(".")[0] in {entry.name for entry in dataclasses.fields(schema)}
    ]
    return f"{key}: the chosen {group} has no such key; these options have it: {', '.join(having) or 'none'}"


def _known_keys() -> dict[Any, Any]:
    """Every key of the schemas; a group's options are merged, since the error does not say which one was chosen."""
    known = OmegaConf.to_container(OmegaConf.structured(config.TrainConfig), throw_on_missing=False)
    assert isinstance(known, dict)
    for group, options in config.SCHEMAS.items():
        for schema in options.values() if group in known else ():
            known[group] |= OmegaConf.to_container(OmegaConf.structured(schema), throw_on_missing=False)
    known["callbacks"]["early_stopping"] = OmegaConf.to_container(OmegaConf.structured(config.EarlyStoppingConfig))
    return known
