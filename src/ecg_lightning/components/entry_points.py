"""Architectures, front ends and stages that installed packages offer by entry points.

An entry point of the groups below names a component and the schema of its settings: `NAME = "package.schema:Config"`.
It is loaded only if the user trusts its package (see `trust`), so an installed package alone changes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ecg_lightning.components.trust import load_reference, trusted_packages
from ecg_lightning.errors import ForeignCodeError, UntrustedCodeError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

log = logging.getLogger(__name__)

GROUPS = {"frontend": "ecg_lightning.frontends", "model": "ecg_lightning.models", "stage": "ecg_lightning.stages"}
"""The entry point group of each kind of component."""


def offered(group: str, base: type[Any], taken: Iterable[str]) -> dict[str, type[Any]]:
    """Return the schemas that trusted packages offer, by name.

    A schema that cannot be loaded is left out with a warning.

    Args:
        group: `frontend`, `model` or `stage`.
        base: the class that the schemas inherit from.
        taken: the names of this program's own components.
    """
    found: dict[str, type[Any]] = {}
    for entry in _declared(GROUPS[group]) if trusted_packages() else ():
        try:
            found[entry.name] = _load(entry, base, [*taken, *found])
        except UntrustedCodeError:
            continue  # `why_absent` explains it when the user asks for this name
        except ForeignCodeError as error:
            log.warning("%s. It is left out", error)
    return found


def why_absent(group: str, name: str, base: type[Any], taken: Iterable[str]) -> str | None:
    """Return why a component that an installed package offers cannot be used, or None if no package offers the name."""
    for entry in _declared(GROUPS[group]):
        if entry.name == name:
            try:
                _load(entry, base, taken)
            except ForeignCodeError as error:
                return str(error)
    return None


def _load(entry: EntryPoint, base: type[Any], taken: Iterable[str]) -> type[Any]:
    """Load and check one schema.

    Raises:
        UntrustedCodeError: the user does not trust the package.
        ForeignCodeError: the schema cannot be loaded, or does not describe this kind of component.
    """
    subject = f"entry point {entry.name}"
    schema = load_reference(entry.value, subject)
    subject += f"={entry.value}"
    if not re.fullmatch(r"[a-z]\w*", entry.name, re.ASCII) or entry.name in taken:
        raise ForeignCodeError(f"{subject}: this name is taken, or is not made of small letters, digits and _")
    if not (isinstance(schema, type) and issubclass(schema, base) and dataclasses.is_dataclass(schema)):
        raise ForeignCodeError(f"{subject}: this is no dataclass that inherits from {base.__module__}.{base.__name__}")
    declared = vars(schema)
    if not isinstance(declared.get("target"), str) or declared.get("kind") != entry.name:
        raise ForeignCodeError(
            f'{subject}: the schema must declare target = "package.module.Class" and kind("{entry.name}") itself'
        )
    return schema


@functools.cache
def _declared(group: str) -> EntryPoints:
    """Return the entry points of a group. This reads the metadata of every installed package, hence only on demand."""
    from importlib.metadata import entry_points  # this import is slow

    return entry_points(group=group)
