"""One setting of a component: its default, its bounds and one line of help, declared once in a schema.

A schema is a dataclass of settings. Its constructor, Hydra's checks, `--help` and the reference pages all read it.
Nothing here imports PyTorch, so a wrong key, type or value is refused in under a second.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any


def setting(default: Any, help: str, **bounds: Any) -> Any:
    """Declare a field of a schema.

    Args:
        default: the value without any configuration; a list or mapping is copied for each instance.
        help: one line for `--help` and the reference pages.
        **bounds: allowed values, see `validation.check_value`: `choices`, `min`, `max`, `above` (exclusive minimum),
            `pattern` (and how it is called), `batches` (Lightning's number or share of batches).
    """
    metadata = {"help": help, **bounds}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
