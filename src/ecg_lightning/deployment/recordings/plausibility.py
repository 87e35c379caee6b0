"""Whether twelve signals can be an ECG like those that the models were trained on.

What no ECG does is refused. What no or hardly any record of PTB-XL does is said in a note. Figures of PTB-XL are of
3,142 records at 100 Hz.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.wfdb import LEADS, RecordError
from ecg_lightning.deployment.recordings.beats import RATE_HZ, find_beats
from ecg_lightning.deployment.recordings.window import Floats, Window

Booleans = npt.NDArray[np.bool_]

# Peak to peak, of a lead.
_LARGEST_MV = 50.0  # the ECG itself stays below 10 mV, and PTB-XL's records with their artifacts below 35 mV
_UNUSUAL_MV = 15.1  # PTB-XL: 99.9% of the records are below
_UNUSUAL_MEDIAN_MV = 4.6  # of the median lead; PTB-XL: 0.38 to 4.51
_FAINT_MEDIAN_MV = 0.3
_SMALLEST_MV = 0.02  # of the largest lead

_UNUSUAL_OFFSET_MV = 6.0  # of a lead's median from zero; PTB-XL: 5.6 at most
_LARGEST_OFFSET_MV = 1000.0

# What is left of the identities between the limb leads, of these leads' own size (root mean square).
_IMPOSSIBLE_REST = 0.5  # PTB-XL: 0.24 at most
_UNORDERED_REST = 0.35  # of leads without names
_UNUSUAL_REST = 0.48  # of one identity; PTB-XL: 0.46 at most
_NOTICEABLE_REST = 0.15
_UNUSUAL_REST_MV = 0.09  # of one identity; PTB-XL: 0.085 at most
_UNUSUAL_REST_OFFSET_MV = 0.1  # PTB-XL: 0.0005 at most

_FLAT_MV = 0.005  # peak to peak within a block
_BLOCK_S = 0.02
_FLAT_S = 1.0  # PTB-XL: 0.3 at most in all leads
_RAIL_S = 0.03  # a stay at the extreme value that a peak hardly explains
_CLIPPED_S = 0.2  # all of them together

_BEATS_PER_MINUTE = (25, 210)  # the detector's on PTB-XL: 99.9% from 23 to 167, and 182 at most
_FAST_SHARE = (0.004, 0.5)  # PTB-XL: 0.006 to 0.48
_RHYTHM_S = 5.0  # a shorter recording may have one beat


def check_plausible(signals_CT: Floats, rate: float, named: bool, way_out: str, notes: list[str]) -> Floats:
    """Check twelve leads, and return them; a lead that lies far off zero is shifted.

    Args:
        signals_CT: (12, T) mV, in the standard order.
        rate: Hz.
        named: whether the file names its leads, so that their order is known.
        way_out: what to do where the amplitude cannot be right.
        notes: sentences on what is unusual are added here.

    Raises:
        RecordError: no ECG is like this.
    """
    good = np.array([np.isfinite(signal_T).all() for signal_T in signals_CT])
    if not good.all():
        raise RecordError(f"lead {_names(~good)} has missing samples (empty, NaN or infinite)")
    _check_amplitude(signals_CT, way_out, notes)
    clipped = _check_clipping(signals_CT, rate, notes)
    _check_limb_leads(signals_CT, named, clipped, notes)
    signals_CT = _check_offset(signals_CT, way_out, notes)
    _check_flat(signals_CT, rate, notes)
    _check_beats(signals_CT, rate, notes)
    return signals_CT


def _names(chosen: Booleans) -> str:
    return ", ".join(np.array(LEADS)[chosen])


def _check_amplitude(signals_CT: Floats, way_out: str, notes: list[str]) -> None:
    peak_to_peak_C = np.ptp(signals_CT, axis=1)
    largest, median = float(peak_to_peak_C.max()), float(np.median(peak_to_peak_C))
    lead = LEADS[int(peak_to_peak_C.argmax())]
    if largest > _LARGEST_MV:
        raise RecordError(f"lead {lead} spans {largest:.0f} mV, which no ECG does; {way_out}")
    if largest < _SMALLEST_MV:
        raise RecordError(
            f"no lead spans more than {largest:.2g} mV: it is flat, or not in the units that were given; check them"
        )
    if largest > _UNUSUAL_MV or median > _UNUSUAL_MEDIAN_MV:
        notes.append(
            f"its amplitude is beyond that of the records trained on: lead {lead} spans {largest:.3g} mV, and the "
            f"median lead {median:.3g} mV; check the units"
        )
    elif median < _FAINT_MEDIAN_MV:
        notes.append(
            f"its amplitude is below that of the records trained on: the median lead spans {median:.2g} mV; check the "
            "units"
        )


def _check_offset(signals_CT: Floats, way_out: str, notes: list[str]) -> Floats:
    """An electrode's offset carries no information, and no model has learned to ignore a large one."""
    median_C = np.median(signals_CT, axis=1)
    far = np.abs(median_C) > _UNUSUAL_OFFSET_MV
    if not far.any():
        return signals_CT
    furthest = int(np.abs(median_C).argmax())
    said = f"lead {LEADS[furthest]} lies {abs(median_C[furthest]):.3g} mV off zero"
    if abs(median_C[furthest]) > _LARGEST_OFFSET_MV:
        raise RecordError(f"{said}, which no electrode does; {way_out}")
    notes.append(f"{said}, farther than PTB-XL's records do: the offset of lead {_names(far)} was subtracted")
    return signals_CT - np.where(far, median_C, 0.0)[:, None]


def _check_limb_leads(signals_CT: Floats, named: bool, clipped: Booleans, notes: list[str]) -> None:
    """Check the identities between the limb leads, which come from three electrodes.

    They are II = I + III (Einthoven), aVR = -(I + II) / 2, aVL = (I - III) / 2 and aVF = (II + III) / 2 (Goldberger).
    Leads that are flat were off, and tell nothing. Clipping breaks the identities, so it explains a contradiction.
    """
    limb_CT = signals_CT[:6]
    median_C = np.median(limb_CT, axis=1, keepdims=True)
    if not np.ptp(limb_CT, axis=1).all():
        return
    size = _rms(limb_CT - median_C)
    rest_CT = _rest(limb_CT - median_C)
    if not clipped[:6].any():
        _refuse_contradiction(_rms(rest_CT) / size, named)
    largest = max(map(_rms, rest_CT))
    offset = float(np.abs(np.median(_rest(limb_CT), axis=1)).max())
    if largest > _UNUSUAL_REST * size or (largest > _UNUSUAL_REST_MV and largest > _NOTICEABLE_REST * size):
        notes.append(
            f"its limb leads contradict each other by {largest:.2g} mV, where II must be I + III: leads may be "
            "interchanged, or differ in their gain or filters"
        )
    elif offset > _UNUSUAL_REST_OFFSET_MV:
        notes.append(
            f"the offsets of its limb leads contradict each other by {offset:.2g} mV, where II must be I + III: check "
            "the baselines"
        )


def _refuse_contradiction(rest: float, named: bool) -> None:
    if not named and rest > _UNORDERED_REST:
        raise RecordError(
            f"its leads have no names and are not in the order {', '.join(LEADS)}: II is not I + III, as it must be; "
            "put them into that order, or name them in the first row of a .csv file"
        )
    if rest > _IMPOSSIBLE_REST:
        raise RecordError(
            "its limb leads contradict each other: II must be I + III, and aVR, aVL and aVF follow from them; leads "
            "are interchanged, inverted, or differ in their gain"
        )


def _rest(limb_CT: Floats) -> Floats:
    one, two, three, right, left, foot = limb_CT
    return np.stack([two - one - three, right + (one + two) / 2, left - (one - three) / 2, foot - (two + three) / 2])


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _check_flat(signals_CT: Floats, rate: float, notes: list[str]) -> None:
    peak_to_peak_C = np.ptp(signals_CT, axis=1)
    if (off := peak_to_peak_C == 0).any():
        notes.append(f"lead {_names(off)} is flat")
    width = max(2, round(_BLOCK_S * rate))
    n_blocks = signals_CT.shape[1] // width
    blocks_CBW = signals_CT[:, : n_blocks * width].reshape(len(LEADS), n_blocks, width)
    flat_CB = np.ptp(blocks_CBW, axis=2) <= _FLAT_MV
    seconds = signals_CT.shape[1] / rate
    least = round(_FLAT_S * rate / width)
    if blocks := _in_long_runs(flat_CB.all(axis=0), least):
        notes.append(f"{blocks * width / rate:.2g} of the {seconds:g} s are flat in all leads: only the rest is an ECG")
        return
    blocks_C = np.array([_in_long_runs(flat_B, least) for flat_B in flat_CB]) * ~off
    if blocks_C.any():
        longest = blocks_C.max() * width / rate
        notes.append(f"lead {_names(blocks_C > 0)} is flat for up to {longest:.2g} of the {seconds:g} s")


def _in_long_runs(mask_T: Booleans, least: int) -> int:
    """How many samples are true in stretches of at least `least`."""
    edges = np.diff(np.concatenate([[0], mask_T.astype(np.int8), [0]]))
    runs = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    return int(runs[runs >= least].sum())


def _check_clipping(signals_CT: Floats, rate: float, notes: list[str]) -> Booleans:
    """Return, and say, which leads stay at their largest or smallest value, as behind an amplifier at its limit."""
    stay, all_stays = max(3, round(_RAIL_S * rate)), _CLIPPED_S * rate
    clipped = np.zeros(len(LEADS), dtype=bool)
    for rail_C in (signals_CT.min(axis=1), signals_CT.max(axis=1)):
        at_rail_CT = signals_CT == rail_C[:, None]
        for lead in np.flatnonzero(at_rail_CT.sum(axis=1) >= all_stays):
            clipped[lead] |= _in_long_runs(at_rail_CT[lead], stay) >= all_stays
    clipped &= np.ptp(signals_CT, axis=1) > 0
    if clipped.any():
        notes.append(f"lead {_names(clipped)} is clipped: it stays at its largest or smallest value again and again")
    return clipped


def _check_beats(signals_CT: Floats, rate: float, notes: list[str]) -> None:
    seconds = signals_CT.shape[1] / rate
    beats = find_beats(Window(RATE_HZ, int(seconds * RATE_HZ)).resample(signals_CT, rate))
    if not beats.found:
        raise RecordError(
            "no heart beat was found in any lead: it is noise or hum, or its sampling rate or units are wrong"
        )
    slow, fast = _BEATS_PER_MINUTE
    if seconds >= _RHYTHM_S and not slow <= beats.per_minute <= fast:
        seems = f"its heart rate seems to be {beats.per_minute:.0f} a minute" if beats.per_minute else "it has one beat"
        notes.append(f"{seems}: check the sampling rate, which is given as {rate:g} Hz")
    smooth, rough = _FAST_SHARE
    if beats.fast_share < smooth:
        notes.append(
            "it has less fast content than the records trained on: it was filtered, or its sampling rate is higher "
            f"than {rate:g} Hz"
        )
    if beats.fast_share > rough:
        notes.append(
            "it has more fast content than the records trained on: it holds noise, or its sampling rate is lower than "
            f"{rate:g} Hz"
        )
