"""Signals that no ECG can be are refused, and unlikely ones are reported, however the leads are named."""

import numpy as np
import pytest
import scipy.signal
from recordings import MODEL, UNNAMED, digital, heartbeats, limb_leads, rows, write_wfdb

from ecg_lightning.data.recordings.peaks import find_peaks
from ecg_lightning.data.recordings.records import read_record
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.errors import DataError

TIME = np.arange(1000) / 100
ECG = heartbeats(TIME)
LEAD = {name: np.arange(12)[:, None] == place for place, name in enumerate(LEADS)}


def read(folder, kind, millivolts, rate=100, units="mV"):
    if kind == "wfdb":
        return read_record(write_wfdb(folder, digital(millivolts, 500), rate=f"{rate}", gain="500/mV"), **MODEL)
    if kind == "csv":
        (folder / "a.csv").write_text(",".join(LEADS) + "\n" + rows(millivolts.T))
        return read_record(folder / "a.csv", **MODEL, rate=rate, units="mV")
    np.save(folder / "a.npy", millivolts)
    return read_record(folder / "a.npy", **MODEL, rate=rate, units=units)


def noise(n_samples=1000):
    """White noise that obeys the identities between the limb leads."""
    own = np.random.default_rng(0).normal(scale=0.3, size=(8, n_samples))
    return np.stack([*limb_leads(*own[:2]), *own[2:]])


def hum(rate=500):
    time = np.arange(10 * rate) / rate
    own = [np.sin(2 * np.pi * 50 * time + lead) for lead in range(8)]
    return np.stack([*limb_leads(*own[:2]), *own[2:]])


def waves():
    own = [np.sin(2 * np.pi * 1.2 * TIME + lead) for lead in range(8)]
    return np.stack([*limb_leads(*own[:2]), *own[2:]])


def off(millivolts, *leads):
    """The signals with flat leads."""
    return np.where(sum(LEAD[lead] for lead in leads) > 0, 0, millivolts)


def exchanged(one, other):
    order = list(LEADS)
    place, second = order.index(one), order.index(other)
    order[place], order[second] = other, one
    return ECG[[LEADS.index(lead) for lead in order]]


def spike():
    """A pulse that obeys the identities, in a recording that is flat otherwise."""
    own = np.where(np.arange(1000) == 500, 1.0, 0)
    return np.stack([*limb_leads(own, own * 1.5), *[own] * 6])


def spoilt(lead, value, sample=300):
    signals = ECG.copy()
    signals[LEADS.index(lead), sample] = value
    return signals


KINDS = pytest.mark.parametrize("kind", ["wfdb", "csv", "npy"])


@KINDS
@pytest.mark.parametrize(
    ("name", "millivolts", "rate", "note"),
    [
        ("large", 10 * ECG, 100, "its amplitude is larger than in the training records: lead V6 spans"),
        ("small", ECG / 10, 100, "its amplitude is smaller than in the training records"),
        ("padded", np.where(TIME < 7, ECG, 0), 100, "all leads are flat for 3 of the 10 s"),
        ("half_flat", np.where(TIME < 5, ECG, 0), 100, "all leads are flat for 5 of the 10 s"),
        ("short_ends", np.where((TIME < 0.6) | (TIME >= 9.2), 0, ECG), 100, "all leads are flat for 1.4 of the 10 s"),
        ("lead_off", np.where(LEAD["V3"] & (TIME > 6), 0, ECG), 100, "lead V3 is flat for up to 4"),
        ("clipped", np.clip(ECG, -0.15, 0.15), 100, "clipped: the largest or smallest value is repeated"),
        ("offset", ECG + 30 * LEAD["V2"], 100, "lead V2 lies 30 mV off zero, farther than in PTB-XL's records"),
        ("gain", np.where(LEAD["AVF"], 1.5, 1) * ECG, 100, "its limb leads contradict each other by"),
        ("baseline", ECG + 0.5 * LEAD["AVL"], 100, "the offsets of its limb leads contradict each other by 0.5 mV"),
        ("slow", heartbeats(np.arange(1000) / 500), 100, "check the sampling rate, which is given as 100 Hz"),
        ("half", heartbeats(np.arange(1000) / 200), 100, "seems to be 38 a minute, and its beats are slower than"),
        ("twice", heartbeats(np.arange(1000) / 50), 100, "seems to be 150 a minute, and its beats are faster than"),
        ("noisy_lead", np.where(LEAD["V2"], noise(), ECG), 100, "lead V2 has more noise or hum than ECG"),
        ("copied", np.where(LEAD["V2"], ECG[6], ECG), 100, "leads V1, V2 hold the same samples"),
        ("noisy", (ECG + noise()) / 2, 100, "it has more high-frequency content than the training records"),
    ],
)  # fmt: skip
def test_unusual_signals_are_predicted_with_a_note(kind, name, millivolts, rate, note, tmp_path):
    found = read(tmp_path, kind, millivolts, rate)
    assert any(note in said for said in found.notes), found.notes


@KINDS
@pytest.mark.parametrize(
    ("name", "millivolts", "rate", "match"),
    [
        ("noise", noise(), 100, "no heart beat was found in any lead"),
        ("hum", hum(), 500, "no heart beat was found in any lead"),
        ("waves", waves(), 100, "no heart beat was found in any lead"),
        ("too_large", 35 * ECG, 100, "spans .* mV, which no ECG does"),
        ("flat", 0 * ECG, 100, "the recording is flat or its units are wrong"),
        ("interchanged", ECG[[1, 0, *range(2, 12)]], 100, r"II (must be|is not) I \+ III"),
        ("inverted", np.where(LEAD["I"], -1, 1) * ECG, 100, r"II (must be|is not) I \+ III"),
        ("gain", np.where(LEAD["II"], 5, 1) * ECG, 100, r"II (must be|is not) I \+ III"),
        ("lead_off_I_II", off(exchanged("I", "II"), "AVR"), 100, r"II (must be|is not) I \+ III"),
        ("lead_off_I", off(np.where(LEAD["I"], -1, 1) * ECG, "AVF"), 100, r"II (must be|is not) I \+ III"),
        ("lead_off_I_aVR", off(exchanged("I", "AVR"), "III"), 100, r"II (must be|is not) I \+ III"),
        ("leads_off_I_II", off(exchanged("I", "II"), "AVR", "AVL", "AVF"), 100, r"II (must be|is not) I \+ III"),
        ("nearly_off", off(exchanged("I", "II"), "AVR") + 0.002 * (TIME > 5), 100, r"II (must be|is not) I \+ III"),
        ("I_off", off(exchanged("AVR", "AVL"), "I"), 100, r"II (must be|is not) I \+ III"),
        ("precordials_first", off(np.roll(ECG, 6, axis=0), "I"), 100, r"II (must be|is not) I \+ III"),
        ("clipped", np.where(LEAD["AVF"], np.clip(ECG, -0.05, 0.05), np.where(LEAD["I"], -1, 1) * ECG), 100,
         r"II (must be|is not) I \+ III"),
        ("spike", spike(), 100, "only .* of the 10 s are not flat"),
        ("shorter", np.where(TIME < 1.5, ECG, 0), 100, "only 1.5 of the 10 s are not flat"),
    ],
)  # fmt: skip
def test_what_no_ecg_does_is_refused(kind, name, millivolts, rate, match, tmp_path):
    with pytest.raises(DataError, match=match):
        read(tmp_path, kind, millivolts, rate)


@pytest.mark.parametrize(
    ("millivolts", "match"),
    [
        (spoilt("V2", 9999), r"lead V2 spans 9,999 mV, which no ECG does: its sample 301 is 9,999 mV\. Correct"),
        (spoilt("AVR", -32768), "lead aVR spans 32,768 mV, .* its sample 301 is -32,768 mV"),
        (spoilt("V2", 1e300), r"lead V2 spans 1e\+300 mV, .* its sample 301 is 1e\+300 mV"),
        (np.where(TIME == 3, 9999, ECG), "its sample 301 is 9,999 mV"),
        (np.where(LEAD["V3"], 1000, 1) * ECG, "lead V3 spans .* the units or gain of this lead"),
        (1000 * ECG, "give --units uV if they are µV"),
    ],
)
def test_a_damaged_value_is_told_from_other_units(millivolts, match, tmp_path):
    with pytest.raises(DataError, match=match):
        read(tmp_path, "npy", millivolts, units=None)


def test_limb_leads_that_cannot_be_checked_are_said(tmp_path):
    note = "its limb leads could not be checked against each other"
    few = off(ECG, "I", "III", "AVR", "AVF")
    assert (
        f"{note}, and neither could their order, because too many are flat or clipped"
        in read(tmp_path, "npy", few).notes
    )
    assert f"{note}, because too many are flat or clipped" in read(tmp_path, "csv", few).notes
    assert "leads I, III, aVR, aVF are flat" in read(tmp_path, "csv", few).notes


def test_a_flat_limb_lead_is_no_contradiction(tmp_path):
    for lead in LEADS[:6]:
        notes = read(tmp_path, "npy", off(ECG, lead)).notes
        assert len(notes) == 2, notes
        assert notes[0].endswith("is flat")


@KINDS
def test_an_ordinary_ecg_has_no_note(kind, tmp_path):
    assert read(tmp_path, kind, ECG).notes == ((UNNAMED,) if kind == "npy" else ())


def test_a_large_offset_is_subtracted(tmp_path):
    found = read(tmp_path, "npy", ECG + 30 * LEAD["V2"])
    assert found.notes[0].endswith("the offset of lead V2 was subtracted")
    assert np.abs(found.millivolts_CT - ECG).max() < 0.1
    with pytest.raises(DataError, match=r"lead V2 lies 10,000 mV off zero, which no electrode does"):
        read(tmp_path, "npy", ECG + 1e4 * LEAD["V2"])


def test_synthetic_records_have_hardly_any_note(synthetic_root):
    records = sorted(synthetic_root.glob("records100/*/*.hea"))[:100]
    assert sum(bool(read_record(record, **MODEL).notes) for record in records) <= 2


def test_no_real_record_is_refused_and_hardly_any_has_a_note(ptbxl_root):
    records = sorted(ptbxl_root.glob("records100/*/*.hea"))[:500]
    assert sum(bool(read_record(record, **MODEL).notes) for record in records) <= 0.02 * len(records)


def test_peaks_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = np.round(rng.normal(size=rng.integers(3, 200)).cumsum(), rng.integers(0, 3))  # some with plateaus
        height, prominence, distance = rng.normal(), abs(rng.normal()) + 0.01, int(rng.integers(1, 20))
        expected, _ = scipy.signal.find_peaks(values, height=height, prominence=prominence, distance=distance)
        assert np.array_equal(find_peaks(values, height, prominence, distance), expected)
