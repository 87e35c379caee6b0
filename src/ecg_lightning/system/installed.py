"""Extras of this package that are not installed, named in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ecg_lightning.errors import MissingPackageError


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Explain an import that fails within the block.

    Args:
        extra: of this package, which brings what is imported: `train` or `compress`.
        what: needs it, such as `training`.

    Raises:
        MissingPackageError: names the package that is missing, and what to install.
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
