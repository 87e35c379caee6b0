"""The part of a recording that a model uses: its first seconds, at the model's sampling rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.wfdb import RecordError

RATES_HZ = (50, 20_000)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """The input length of a model.

    Attributes:
        sampling_rate: the model's sampling rate in Hz.
        n_samples: the number of samples per lead that the model uses.
    """

    sampling_rate: int
    n_samples: int

    @property
    def seconds(self) -> float:
        """The duration that the model uses, in seconds."""
        return self.n_samples / self.sampling_rate

    def samples_at(self, rate: float) -> int:
        """Return the number of samples per lead that the model uses of a recording of `rate` Hz.

        Raises:
            RecordError: the rate is not plausible for an ECG.
        """
        return math.ceil(self.n_samples / self._ratio(rate))

    def resample(self, signals_CT: Floats, rate: float) -> Floats:
        """Return the (C, `samples_at(rate)`) signals resampled to the model's sampling rate, as (C, n_samples)."""
        ratio = self._ratio(rate)
        if ratio != 1:
            from scipy.signal import resample_poly  # takes half a second to import, and is needed only here

            # A line through both ends is used, because zeros beyond them would bend a signal that is off the baseline.
            signals_CT = resample_poly(signals_CT, ratio.numerator, ratio.denominator, axis=1, padtype="line")
        return signals_CT[:, : self.n_samples]

    def is_at(self, rate: float) -> bool:
        """Return whether a recording of `rate` Hz needs no resampling."""
        return self._ratio(rate) == 1

    def _ratio(self, rate: float) -> Fraction:
        low, high = RATES_HZ
        if not low <= rate <= high:
            raise RecordError(f"its sampling rate is {rate:g} Hz, expected {low} to {high}")
        # Filters grow with both numbers of the ratio. An odd rate becomes the nearest simple one, within a sample.
        return (Fraction(self.sampling_rate) / Fraction(rate)).limit_denominator(1000)


@dataclass(frozen=True)
class Reading:
    """The twelve leads of a recording, cut to the part that a model uses.

    Attributes:
        signals_CT: (12, T) in mV, leads in the standard order.
        rate: the sampling rate in Hz.
        n_total: the number of samples per lead in the whole recording.
    """

    signals_CT: Floats
    rate: float
    n_total: int
