"""Arrays of a program. The program knows their leads, units and sampling rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.recordings.lead_names import complete, find_leads
from ecg_lightning.data.recordings.voltage import ask_units, millivolts
from ecg_lightning.data.recordings.window import Reading, Window
from ecg_lightning.data.wfdb import LEADS, RecordError


def read_array(
    signals: npt.ArrayLike,
    rate: float,
    leads: Sequence[str] | None,
    units: str | None,
    window: Window,
    notes: list[str],
) -> Reading:
    """Return the part of an array that a model uses.

    Args:
        signals: the array, (leads, T) or (T, leads).
        rate: the array's sampling rate in Hz.
        leads: the names of the array's leads; without them, twelve leads in the standard order.
        units: the units of the values, such as `mV` or `uV`; by default mV, with a note.
        window: the part that the model uses.
        notes: a list to which notes on conversions and assumptions are added.

    Raises:
        RecordError: this is not an array of twelve leads, or of the leads from which the others are computed.
    """
    if units is not None and millivolts(units) is None:
        raise RecordError(f"units={units!r} is not a unit of voltage; use 'mV', 'uV' or 'V'")
    array = np.asarray(signals)
    if array.dtype.kind not in "iuf":
        raise RecordError(f"its values are {str(array.dtype)[:40]}, expected real numbers")
    names = LEADS if leads is None else tuple(map(str, leads))
    if array.ndim != 2 or len(names) not in array.shape:
        named = "(use leads= to name other leads)" if leads is None else f"for the {len(names)} names in leads="
        raise RecordError(
            f"its shape is {array.shape}, expected ({len(names)}, samples) or (samples, {len(names)}) {named}"
        )
    if array.shape[0] == array.shape[1]:
        raise RecordError(
            f"its shape {array.shape} is square, so leads cannot be told from samples; pass more or fewer samples"
        )
    signals_CT = array if array.shape[0] == len(names) else array.T
    needed_CT = np.array(signals_CT[:, : window.samples_at(rate)], dtype=np.float64)
    needed_CT *= ask_units(units, notes, "units=")
    if leads is not None:
        found = complete({lead: needed_CT[place] for lead, place in find_leads(names, notes).items()})
        needed_CT = np.stack(list(found.values()))
    return Reading(needed_CT, rate, signals_CT.shape[1])
