"""Packages of the extra `compress`, imported where they are needed."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from ecg_lightning.errors import MissingPackageError

# OpenVINO and NNCF send usage data, from their import on, through the package `openvino_telemetry` unless a file in
# the user's home declines. Both fall back to a stub where it cannot be imported, so it is made to look absent in this
# process. That works only before their first import: import them through `import_extra`.
cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)

# NNCF compiles its kernels once for each version of PyTorch; its own limit of 60 s is too short for a busy laptop.
os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", "900")


def import_extra(name: str) -> Any:
    """The module `name`, such as `openvino`.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        # How torchao registers its classes, and, for NNCF, that there is no CUDA device.
        with hushed("torch.utils._pytree", "torch.utils.cpp_extension"):
            return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise MissingPackageError(
            f"the package {missing} is not installed. Install it in a clone of the repository with: pip install "
            "'.[compress]'"
        ) from None


@contextmanager
def hushed(*loggers: str) -> Iterator[None]:
    """Without warnings, and without what these loggers say below an error: notices that the user cannot act upon."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)


@functools.cache
def openvino_core() -> Any:
    """The process's one OpenVINO core.

    The CPU plugin of a core sets a signal stack and, when the core goes, sets the one that was there before. Of two
    cores that overlap the last one to go sets a stack that the other has freed, and the next signal that Python
    handles (Ctrl-C, the end of a loader's worker) crashes the process.

    Raises:
        MissingPackageError: OpenVINO is not installed.
    """
    return import_extra("openvino").Core()
