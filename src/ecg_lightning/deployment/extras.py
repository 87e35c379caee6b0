"""Packages of the extra `compress`, imported where they are needed."""

from __future__ import annotations

import importlib
import sys
from typing import Any, cast

from ecg_lightning.errors import MissingPackageError


def import_extra(name: str) -> Any:
    """The module `name`, such as `openvino`; without OpenVINO's telemetry, which would report every import.

    OpenVINO and NNCF send usage data through the package `openvino_telemetry` unless a file in the user's home
    declines, and no variable turns that off. Both fall back to a stub where the package cannot be imported, so it is
    made to look absent in this process; import them through this function only.

    Raises:
        MissingPackageError: it is not installed.
    """
    cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise MissingPackageError(
            f"the package {missing} is not installed; install it with: pip install 'ecg-lightning[compress]'"
        ) from None
