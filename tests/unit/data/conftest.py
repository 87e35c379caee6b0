"""Folders in PTB-XL's layout for the data tests, and a cache folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from ecg_lightning.data.synthetic import write_synthetic_ptbxl

LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
N_RECORDS = 120


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone, in place of the suite's: many tests look at its files."""
    folder = tmp_path / "signal-cache"
    monkeypatch.setenv("ECG_LIGHTNING_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 records at 100 Hz, to be read only."""
    root = tmp_path_factory.mktemp("pristine") / "ptbxl"
    write_synthetic_ptbxl(root, n_records=N_RECORDS, seed=0)
    return root


@pytest.fixture(scope="session")
def pristine_500(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 records at 500 Hz, to be read only."""
    root = tmp_path_factory.mktemp("pristine-500") / "ptbxl"
    write_synthetic_ptbxl(root, n_records=N_RECORDS, seed=0, sampling_rates=(500,))
    return root


@pytest.fixture
def ptbxl(pristine: Path, tmp_path: Path) -> Path:
    """A copy of `pristine` that the test may damage."""
    return Path(shutil.copytree(pristine, tmp_path / "ptbxl"))


@pytest.fixture(scope="session")
def table(pristine: Path) -> pd.DataFrame:
    """The table of `pristine`, by pandas alone."""
    return pd.read_csv(pristine / "ptbxl_database.csv")


@pytest.fixture
def edit_table() -> Callable[[Path, Callable[[pd.DataFrame], object]], None]:
    """Changes the table of a folder: `edit_table(root, change)`, where `change` works in place."""

    def edit(root: Path, change: Callable[[pd.DataFrame], object]) -> None:
        path = root / "ptbxl_database.csv"
        rows = pd.read_csv(path).astype(object)
        change(rows)
        rows.to_csv(path, index=False)

    return edit


@pytest.fixture
def part_of_ptbxl(ptbxl: Path, edit_table: Callable[[Path, Callable[[pd.DataFrame], object]], None]) -> Path:
    """A copy of `pristine` without its marker and with a device of PTB-XL, so that it passes for a part of PTB-XL."""
    edit_table(ptbxl, lambda rows: rows.__setitem__("device", "CS-12"))
    (ptbxl / "SYNTHETIC.json").unlink()
    return ptbxl


@pytest.fixture
def write_record() -> Callable[..., None]:
    """Writes one record as PTB-XL does: `write_record(folder, name, signals_CT, rate)`; independent of the package."""

    def write(
        folder: Path, name: str, signals_CT: npt.NDArray[np.int16], rate: int = 100, leads: Sequence[str] = LEADS
    ) -> None:
        lines = [f"{name} {len(signals_CT)} {rate} {signals_CT.shape[1]}"]
        lines += [
            f"{name}.dat 16 1000.0(0)/mV 16 0 {signal[0]} {sum(signal.tolist()) % 65536} 0 {lead}"
            for signal, lead in zip(signals_CT, leads, strict=True)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
        (folder / f"{name}.dat").write_bytes(np.ascontiguousarray(signals_CT.T, "<i2").tobytes())

    return write
