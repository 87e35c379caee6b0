"""SHA-256 files beside a model's files, and the check that the files are unchanged."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ecg_lightning.deployment.model_file import check_size
from ecg_lightning.deployment.runtimes.runtime import files_of
from ecg_lightning.errors import ModelFileError
from ecg_lightning.system.disk import write_whole

_MOST = 4096
"""Bytes of a checksum file that are read, enough for two lines."""


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file.

    Raises:
        ModelFileError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror}); check its permissions") from None


def write_checksum(path: Path) -> Path:
    """Write `<name>.sha256` beside a model for `sha256sum --check`, and return its path. An .xml includes its .bin."""
    target = _beside(path)
    text = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files_of(path))
    write_whole(target, text)
    return target


def check_checksum(path: Path) -> None:
    """Compare a model's files with the checksum beside them, if there is one.

    Raises:
        ModelFileError: a file is not the exported one.
    """
    if not _beside(path).is_file():
        return
    with _beside(path).open("rb") as sums:
        lines = [line.partition("  ") for line in sums.read(_MOST).decode(errors="replace").splitlines()]
    expected = {name: digest for digest, _, name in lines}
    for file in files_of(path):
        if file.is_file() and check_size(file) and expected.get(file.name) != sha256_of(file):
            raise ModelFileError(
                f"{file} is not the file that was exported: its SHA-256 differs from {_beside(path).name}; copy "
                "the variant's whole folder again, or export it again"
            )


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
