"""The check that twelve signals can be an ECG like those that the models were trained on.

A signal that no ECG can have is refused. A signal that hardly any record of PTB-XL has gets a note. The figures of
PTB-XL come from 3,142 records at 100 Hz.
"""

from __future__ import annotations

import statistics
from functools import reduce
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.recordings.beats import RATE_HZ, find_beats
from ecg_lightning.data.recordings.lead_names import STANDARD_ORDER, say
from ecg_lightning.data.recordings.window import Floats, Window
from ecg_lightning.data.wfdb import LEADS, RecordError

Booleans = npt.NDArray[np.bool_]

# Peak-to-peak limits of a lead.
_LARGEST_MV = 50.0  # the ECG stays below 10 mV, and PTB-XL's records with artifacts below 35 mV
_UNUSUAL_MV = 15.1  # 99.9 % of PTB-XL's records are below
_UNUSUAL_MEDIAN_MV = 4.6  # for the median lead; PTB-XL: 0.38 to 4.51
_FAINT_MEDIAN_MV = 0.3
_SMALLEST_MV = 0.02  # for the largest lead

_UNUSUAL_OFFSET_MV = 6.0  # distance of a lead's median from zero; PTB-XL: at most 5.6
_LARGEST_OFFSET_MV = 1000.0

# The limb leads from I and II, one row each, and their identities: II = I + III (Einthoven), aVR = -(I + II) / 2,
# aVL = (I - III) / 2 and aVF = (II + III) / 2 (Goldberger).
_FROM_I_AND_II = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
_IDENTITIES = np.array(
    [[-1, 1, -1, 0, 0, 0], [0.5, 0.5, 0, 1, 0, 0], [-0.5, 0, 0.5, 0, 1, 0], [0, -0.5, -0.5, 0, 0, 1]]
)
_TESTABLE_S = 1.0  # without clipping

# The residual of the identities between the limb leads, as a share of these leads' size (root mean square).
_IMPOSSIBLE_REST = 0.5  # PTB-XL: at most 0.24
_UNORDERED_REST = 0.35  # for leads without names
_UNUSUAL_REST = 0.48  # for one identity; PTB-XL: at most 0.46
_NOTICEABLE_REST = 0.15
_UNUSUAL_REST_MV = 0.09  # for one identity; PTB-XL: at most 0.085
_UNUSUAL_REST_OFFSET_MV = 0.1  # PTB-XL: at most 0.0005

_FLAT_MV = 0.005  # peak to peak within a block
_BLOCK_S = 0.02
_FLAT_S = 1.0  # for one lead
_ALL_FLAT_S = 0.5  # PTB-XL: at most 0.3
_RAIL_S = 0.03  # a stay at the extreme value that is too long for a peak
_CLIPPED_S = 0.2  # the sum of all such stays
_LEAST_ECG_S = 2.0  # the least time that is not flat: a few beats

_BEATS_PER_MINUTE = (25, 210)  # the detector on PTB-XL: 99.9 % from 23 to 167, and at most 182
_FAST_SHARE = (0.004, 0.5)  # PTB-XL: 0.006 to 0.48
# Heart rate times the root of the share. Both grow if a recording seems to run too fast. PTB-XL: 99.6 % lie between;
# read at half and at twice their rate, 3 % and 17 % of its records get no note on it.
_SPEED = (6.5, 70.0)
_RHYTHM_S = 5.0  # a shorter recording may have one beat


def check_plausible(signals_CT: Floats, rate: float, named: bool, way_out: str, notes: list[str]) -> Floats:
    """Check twelve leads and return them. A lead that lies far off zero is shifted.

    Args:
        signals_CT: (12, T) in mV, in the standard order.
        rate: the sampling rate in Hz.
        named: whether the file names its leads, so that their order is known.
        way_out: the advice for an amplitude that cannot be right.
        notes: a list to which notes on unusual findings are added.

    Raises:
        RecordError: the signals cannot be an ECG.
    """
    good = np.array([np.isfinite(signal_T).all() for signal_T in signals_CT])
    if not good.all():
        raise RecordError(f"{_say(~good, 'has')} missing samples (empty, NaN or infinite)")
    peak_to_peak_C = np.ptp(signals_CT, axis=1)
    _check_amplitude(signals_CT, peak_to_peak_C, way_out, notes)
    off = peak_to_peak_C <= _FLAT_MV
    clipped_CT = _check_clipping(signals_CT, rate, notes) & ~off[:, None]
    _check_limb_leads(signals_CT[:6], rate, named, off[:6], clipped_CT[:6], notes)
    signals_CT = _check_offset(signals_CT, notes)
    _check_flat(signals_CT, rate, off, notes)
    _check_copies(signals_CT, off, notes)
    _check_beats(signals_CT, rate, notes)
    return signals_CT


def _say(chosen_C: Booleans, verb: str) -> str:
    return say([LEADS[place] for place in np.flatnonzero(chosen_C)], verb)


def _check_amplitude(signals_CT: Floats, peak_to_peak_C: Floats, way_out: str, notes: list[str]) -> None:
    largest, median = float(peak_to_peak_C.max()), statistics.median(peak_to_peak_C.tolist())
    place = int(peak_to_peak_C.argmax())
    lead = say([LEADS[place]])
    if largest > _LARGEST_MV:
        _refuse_amplitude(signals_CT, place, largest, way_out)
    if largest < _SMALLEST_MV:
        raise RecordError(
            f"no lead spans more than {largest:.2g} mV, so the recording is flat or its units are wrong; check "
            "the units"
        )
    if largest > _UNUSUAL_MV or median > _UNUSUAL_MEDIAN_MV:
        notes.append(
            f"its amplitude is larger than in the training records: {lead} spans {largest:.4g} mV, and the median "
            f"lead {median:.4g} mV; check the units"
        )
    elif median < _FAINT_MEDIAN_MV:
        notes.append(
            f"its amplitude is smaller than in the training records: the median lead spans {median:.2g} mV; check "
            "the units"
        )


def _mv(value: float) -> str:
    return f"{value:,.0f} mV" if abs(value) < 1e6 else f"{value:.3g} mV"


def _refuse_amplitude(signals_CT: Floats, place: int, largest: float, way_out: str) -> None:
    """Refuse an amplitude that is too large.

    The message separates a recording in other units from one with a few damaged values or one damaged lead.
    """
    said = f"{say([LEADS[place]])} spans {_mv(largest)}, which no ECG does"
    low_C, high_C = np.percentile(signals_CT, (1, 99), axis=1)
    if np.median(high_C - low_C) > _LARGEST_MV:
        raise RecordError(f"{said}; {way_out}")
    signal_T = signals_CT[place]
    sample = int(np.abs(signal_T - np.median(signal_T)).argmax())
    raise RecordError(
        f"{said}: its sample {sample + 1} is {_mv(signal_T[sample])}. Correct that value, or the units or gain of "
        "this lead"
    )


def _check_offset(signals_CT: Floats, notes: list[str]) -> Floats:
    """Return the signals, with large offsets of leads subtracted.

    An electrode's offset carries no information, and no model has learned to ignore a large one.
    """
    if max(signals_CT.max(), -signals_CT.min()) <= _UNUSUAL_OFFSET_MV:
        return signals_CT
    median_C = np.median(signals_CT, axis=1)
    far = np.abs(median_C) > _UNUSUAL_OFFSET_MV
    if not far.any():
        return signals_CT
    furthest = int(np.abs(median_C).argmax())
    said = f"{say([LEADS[furthest]])} lies {_mv(abs(median_C[furthest]))} off zero"
    if abs(median_C[furthest]) > _LARGEST_OFFSET_MV:
        raise RecordError(f"{said}, which no electrode does; check its baseline and units")
    notes.append(f"{said}, farther than in PTB-XL's records, so the offset of {_say(far, '')} was subtracted")
    return signals_CT - np.where(far, median_C, 0.0)[:, None]


def _check_limb_leads(
    limb_CT: Floats, rate: float, named: bool, off: Booleans, clipped_CT: Booleans, notes: list[str]
) -> None:
    """Check the identities between the limb leads, which come from three electrodes.

    Flat leads were off and are left out. A lead that is clipped most of the time is left out as well. Of the other
    leads, only the samples without clipping are checked.
    """
    present = ~off & (clipped_CT.mean(axis=1) < 0.5)
    identities = _identities(present)
    usable_T = ~clipped_CT[present].any(axis=0)
    if not len(identities) or usable_T.sum() < _TESTABLE_S * rate:
        order = "" if named else ", and neither could their order"
        notes.append(
            f"its limb leads could not be checked against each other{order}, because too many are flat or clipped"
        )
        return
    if not usable_T.all():
        limb_CT = limb_CT[:, usable_T]
    median_C = np.median(limb_CT, axis=1, keepdims=True)
    sums_CT = identities @ limb_CT
    rest_CT = sums_CT - identities @ median_C
    size = _rms((limb_CT - median_C)[present])
    _refuse_contradiction(_rms(rest_CT) / size if size else 0.0, named)
    largest = float(np.sqrt(np.mean(rest_CT**2, axis=1).max()))
    if largest > _UNUSUAL_REST * size or (largest > _UNUSUAL_REST_MV and largest > _NOTICEABLE_REST * size):
        notes.append(
            f"its limb leads contradict each other by {largest:.2g} mV, where II must be I + III: leads may be "
            "interchanged, or differ in their gain or filters"
        )
    elif (
        np.abs(sums_CT).max() > _UNUSUAL_REST_OFFSET_MV  # else the medians are not larger either
        and (offset := float(np.abs(np.median(sums_CT, axis=1)).max())) > _UNUSUAL_REST_OFFSET_MV
    ):
        notes.append(
            f"the offsets of its limb leads contradict each other by {offset:.2g} mV, where II must be I + III: check "
            "the baselines"
        )


def _identities(present: Booleans) -> Floats:
    """Return (n, 6) coefficients of sums of the present limb leads that must be zero. Any three leads have one."""
    usable: Floats = _IDENTITIES[(_IDENTITIES[:, ~present] == 0).all(axis=1)]
    if len(usable) >= present.sum() - 2:
        return usable
    rows = []
    for three in combinations(np.flatnonzero(present), 3):
        row = np.zeros(6)
        a, b, c = _FROM_I_AND_II[list(three)]
        row[list(three)] = [one[0] * other[1] - one[1] * other[0] for one, other in ((b, c), (c, a), (a, b))]
        rows.append(row / np.abs(row).max())
    return np.stack(rows)


def _refuse_contradiction(rest: float, named: bool) -> None:
    if not named and rest > _UNORDERED_REST:
        raise RecordError(
            f"its leads have no names and are not in the order {STANDARD_ORDER}: II is not I + III, as it must be; "
            "put them into that order, or name them: in the first row of a .csv file, in Python with leads="
        )
    if rest > _IMPOSSIBLE_REST:
        raise RecordError(
            "its limb leads contradict each other: II must be I + III, and aVR, aVL and aVF follow from them; leads "
            "are interchanged, inverted, or differ in their gain"
        )


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _check_flat(signals_CT: Floats, rate: float, off: Booleans, notes: list[str]) -> None:
    if off.any():
        notes.append(f"{_say(off, 'is')} flat")
    width = max(2, round(_BLOCK_S * rate))
    n_blocks = signals_CT.shape[1] // width
    # One sample of each block at a time, because NumPy reduces such short blocks slowly.
    samples = [signals_CT[:, place : n_blocks * width : width] for place in range(width)]
    flat_CB: Booleans = (reduce(np.maximum, samples) - reduce(np.minimum, samples)) <= _FLAT_MV
    seconds = signals_CT.shape[1] / rate
    least = round(_FLAT_S * rate / width)
    all_flat_B: Booleans = np.all(flat_CB, axis=0)
    long_flat = _in_long_runs(all_flat_B, least) * width / rate
    if long_flat and (left := seconds - long_flat) < _LEAST_ECG_S:
        raise RecordError(
            f"only {left:.2g} of the {seconds:g} s are not flat, and an ECG needs at least {_LEAST_ECG_S:g} s; "
            "check the electrodes, or cut out the recorded part"
        )
    if blocks := _in_long_runs(all_flat_B, round(_ALL_FLAT_S * rate / width)):
        notes.append(
            f"all leads are flat for {blocks * width / rate:.2g} of the {seconds:g} s, so only the rest is an ECG"
        )
        return
    counts_CB = np.zeros((len(LEADS), n_blocks + 1), dtype=int)
    np.cumsum(flat_CB, axis=1, out=counts_CB[:, 1:])
    has_run_C = (counts_CB[:, least:] - counts_CB[:, :-least] == least).any(axis=1)
    blocks_C = np.zeros(len(LEADS), dtype=int)
    for lead in np.flatnonzero(~off & has_run_C):
        blocks_C[lead] = _in_long_runs(flat_CB[lead], least)
    if blocks_C.any():
        longest = blocks_C.max() * width / rate
        notes.append(f"{_say(blocks_C > 0, 'is')} flat for up to {longest:.2g} of the {seconds:g} s")


def _check_copies(signals_CT: Floats, off: Booleans, notes: list[str]) -> None:
    """Add a note on leads with exactly the same samples, which no two leads of PTB-XL have."""
    first: dict[bytes, str] = {}
    for lead, signal_T, is_off in zip(LEADS, signals_CT, off, strict=True):
        if not is_off and (other := first.setdefault(signal_T.tobytes(), lead)) != lead:
            notes.append(f"{say([other, lead])} hold the same samples, so one of them may be a copy")


def _in_long_runs(mask_T: Booleans, least: int) -> int:
    """Return the number of true samples in stretches of at least `least` samples."""
    edges = np.diff(np.concatenate([[0], mask_T.astype(np.int8), [0]]))
    runs = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    return int(runs[runs >= least].sum())


def _check_clipping(signals_CT: Floats, rate: float, notes: list[str]) -> Booleans:
    """Return where leads stay at their largest or smallest value, and add a note on them.

    An amplifier at its limit has this effect.

    Returns:
        (C, T) mask; true where a clipped lead has a value that it stays at.
    """
    stay, all_stays = max(3, round(_RAIL_S * rate)), _CLIPPED_S * rate
    clipped_CT = np.zeros(signals_CT.shape, dtype=bool)
    for rail_C in (signals_CT.min(axis=1), signals_CT.max(axis=1)):
        at_rail_CT = signals_CT == rail_C[:, None]
        for lead in np.flatnonzero(at_rail_CT.sum(axis=1) >= all_stays):
            if _in_long_runs(at_rail_CT[lead], stay) >= all_stays:
                clipped_CT[lead] |= at_rail_CT[lead]
    clipped = clipped_CT.any(axis=1) & (np.ptp(signals_CT, axis=1) > 0)
    if clipped.any():
        notes.append(f"{_say(clipped, 'is')} clipped: the largest or smallest value is repeated over many samples")
    return clipped_CT


def _check_beats(signals_CT: Floats, rate: float, notes: list[str]) -> None:
    seconds = signals_CT.shape[1] / rate
    if seconds < _LEAST_ECG_S:  # a shorter recording may hold no beat
        return
    beats = find_beats(Window(RATE_HZ, int(seconds * RATE_HZ)).resample(signals_CT, rate))
    if not beats.found:
        raise RecordError(
            "no heart beat was found in any lead, so the recording is noise or hum, or its sampling rate or units "
            "are wrong; check both"
        )
    slow, fast = _BEATS_PER_MINUTE
    if seconds >= _RHYTHM_S and not slow <= beats.per_minute <= fast:
        seems = (
            f"its heart rate seems to be {beats.per_minute:.0f} beats per minute"
            if beats.per_minute
            else "it has one beat"
        )
        notes.append(f"{seems}: check the sampling rate, which is given as {rate:g} Hz")
    elif seconds >= _RHYTHM_S and not _SPEED[0] <= (speed := beats.per_minute * beats.fast_share**0.5) <= _SPEED[1]:
        notes.append(
            f"its heart rate seems to be {beats.per_minute:.0f} a minute, and its beats are "
            f"{'slower' if speed < _SPEED[0] else 'faster'} than those of the training records: check the "
            f"sampling rate, which is given as {rate:g} Hz"
        )
    if beats.noisy_C.any():
        notes.append(f"{_say(beats.noisy_C, 'has')} more noise or hum than ECG")
    smooth, rough = _FAST_SHARE
    if beats.fast_share < smooth:
        notes.append(
            "it has less high-frequency content than the training records: it was filtered, or its sampling rate "
            f"is higher than {rate:g} Hz"
        )
    if beats.fast_share > rough:
        notes.append(
            "it has more high-frequency content than the training records: it holds noise, or its sampling rate "
            f"is lower than {rate:g} Hz"
        )
