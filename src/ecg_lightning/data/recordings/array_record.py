"""Arrays of a program, whose leads, units and sampling rate the program knows."""

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
    """Take the part of an array that a model uses.

    Args:
        signals: (leads, T), or (T, leads).
        rate: its sampling rate, Hz.
        leads: names of its leads; without them, twelve in the standard order.
        units: of its values, such as `mV` or `uV`; by default mV, which is said.
        window: what the model uses.
        notes: sentences on what was converted or assumed are added here.

    Raises:
        RecordError: it is no array of twelve leads, or of those from which the others are computed.
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
