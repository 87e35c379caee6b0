"""Good files to damage: one plausible ECG, made by the synthetic generator, in every format that is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.synthetic import write_synthetic_ptbxl

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
RATE = 100
N_SAMPLES = 1000

Signals = npt.NDArray[np.float64]


def ptbxl_folder(folder: Path, n_records: int = 24) -> Path:
    """Write a synthetic folder in PTB-XL's layout."""
    write_synthetic_ptbxl(folder / "ptbxl", n_records=n_records)
    return folder / "ptbxl"


def ecg(folder: Path, rate: int = RATE) -> Signals:
    """Return 10 s of a synthetic ECG, (12, 10 × rate) in whole µV as mV; 100 Hz, or interpolated from it."""
    path = next((ptbxl_folder(folder) / "records100").glob("*/*.dat"))
    units_CT = np.fromfile(path, "<i2").reshape(N_SAMPLES, len(LEADS)).T
    times = np.arange(10 * rate) * (RATE / rate)
    return np.stack([np.round(np.interp(times, np.arange(N_SAMPLES), lead)) for lead in units_CT]) * 1e-3


def checksum(digital_T: npt.NDArray[np.int64]) -> int:
    """Return WFDB's 16-bit sum of a signal's samples."""
    return int(digital_T.sum()) % 65536
