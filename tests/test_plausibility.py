"""What no ECG does is refused, and what hardly any does is said, however the leads were named."""

import numpy as np
import pytest
from recordings import MODEL, UNNAMED, digital, heartbeats, limb_leads, rows, write_wfdb

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.records import read_record
from ecg_lightning.errors import DataError

TIME = np.arange(1000) / 100
ECG = heartbeats(TIME)
LEAD = {name: np.arange(12)[:, None] == place for place, name in enumerate(LEADS)}


def read(folder, kind, millivolts, rate=100):
    if kind == "wfdb":
        return read_record(write_wfdb(folder, digital(millivolts, 500), rate=f"{rate}", gain="500/mV"), **MODEL)
    if kind == "csv":
        (folder / "a.csv").write_text(",".join(LEADS) + "\n" + rows(millivolts.T))
        return read_record(folder / "a.csv", **MODEL, rate=rate)
    np.save(folder / "a.npy", millivolts)
    return read_record(folder / "a.npy", **MODEL, rate=rate)


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


KINDS = pytest.mark.parametrize("kind", ["wfdb", "csv", "npy"])


@KINDS
@pytest.mark.parametrize(
    ("name", "millivolts", "rate", "note"),
    [
        ("large", 10 * ECG, 100, "its amplitude is beyond that of the records trained on: lead V6 spans"),
        ("small", ECG / 10, 100, "its amplitude is below that of the records trained on"),
        ("padded", np.where(TIME < 7, ECG, 0), 100, "3 of the 10 s are flat in all leads"),
        ("half_flat", np.where(TIME < 5, ECG, 0), 100, "5 of the 10 s are flat in all leads"),
        ("lead_off", np.where(LEAD["V3"] & (TIME > 6), 0, ECG), 100, "lead V3 is flat for up to 4"),
        ("clipped", np.clip(ECG, -0.15, 0.15), 100, "is clipped: it stays at its largest or smallest value"),
        ("offset", ECG + 30 * LEAD["V2"], 100, "lead V2 lies 30 mV off zero, farther than PTB-XL's records do"),
        ("gain", np.where(LEAD["AVF"], 1.5, 1) * ECG, 100, "its limb leads contradict each other by"),
        ("baseline", ECG + 0.5 * LEAD["AVL"], 100, "the offsets of its limb leads contradict each other by 0.5 mV"),
        ("slow", heartbeats(np.arange(1000) / 500), 100, "check the sampling rate, which is given as 100 Hz"),
        ("noisy", (ECG + noise()) / 2, 100, "it has more fast content than the records trained on"),
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
        ("flat", 0 * ECG, 100, "it is flat, or not in the units"),
        ("interchanged", ECG[[1, 0, *range(2, 12)]], 100, r"II (must be|is not) I \+ III"),
        ("inverted", np.where(LEAD["I"], -1, 1) * ECG, 100, r"II (must be|is not) I \+ III"),
        ("gain", np.where(LEAD["II"], 5, 1) * ECG, 100, r"II (must be|is not) I \+ III"),
    ],
)  # fmt: skip
def test_what_no_ecg_does_is_refused(kind, name, millivolts, rate, match, tmp_path):
    with pytest.raises(DataError, match=match):
        read(tmp_path, kind, millivolts, rate)


@KINDS
def test_an_ordinary_ecg_has_no_note(kind, tmp_path):
    assert read(tmp_path, kind, ECG).notes == ((UNNAMED,) if kind == "npy" else ())


def test_a_large_offset_is_subtracted(tmp_path):
    found = read(tmp_path, "npy", ECG + 30 * LEAD["V2"])
    assert found.notes[-1].endswith("the offset of lead V2 was subtracted")
    assert np.abs(found.millivolts_CT - ECG).max() < 0.1
    with pytest.raises(DataError, match=r"lead V2 lies 1e.04 mV off zero, which no electrode does"):
        read(tmp_path, "npy", ECG + 1e4 * LEAD["V2"])


def test_synthetic_records_have_hardly_any_note(synthetic_root):
    records = sorted(synthetic_root.glob("records100/*/*.hea"))[:100]
    assert sum(bool(read_record(record, **MODEL).notes) for record in records) <= 2


def test_no_real_record_is_refused_and_hardly_any_has_a_note(ptbxl_root):
    records = sorted(ptbxl_root.glob("records100/*/*.hea"))[:500]
    assert sum(bool(read_record(record, **MODEL).notes) for record in records) <= 0.02 * len(records)
