"""Errors that a user can act on. Each message names the file or key, the value, the reason and how to fix it."""

import difflib
import sys
from collections.abc import Sequence
from typing import NoReturn

from ecg_lightning.text import printable


class UserError(Exception):
    """A mistake in the user's input. It is printed as one sentence, without a traceback."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ConfigError(UserError):
    """A configuration value that cannot work."""


class ForeignCodeError(ConfigError):
    """Code of another package that does not exist, or does not do what it should."""


class UntrustedCodeError(ForeignCodeError):
    """Code of a package that the user does not trust. None of it was run."""


class UnsupportedModelError(ConfigError):
    """A technique that does not work with this model. In a sweep the cell is skipped."""


class DataError(UserError):
    """A data folder, table or record that cannot be used."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint or weights file that cannot be read, or does not fit."""

    exit_code = 3


class ExportError(UserError):
    """A model that an exporter cannot write."""

    exit_code = 3


class ModelFileError(UserError):
    """A deployed model file that cannot be read, or is not of this project."""

    exit_code = 3


class NotInt8Error(ModelFileError):
    """A file that was opened in int8, but of which the runtime computes nothing in int8."""


class MissingPackageError(UserError):
    """A package of an extra that is not installed."""


class DiskFullError(UserError):
    """A file that does not fit on its disk."""


class RunLockedError(UserError):
    """A run's folder that another process works in."""


class HardwareUnavailableError(UserError):
    """Hardware that this machine does not have. In a sweep the cell is skipped."""

    exit_code = 4


class TrainingDivergedError(UserError):
    """The loss stopped being a finite number."""

    exit_code = 5


class RefusedExit(SystemExit):
    """A user's mistake, raised where other code, such as Hydra's callbacks, turns any other exception into a warning.

    Args:
        error: the user's mistake.
    """

    def __init__(self, error: UserError) -> None:
        super().__init__(error.exit_code)
        self.error = error


def did_you_mean(wrong: str, known: Sequence[str]) -> str:
    """Return ` Did you mean …?` with the nearest known name, or an empty text."""
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""


def fail(message: str, code: int) -> NoReturn:
    """Print `error: message` and end the process with `code`."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(code)
