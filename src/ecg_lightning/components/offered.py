"""Architectures, front ends and stages that installed packages offer by entry points.

An entry point of the groups below names a component and the schema of its settings: `NAME = "package.schema:Config"`.
It is loaded only where the user trusts its package, see `trust`, so an installed package alone changes nothing.
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
"""Group of the entry points of each kind of component."""


def offered(group: str, base: type[Any], taken: Iterable[str]) -> dict[str, type[Any]]:
    """Return the schemas that trusted packages offer, by name; a broken one is left out with a warning.

    Args:
        group: `frontend`, `model` or `stage`.
        base: what its schemas inherit from.
        taken: names of this program's own components.
    """
    found: dict[str, type[Any]] = {}
    for entry in _declared(GROUPS[group]) if trusted_packages() else ():
        try:
            found[entry.name] = _load(entry, base, [*taken, *found])
        except UntrustedCodeError:
            continue  # `why_absent` says so where it is asked for
        except ForeignCodeError as error:
            log.warning("%s. It is left out", error)
    return found


def why_absent(group: str, name: str, base: type[Any], taken: Iterable[str]) -> str | None:
    """Return why a component that an installed package offers cannot be used; None where none offers this name."""
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
        UntrustedCodeError: the user does not trust its package.
        ForeignCodeError: it cannot be loaded, or is no schema of this kind of component.
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
    """Return the entry points of a group; this looks at every installed package, so it waits until it is needed."""
    from importlib.metadata import entry_points  # which takes long itself

    return entry_points(group=group)
