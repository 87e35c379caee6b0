"""Synthetic recordings in the formats that `predict` reads."""

from pathlib import Path

import numpy as np

from ecg_lightning.data.wfdb import LEADS

MODEL = {"sampling_rate": 100, "n_samples": 1000}
UNNAMED = f"its leads have no names, so they are read in the order {', '.join(LEADS).replace('AV', 'aV')}"
NO_UNITS = "it states no units, so mV are assumed; set other units with --units"
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def limb_leads(one, two):
    """Six limb leads, as they follow from two of them."""
    return [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]


def heartbeats(time, per_minute=75):
    """(12, T) mV: a P wave, a QRS complex and a T wave of each beat, which differ from lead to lead."""
    phase = (time + 0.4) % (60 / per_minute) - 0.4
    p, q, r, s, t = (
        np.exp(-(((phase - at) / width) ** 2) / 2)
        for at, width in ((-0.17, 0.025), (-0.035, 0.012), (0, 0.012), (0.035, 0.012), (0.25, 0.05))
    )
    rows = [
        0.1 * p - 0.1 * q + (0.5 + 0.1 * row) * r - (0.1 + 0.08 * row) * s + (0.15 + 0.02 * row) * t
        for row in (0.5, 4.5, *range(6))
    ]
    return np.stack([*limb_leads(*rows[:2]), *rows[2:]])


def digital(millivolts_CT, gain=1000, baseline=0):
    """The values of an ADC."""
    return np.round(millivolts_CT * gain + baseline).astype(np.int64)


def write_wfdb(
    folder: Path,
    values_CT,
    names=LEADS,
    *,
    name="own",
    suffix=".dat",
    rate="100",
    storage="16",
    gain="1000.0(0)/mV",
    encoding="utf-8",
) -> Path:
    """Write a record of format 16, whose other fields are as given; return its path without a suffix."""
    offset = int(storage.partition("+")[2] or 0)
    (folder / f"{name}{suffix}").write_bytes(bytes(offset) + values_CT.T.astype("<i2").tobytes())
    lines = [f"{name} {len(names)} {rate} {values_CT.shape[1]}"]
    for lead, values in zip(names, values_CT, strict=True):
        lines.append(f"{name}{suffix} {storage} {gain} 16 0 {values[0]} {values.sum() % 65536} 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder / name


def edit(path: Path, *changes) -> Path:
    """Replace text in a header or a table, which must be there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def rows(values_TC, delimiter=",", decimal=".") -> str:
    """The rows of a table."""
    return "".join(delimiter.join(f"{value:.6f}" for value in row) + "\n" for row in values_TC).replace(".", decimal)
