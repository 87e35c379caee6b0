"""Search for heart beats, to tell an ECG from noise, hum and wrong sampling rates.

The energy of the QRS band, 5 to 15 Hz, is averaged over 150 ms, as in J. Pan and W. J. Tompkins, "A real-time QRS
detection algorithm", IEEE Trans. Biomed. Eng. 32 (1985) 230-236. An ECG's energy comes in bursts; that of noise and
hum does not. The thresholds were measured at 100 Hz on 3,142 records of PTB-XL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from ecg_lightning.deployment.recordings.window import Floats

RATE_HZ = 100  # at which the signals are looked at
_BAND_HZ = (5.0, 15.0)
_ENERGY_S = 0.15
_EDGE_S = 0.4  # where the filter sees both ends, which the Fourier transform joins
_REFRACTORY_S = 0.25
_PROMINENCE = 0.3  # of a beat, of the largest ones
_LEAST_MV = 0.002  # root mean square in the QRS band, of the strongest lead; PTB-XL's least is 0.05
# Between the 95th and the 30th percentile of the energy, averaged over the leads; PTB-XL's least is 3.2, and white
# noise that obeys Einthoven reaches 2.4 at most.
_LEAST_CONTRAST = 2.5
# Between the 95th and the 50th percentile of the energy of one lead; white noise reaches 5.2 at most.
_CLEAR_CONTRAST = 6.0


@dataclass(frozen=True)
class Beats:
    """The beats of a recording.

    Attributes:
        found: whether any lead has beats.
        per_minute: heart rate; 0 where fewer than two beats were found.
        fast_share: of the power above 5 Hz, the share above 20 Hz; the median over the leads.
    """

    found: bool
    per_minute: float
    fast_share: float


def find_beats(signals_CT: Floats) -> Beats:
    """Search the beats in (C, T) mV at `RATE_HZ`; leads that are flat do not matter."""
    signals_CT = signals_CT[np.ptp(signals_CT, axis=1) > 0]
    spectrum_CF = np.fft.rfft(signals_CT - signals_CT.mean(axis=1, keepdims=True), axis=1)
    frequencies: Floats = np.fft.rfftfreq(signals_CT.shape[1], 1 / RATE_HZ).astype(np.float64)
    edge = round(_EDGE_S * RATE_HZ)
    band_CT = np.fft.irfft(spectrum_CF * _qrs_band(frequencies), signals_CT.shape[1], axis=1)[:, edge:-edge]
    energy_CT = _moving_average(band_CT**2, round(_ENERGY_S * RATE_HZ)) + 1e-12
    energy_T = np.mean(energy_CT / energy_CT.mean(axis=1, keepdims=True), axis=0)
    found = float(energy_CT.mean(axis=1).max()) >= _LEAST_MV**2 and (
        _contrast(energy_T, 30) >= _LEAST_CONTRAST
        or any(_contrast(one_T, 50) >= _CLEAR_CONTRAST for one_T in energy_CT)
    )
    return Beats(found, _per_minute(energy_T), _fast_share(np.abs(spectrum_CF).astype(np.float64) ** 2, frequencies))


def _qrs_band(frequencies: Floats) -> Floats:
    """Gain of a Butterworth band-pass of second order that runs forwards and backwards."""
    low, high = _BAND_HZ
    gain = np.zeros_like(frequencies)
    gain[1:] = 1 / (1 + ((frequencies[1:] - low * high / frequencies[1:]) / (high - low)) ** 4)
    return gain


def _moving_average(values_CT: Floats, width: int) -> Floats:
    sums = np.cumsum(np.pad(values_CT, ((0, 0), (1, 0))), axis=1)
    # Rounding may leave a sum slightly below zero.
    return np.maximum(sums[:, width:] - sums[:, :-width], 0) / width


def _contrast(energy_T: Floats, rest: float) -> float:
    """How many times the bursts exceed the time between them."""
    low, high = np.percentile(energy_T, (rest, 95))
    return float(high / low)


def _per_minute(energy_T: Floats) -> float:
    low, high = np.percentile(energy_T, (30, 98))
    least = _PROMINENCE * (high - low)
    peaks, _ = find_peaks(energy_T, height=low + least, prominence=least, distance=round(_REFRACTORY_S * RATE_HZ))
    return 60 * RATE_HZ / float(np.median(np.diff(peaks))) if len(peaks) > 1 else 0.0


def _fast_share(power_CF: Floats, frequencies: Floats) -> float:
    above_5, above_20 = (power_CF[:, frequencies > limit].sum(axis=1) for limit in (5, 20))
    return float(np.median(above_20 / (above_5 + 1e-12)))
