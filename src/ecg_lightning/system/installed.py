"""Errors that name the missing package and the extra that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ecg_lightning.errors import MissingPackageError


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Explain an import that fails within the block.

    Args:
        extra: this package's extra that brings the import: `train` or `compress`.
        what: the task that needs the import, such as `training`.

    Raises:
        MissingPackageError: a package is missing. The message names it and the extra to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "ecg_lightning"):
            raise
        raise MissingPackageError(
            f"{what} needs the package {name}, which is not installed. Install it in a clone of the "
            f"repository with: pip install '.[{extra}]'"
        ) from None
