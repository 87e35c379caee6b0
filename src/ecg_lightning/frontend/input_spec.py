"""The size of a network's input, which a front end states and an architecture is built for."""

from __future__ import annotations

from dataclasses import dataclass

from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.errors import ConfigError


@dataclass(frozen=True)
class InputSpec:
    """One record as a network receives it, without the batch.

    Attributes:
        shape: (leads, samples) of a signal, or (channels, height, width) of an image.
        duration_s: the seconds of the record, or of a window, that the network receives.
    """

    shape: tuple[int, ...]
    duration_s: float = DURATION_S

    def __str__(self) -> str:
        return f"{'a signal' if len(self.shape) == 2 else 'an image'} of {' × '.join(map(str, self.shape))}"

    @property
    def signal(self) -> tuple[int, int]:
        """The shape (leads, samples) of a signal.

        Raises:
            ConfigError: the input is an image.
        """
        if len(self.shape) != 2:
            raise ConfigError(f"this network needs a signal, but the front end makes {self}. Use frontend=signal")
        n_leads, n_samples = self.shape
        return n_leads, n_samples

    @property
    def image(self) -> tuple[int, int, int]:
        """The shape (channels, height, width) of an image.

        Raises:
            ConfigError: the input is a signal.
        """
        if len(self.shape) != 3:
            raise ConfigError(f"this network needs an image, but the front end makes {self}. Use frontend=matrix")
        channels, height, width = self.shape
        return channels, height, width
