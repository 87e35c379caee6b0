"""Peaks of a signal, with the results of `scipy.signal.find_peaks`. SciPy would double the time of a prediction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


def find_peaks(values_T: Floats, height: float, prominence: float, distance: int) -> Places:
    """Return the indices of the peaks, in order. A plateau counts as one peak, at its middle.

    Args:
        values_T: the signal.
        height: the least value of a peak.
        prominence: the least drop on both sides of a peak before the signal rises above it.
        distance: the least number of samples between two peaks; the higher one stays.
    """
    changes = np.diff(values_T)
    moving = np.flatnonzero(changes)
    rises = changes[moving] > 0
    tops = np.flatnonzero(rises[:-1] & ~rises[1:])
    peaks: Places = (moving[tops] + 1 + moving[tops + 1]) // 2
    peaks = _thin_out(peaks[values_T[peaks] >= height], values_T, distance)
    prominent = [_prominence(values_T, place) >= prominence for place in peaks]
    return np.asarray(peaks[np.array(prominent, dtype=bool)])


def _thin_out(peaks: Places, values_T: Floats, distance: int) -> Places:
    kept = np.ones(len(peaks), dtype=bool)
    for place in np.argsort(values_T[peaks])[::-1]:
        if kept[place]:
            kept &= (np.abs(peaks - peaks[place]) >= distance) | (peaks == peaks[place])
    return peaks[kept]


def _prominence(values_T: Floats, place: int) -> float:
    higher = np.flatnonzero(values_T > values_T[place])
    start = higher[higher < place].max(initial=-1) + 1
    stop = higher[higher > place].min(initial=len(values_T))
    return float(values_T[place] - max(values_T[start : place + 1].min(), values_T[place:stop].min()))
