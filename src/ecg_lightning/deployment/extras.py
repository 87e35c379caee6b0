"""Import of the packages of the extra `compress` where they are needed."""

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

# OpenVINO and NNCF send usage data from their import on, through the package `openvino_telemetry`. Only a file in the
# user's home declines this. Both use a stub if the package cannot be imported, so this process makes it look absent.
# That works only before their first import, so import them through `import_extra`.
cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)

# NNCF compiles its kernels once for each version of PyTorch. Its own limit of 60 s is too short for a busy laptop.
os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", "900")


def import_extra(name: str) -> Any:
    """Return the module `name`, such as `openvino`.

    Raises:
        MissingPackageError: the package is not installed.
    """
    try:
        # Torchao logs how it registers its classes. NNCF's build logs that there is no CUDA device.
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
    """Silence warnings and these loggers below errors, because the user cannot act upon their notices."""
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
    """Return the process's one OpenVINO core.

    The CPU plugin of a core sets a signal stack. When the core is removed, the plugin restores the stack before it.
    With two overlapping cores, the last one removed restores a stack that the other has freed. Then the next signal
    that Python handles (Ctrl-C, the end of a loader's worker) crashes the process.

    Raises:
        MissingPackageError: OpenVINO is not installed.
    """
    return import_extra("openvino").Core()
