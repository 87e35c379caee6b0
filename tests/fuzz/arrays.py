"""CSV and NPY inputs of `predict`: against plain Python and NumPy, and against the ECG that a file was made from."""

from __future__ import annotations

import codecs
import csv
import io
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from ecg_lightning.data.recordings.records import read_record
from fuzz.good_files import LEADS, N_SAMPLES, RATE, Signals, ecg
from fuzz.lanes import Target, WrongAnswerError
from fuzz.mutation import damaged_bytes, damaged_text

_EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
_NAMES = {  # ways in which devices and people name a lead
    "as they are": str,
    "upper": str.upper,
    "MDC": lambda lead: f"MDC_ECG_LEAD_{lead.upper()}",
    "spaces": lambda lead: f" {lead} ",
    "lead": lambda lead: f"Lead {lead}",
    "ECG": lambda lead: f"ECG {lead}",
    "D": lambda lead: f"D{lead}" if lead in ("I", "II", "III") else lead,
    "C": lambda lead: lead.replace("V", "C") if lead.startswith("V") else lead,
    "units": lambda lead: f"{lead} (mV)",
    "brackets": lambda lead: f"{lead} [mV]",
}


def targets(folder: Path) -> list[Target]:
    """Return the targets, with their good files in `folder`."""
    signals_CT = ecg(folder)
    rows = "\n".join(",".join(f"{value:.3f}" for value in row) for row in signals_CT.T)
    named = ",".join(LEADS) + "\n" + rows + "\n"
    csv_path, npy_path = folder / "record.csv", folder / "record.npy"
    damaged = [damaged_text(named, ","), damaged_text(rows, ","), damaged_bytes(named.encode(), 3)]
    return [
        Target("csv input", st.one_of(*damaged), partial(_check_csv, csv_path)),
        Target("csv dialects", _dialects(signals_CT), partial(_check_dialect, csv_path, signals_CT)),
        Target("npy input", _arrays(signals_CT), partial(_check_npy, npy_path)),
    ]


def _arrays(signals_CT: Signals) -> st.SearchStrategy[bytes]:
    """Damaged .npy files: mostly the header, which says type, order and shape."""
    forms = (signals_CT.astype("<f4"), signals_CT.T.astype("<f8"), (signals_CT * 1e3).astype("<i2"), signals_CT.T * 0)
    files = [_npy(form) for form in forms]
    heads = [file[: file.index(b"\n") + 1] for file in files]
    edited = [
        damaged_bytes(head, 3).map(lambda start, file=file, head=head: start + file[len(head) :])
        for head, file in zip(heads, files, strict=True)
    ]
    texts = [
        damaged_text(head[10:].decode(), r"[\s,:()]").map(
            lambda text, file=file, head=head: (
                file[:10] + text.strip().ljust(len(head) - 11) + b"\n" + file[len(head) :]
            )
        )
        for head, file in zip(heads, files, strict=True)
    ]
    kinds = st.sampled_from(("<f2", ">f4", "<f8", "<i4", ">i2", "<u2", "<c8", "|b1", "<U4", "|S3", "|u1"))
    typed = kinds.map(lambda kind: _npy(np.nan_to_num(signals_CT * 1e3).astype(kind)))
    return st.one_of(*edited, *texts, *(damaged_bytes(file) for file in files), typed)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _check_npy(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found = read_record(path, sampling_rate=RATE, n_samples=N_SAMPLES, rate=RATE)
    signals = np.load(io.BytesIO(content), allow_pickle=False)
    expected_CT = signals if len(signals) == len(LEADS) else signals.T
    _compare(found.millivolts_CT, np.asarray(expected_CT[:, :N_SAMPLES], dtype=np.float64))


def _compare(found_CT: np.ndarray, expected_CT: Signals, tolerance: float = 1e-6) -> None:
    if found_CT.shape != expected_CT.shape:
        raise WrongAnswerError(f"shape {found_CT.shape}, expected {expected_CT.shape}")
    difference = np.abs(found_CT - expected_CT).max()
    if not difference <= tolerance + 1e-5 * np.abs(expected_CT).max():
        raise WrongAnswerError(f"values differ by {difference:.4g} mV")


def _check_csv(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found = read_record(path, sampling_rate=RATE, n_samples=N_SAMPLES, rate=RATE)
    _compare(found.millivolts_CT, _plain(content)[:, :N_SAMPLES])


def _plain(content: bytes) -> Signals:
    """The (12, T) numbers of a .csv file, by the csv module."""
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace").rstrip("\0")
    first = text.splitlines()[0]
    separator = max(",;\t", key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(map(str.strip, row))]
    names = [cell.strip().strip('"#').strip().upper().removeprefix("LEAD") for cell in rows[0]]
    is_named = {"I", "V1"} <= set(names)
    places = [names.index(lead.upper()) for lead in LEADS] if is_named else list(range(len(LEADS)))
    try:
        return np.array([[_decimal(row[place], separator) for row in rows[is_named:]] for place in places])
    except (ValueError, IndexError) as error:
        raise WrongAnswerError(f"accepted, but Python reads no table of numbers in it ({error})") from None


def _decimal(text: str, separator: str) -> float:
    return float(text.replace(",", ".") if separator == ";" else text)


def _dialects(signals_CT: Signals) -> st.SearchStrategy[bytes]:
    """Draw files that people write, with the same ECG in each."""

    def make(names: str, leads: tuple[str, ...], separator: str, header: str, end: str, encoding: str) -> bytes:
        columns = [signals_CT[LEADS.index(lead)] for lead in leads]
        cells = [[f"{value:.3f}" for value in row] for row in zip(*columns, strict=True)]
        if separator == ";":
            cells = [[cell.replace(".", ",") for cell in row] for row in cells]
        if header == "quoted":
            first = [f'"{_NAMES[names](lead)}"' for lead in leads]
        else:
            first = [_NAMES[names](lead) for lead in leads]
        first[0] = "# " + first[0] if header == "comment" else first[0]
        rows = [separator.join(row) for row in (first, *cells)]
        return (end.join(rows) + end).encode(encoding)

    return st.builds(
        make,
        names=st.sampled_from(sorted(_NAMES)),
        leads=st.sampled_from((LEADS, LEADS, LEADS[::-1], _EIGHT)),
        separator=st.sampled_from((",", ",", ";", "\t")),
        header=st.sampled_from(("plain", "plain", "quoted", "comment")),
        end=st.sampled_from(("\n", "\r\n")),
        encoding=st.sampled_from(("utf-8", "utf-8-sig")),
    )


def _check_dialect(path: Path, signals_CT: Signals, content: bytes) -> None:
    path.write_bytes(content)
    found = read_record(path, sampling_rate=RATE, n_samples=N_SAMPLES, rate=RATE)
    _compare(found.millivolts_CT, signals_CT, tolerance=2e-3)  # three leads of eight are sums of rounded ones
