"""Synthetic ECG folders with PTB-XL's layout, labels and folds, so that everything runs without a download.

The signals come from ``heart_model``. The proportions of classes, codes and likelihoods below were counted in PTB-XL
1.0.3 (Wagner et al. 2020, doi 10.1038/s41597-020-0495-6). Nothing is copied from it: every record, patient and text
is made up. The folder is for trying and testing; it has no medical meaning.
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from ecg_lightning.data.checksums import MAX_FILE_BYTES, SUMS_NAME
from ecg_lightning.data.heart_model import (
    DURATION_S,
    LEADS,
    RHYTHMS,
    Noise,
    Patient,
    draw_heart,
    draw_noise,
    draw_patient,
    draw_signal,
    qrs_axis_deg,
)
from ecg_lightning.data.ptbxl import MAX_MARKER_BYTES, SYNTHETIC_DEVICE, SYNTHETIC_MARKER
from ecg_lightning.errors import DataError
from ecg_lightning.system.disk import explain_full, is_full
from ecg_lightning.system.regular_files import read_regular

_GENERATOR_VERSION = 1  # raise it whenever the same arguments give other bytes
_RATE_SUFFIX = {100: "lr", 500: "hr"}
_FILE_BYTES = 4096  # disk space of a header
_MAX_RECORDS = 99_999  # file names have five digits

_CLASSES_RAREST_FIRST = ("HYP", "CD", "STTC", "MI", "NORM")
_N_FOLDS = 10
_SAME_PATIENT = 0.13  # gives 1 / (1 - 0.13) = 1.15 records per patient

# The number of records per 100 with each set of classes. One slot is left for the rare triple and quadruple.
_DECK: tuple[tuple[int, tuple[str, ...]], ...] = (
    (42, ("NORM",)),
    (12, ("MI",)),
    (11, ("STTC",)),
    (8, ("CD",)),
    (6, ("MI", "CD")),
    (4, ("HYP", "STTC")),
    (3, ("MI", "STTC")),
    (2, ("HYP",)),
    (2, ("CD", "STTC")),
    (2, ("NORM", "CD")),
    (2, ("HYP", "MI", "STTC")),
    (1, ("CD", "HYP")),
    (1, ("CD", "MI", "STTC")),
    (1, ("CD", "HYP", "STTC")),
    (1, ("HYP", "MI")),
    (2, ()),
)
_LAST_CARDS = (("CD", "HYP", "MI"), ("CD", "HYP", "MI", "STTC"))
_BLOCK = 100

_CODES: dict[str, dict[str, float]] = {
    "NORM": {"NORM": 1.0},
    "MI": {"IMI": 0.40, "ASMI": 0.35, "ILMI": 0.08, "AMI": 0.06, "ALMI": 0.06, "LMI": 0.05},
    "STTC": {"NDT": 0.37, "ISC_": 0.26, "NST_": 0.16, "ISCAL": 0.13, "ISCIN": 0.05, "LNGQT": 0.03},
    "CD": {"LAFB": 0.30, "IRBBB": 0.21, "1AVB": 0.15, "IVCD": 0.14, "CRBBB": 0.10, "CLBBB": 0.10},
    "HYP": {"LVH": 0.80, "LAO/LAE": 0.15, "RVH": 0.05},
}
_CODES_CD_IN_NORM = {"IRBBB": 0.50, "1AVB": 0.25, "LAFB": 0.15, "IVCD": 0.10}
# The usual second codes of a class: the probability that a record has one, and the shares of the codes.
_COMPANIONS: dict[str, tuple[float, dict[str, float]]] = {
    "MI": (0.14, {"IMI": 0.5, "ASMI": 0.5}),
    "CD": (0.16, {"1AVB": 0.6, "LAFB": 0.4}),
    "HYP": (0.12, {"LAO/LAE": 1.0}),
}
_LIKELIHOODS: dict[str, dict[float, float]] = {
    "NORM": {100.0: 0.754, 80.0: 0.185, 50.0: 0.053, 35.0: 0.004, 15.0: 0.004},
    "MI": {100.0: 0.49, 50.0: 0.20, 15.0: 0.22, 80.0: 0.05, 35.0: 0.04},
    "STTC": {100.0: 0.93, 50.0: 0.05, 35.0: 0.01, 15.0: 0.01},
    "CD": {100.0: 0.97, 50.0: 0.02, 15.0: 0.01},
    "HYP": {100.0: 0.52, 50.0: 0.27, 15.0: 0.09, 35.0: 0.08, 80.0: 0.04},
}
_RHYTHM_SHARES = {"SR": 0.83, "STACH": 0.04, "SARRH": 0.03, "SBRAD": 0.03, "AFIB": 0.07}
_NEEDS_P_WAVE = {"1AVB", "LAO/LAE"}

# code, description, is diagnostic, is form, is rhythm, class, subclass.
_STATEMENTS: tuple[tuple[str, str, bool, bool, bool, str, str], ...] = (
    ("NORM", "normal ECG", True, False, False, "NORM", "NORM"),
    ("IMI", "inferior infarction", True, False, False, "MI", "IMI"),
    ("ILMI", "inferolateral infarction", True, False, False, "MI", "IMI"),
    ("ASMI", "anteroseptal infarction", True, False, False, "MI", "AMI"),
    ("AMI", "anterior infarction", True, False, False, "MI", "AMI"),
    ("ALMI", "anterolateral infarction", True, False, False, "MI", "AMI"),
    ("LMI", "lateral infarction", True, False, False, "MI", "LMI"),
    ("NDT", "flat T waves", True, True, False, "STTC", "STTC"),
    ("NST_", "unspecific ST change", True, True, False, "STTC", "NST_"),
    ("LNGQT", "long QT", True, True, False, "STTC", "STTC"),
    ("ISC_", "unspecific ischaemia", True, False, False, "STTC", "ISC_"),
    ("ISCAL", "anterolateral ischaemia", True, False, False, "STTC", "ISCA"),
    ("ISCIN", "inferior ischaemia", True, False, False, "STTC", "ISCI"),
    ("LAFB", "left anterior fascicular block", True, False, False, "CD", "LAFB/LPFB"),
    ("IRBBB", "incomplete right bundle branch block", True, False, False, "CD", "IRBBB"),
    ("CRBBB", "complete right bundle branch block", True, False, False, "CD", "CRBBB"),
    ("CLBBB", "complete left bundle branch block", True, False, False, "CD", "CLBBB"),
    ("IVCD", "unspecific conduction disturbance", True, False, False, "CD", "IVCD"),
    ("1AVB", "first-degree AV block", True, False, False, "CD", "_AVB"),
    ("LVH", "left ventricular hypertrophy", True, False, False, "HYP", "LVH"),
    ("RVH", "right ventricular hypertrophy", True, False, False, "HYP", "RVH"),
    ("LAO/LAE", "left atrial overload", True, False, False, "HYP", "LAO/LAE"),
    ("ABQRS", "abnormal QRS", False, True, False, "", ""),
    ("QWAVE", "Q waves", False, True, False, "", ""),
    ("LVOLT", "low voltage", False, True, False, "", ""),
    ("SR", "sinus rhythm", False, False, True, "", ""),
    ("SBRAD", "sinus bradycardia", False, False, True, "", ""),
    ("STACH", "sinus tachycardia", False, False, True, "", ""),
    ("SARRH", "sinus arrhythmia", False, False, True, "", ""),
    ("AFIB", "atrial fibrillation", False, False, True, "", ""),
)
_STATEMENT_HEADER = (
    ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass,Statement Category,"
    "SCP-ECG Statement Description,AHA code,aECG REFID,CDISC Code,DICOM Code"
)
_DATABASE_HEADER = (
    "ecg_id,patient_id,age,sex,height,weight,nurse,site,device,recording_date,report,scp_codes,heart_axis,"
    "infarction_stadium1,infarction_stadium2,validated_by,second_opinion,initial_autogenerated_report,"
    "validated_by_human,baseline_drift,static_noise,burst_noise,electrodes_problems,extra_beats,pacemaker,"
    "strat_fold,filename_lr,filename_hr"
)


@dataclass(frozen=True)
class _Plan:
    """The plan of a record before its signal is drawn: its patient, classes and fold."""

    ecg_id: int
    patient_id: int
    classes: tuple[str, ...]
    healthy: bool
    fold: int


@dataclass(frozen=True)
class _Labels:
    """The codes of one record: likelihoods as in ``scp_codes``, severities for the heart model, and the rhythm."""

    likelihoods: dict[str, float]
    severities: dict[str, float]
    rhythm: str


def write_synthetic_ptbxl(
    root: Path, n_records: int = 2000, seed: int = 0, sampling_rates: Sequence[int] = (100,)
) -> None:
    """Write a synthetic data set in PTB-XL's layout. Nothing is written if the same data set exists already.

    The folder is built beside ``root`` and renamed into place. No reader ever sees half of it, and two processes may
    write the same root at once. The bytes depend only on the arguments, and record k does not depend on ``n_records``.

    Args:
        root: The folder to make. It must be absent, empty, or hold the same synthetic data set.
        n_records: The number of records, 1 to 99999. From 100 on, each fold has records of each class.
        seed: The seed of every random number, 0 or more.
        sampling_rates: 100, 500 or both, Hz.

    Raises:
        DataError: An argument is out of range, ``root`` holds something else, or it cannot be written.
    """
    root = Path(root).resolve()
    rates = tuple(sorted(set(sampling_rates)))
    marker = _marker(n_records, seed, rates)
    if _is_there(root, marker):
        return
    building = root.parent / f".{root.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        building.mkdir(parents=True)
        _write_folder(building, n_records, seed, rates, marker)
        _move(building, root, marker)
    except OSError as error:
        if is_full(error):
            shutil.rmtree(building, ignore_errors=True)  # before the free bytes are counted
            needed = n_records * sum(2 * len(LEADS) * round(DURATION_S * rate) + _FILE_BYTES for rate in rates)
            raise DataError(explain_full(root, needed)) from error
        raise DataError(
            f"The synthetic data set cannot be written to {root}: {error.strerror or error}; "
            "free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_written(root: Path, n_records: int, seed: int, sampling_rates: Sequence[int]) -> bool:
    """Return whether ``root`` holds the data set that `write_synthetic_ptbxl` would write there.

    Raises:
        DataError: An argument is out of range, or ``root`` holds something else.
    """
    return _is_there(Path(root).resolve(), _marker(n_records, seed, tuple(sorted(set(sampling_rates)))))


def _marker(n_records: int, seed: int, rates: tuple[int, ...]) -> dict[str, Any]:
    """Check the arguments and return the content of the marker file."""
    if not 1 <= n_records <= _MAX_RECORDS:
        raise DataError(f"n_records is {n_records}; give a number from 1 to {_MAX_RECORDS}.")
    if seed < 0:
        raise DataError(f"The seed of the synthetic data set is {seed}; give 0 or more.")
    if not rates or not set(rates) <= set(_RATE_SUFFIX):
        raise DataError(f"sampling_rates is {list(rates)}, but PTB-XL has 100 Hz and 500 Hz; give one or both.")
    return {
        "format": "synthetic PTB-XL",
        "generator_version": _GENERATOR_VERSION,
        "n_records": int(n_records),
        "seed": int(seed),
        "sampling_rates": [int(rate) for rate in rates],
        "note": "synthetic ECGs for trying and testing; no medical meaning",
    }


def _is_there(root: Path, marker: Mapping[str, Any]) -> bool:
    """Return whether ``root`` holds the requested data set already. A root that holds something else is refused."""
    way_out = "give another folder, or delete this one."
    if not root.exists():
        return False
    if not root.is_dir():
        raise DataError(f"{root} is a file, so no synthetic data set can be written there; {way_out}")
    if next(root.iterdir(), None) is None:
        return False
    marker_path = root / SYNTHETIC_MARKER
    if not marker_path.is_file():
        raise DataError(
            f"{root} holds other files than a synthetic data set (it has no {SYNTHETIC_MARKER}), so nothing was "
            "written; give another folder for the synthetic data set."
        )
    try:
        found = json.loads(read_regular(marker_path, MAX_MARKER_BYTES))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found != marker:
        known = found if isinstance(found, dict) else {}
        differing = [f"{key} {known.get(key)} instead of {value}" for key, value in marker.items()]
        differing = [text for text, key in zip(differing, marker, strict=True) if known.get(key) != marker[key]]
        raise DataError(f"{root} holds another synthetic data set ({', '.join(differing)}); {way_out}")
    if not _is_complete(root):
        raise DataError(
            f"{root} holds a synthetic data set with missing files; delete the folder, and it is written again."
        )
    return True


def _is_complete(root: Path) -> bool:
    """Return whether each file of the checksum list exists. Only names are checked, because this runs at each start."""
    try:
        sums = read_regular(root / SUMS_NAME, MAX_FILE_BYTES).decode()
    except (OSError, ValueError):
        return False
    listed = {line.partition("  ")[2] for line in sums.splitlines()}
    found = {
        (Path(folder) / name).relative_to(root).as_posix() if folder != str(root) else name
        for folder, _, names in os.walk(root)
        for name in names
    }
    return listed <= found


def _move(building: Path, root: Path, marker: Mapping[str, Any]) -> None:
    """Rename the finished folder into place, or keep the same data set if another process was faster."""
    try:
        building.rename(root)
    except OSError:
        if not _is_there(root, marker):
            raise


def _write_folder(root: Path, n_records: int, seed: int, rates: tuple[int, ...], marker: Mapping[str, Any]) -> None:
    """Write every file of the data set into an empty folder."""
    sums: dict[str, str] = {}

    def write(name: str, content: bytes) -> None:
        (root / name).write_bytes(content)
        sums[name] = hashlib.sha256(content).hexdigest()

    for rate, start in itertools.product(rates, range(0, n_records + 1, 1000)):
        (root / f"records{rate}" / f"{start:05d}").mkdir(parents=True)
    rows = []
    for plan in itertools.islice(_plans(seed), n_records):
        patient = draw_patient(_rng(seed, 1, plan.patient_id), plan.healthy)
        rng = _rng(seed, 2, plan.ecg_id)
        labels = _draw_labels(plan.classes, rng)
        heart = draw_heart(patient, labels.severities, RHYTHMS[labels.rhythm], rng)
        noise = draw_noise(rng)
        for rate in rates:
            name = _record_name(plan.ecg_id, rate)
            signals_T12 = draw_signal(heart, patient, noise, rate, _rng(seed, 3, plan.ecg_id))
            write(f"{name}.dat", signals_T12.astype("<i2", copy=False).tobytes())
            write(f"{name}.hea", _header(name.rpartition("/")[2], rate, signals_T12))
        rows.append(_database_row(plan, patient, labels, noise, qrs_axis_deg(heart, patient), rng))
    _write_csv(root / "ptbxl_database.csv", _DATABASE_HEADER, rows)
    _write_csv(root / "scp_statements.csv", _STATEMENT_HEADER, _statement_rows())
    (root / SYNTHETIC_MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    for name in ("ptbxl_database.csv", "scp_statements.csv", SYNTHETIC_MARKER):
        sums[name] = hashlib.sha256((root / name).read_bytes()).hexdigest()
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    (root / SUMS_NAME).write_text(lines, encoding="utf-8", newline="\n")


def _rng(seed: int, stream: int, index: int) -> Generator:
    """Return the random generator of one item (stream 0: a block of labels, 1: a patient, 2: a record, 3: a signal)."""
    return default_rng(SeedSequence((seed, stream, index)))


def _record_name(ecg_id: int, rate: int) -> str:
    """Return the path of a record inside the folder, without extension, as PTB-XL forms it."""
    return f"records{rate}/{ecg_id // 1000 * 1000:05d}/{ecg_id:05d}_{_RATE_SUFFIX[rate]}"


def _header(name: str, rate: int, signals_T12: NDArray[np.int16]) -> bytes:
    """Return a WFDB header (https://physionet.org/physiotools/wag/header-5.htm) with PTB-XL's fields.

    Args:
        name: Record name without folder.
        rate: Samples a second.
        signals_T12: Samples in µV, shape (T, 12).
    """
    checksums = signals_T12.sum(axis=0, dtype=np.int64) % 65536
    lines = [f"{name} {len(LEADS)} {rate} {round(DURATION_S * rate)}"]
    lines += [
        f"{name}.dat 16 1000.0(0)/mV 16 0 {first} {checksum} 0 {lead}"
        for first, checksum, lead in zip(signals_T12[0].tolist(), checksums.tolist(), LEADS, strict=True)
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _write_csv(path: Path, header: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table; columns that a row lacks stay empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header.split(","), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# --- labels, patients and folds -----------------------------------------------------------------------------------


def _deck_records(seed: int) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield each record's classes, without end, and whether it has the same patient as the record before.

    Each block of 100 records has exactly PTB-XL's shares. Even 100 records therefore have ten or more of each class,
    one for each fold.
    """
    cards = [classes for count, classes in _DECK for _ in range(count)]
    for block in itertools.count():
        rng = _rng(seed, 0, block)
        hand = [*cards, _LAST_CARDS[int(rng.random() < 0.6)]]
        order, same = rng.permutation(_BLOCK), rng.random(_BLOCK) < _SAME_PATIENT
        yield from ((hand[i], bool(is_same)) for i, is_same in zip(order, same, strict=True))


def _plans(seed: int) -> Iterator[_Plan]:
    """Yield the plan of record 1, 2, ... without end, patient by patient.

    A patient goes to the fold with the fewest records of the patient's rarest class; among these, to the fold with the
    fewest records.
    """
    counts = {name: [0] * _N_FOLDS for name in ("", *_CLASSES_RAREST_FIRST)}  # "" counts every record
    deck = _deck_records(seed)
    patient_id, ecg_id = 0, 0
    waiting = next(deck)[0]
    while True:
        records = [waiting]
        for classes, same in deck:
            if not same:
                waiting = classes
                break
            records.append(classes)
        patient_id += 1
        shown = {name for classes in records for name in classes}
        rarest = next((name for name in _CLASSES_RAREST_FIRST if name in shown), "")
        fold = min(range(_N_FOLDS), key=lambda i: (counts[rarest][i], counts[""][i], (i + patient_id) % _N_FOLDS))
        healthy = shown <= {"NORM"} or shown == {"NORM", "CD"}
        for classes in records:
            ecg_id += 1
            for name in ("", *classes):
                counts[name][fold] += 1
            yield _Plan(ecg_id, patient_id, classes, healthy, fold + 1)


def _choose(rng: Generator, shares: Mapping[Any, float]) -> Any:
    """Draw one key with a chance proportional to its value."""
    limits = list(itertools.accumulate(shares.values()))
    point = rng.random() * limits[-1]
    return next((key for key, limit in zip(shares, limits, strict=True) if point < limit), next(iter(shares)))


def _draw_labels(classes: tuple[str, ...], rng: Generator) -> _Labels:
    """Draw codes, likelihoods, severities and the rhythm of a record of the given classes."""
    codes: dict[str, str] = {}
    for name in classes:
        shares = _CODES_CD_IN_NORM if name == "CD" and "NORM" in classes else _CODES[name]
        if name == "CD" and "MI" in classes:  # a left bundle branch block hides the signs of an infarction
            shares = {code: share for code, share in shares.items() if code != "CLBBB"}
        codes[_choose(rng, shares)] = name
        share, companions = _COMPANIONS.get(name, (0.0, {}))
        if rng.random() < share and "NORM" not in classes:
            codes.setdefault(_choose(rng, companions), name)
    likelihoods = {code: float(_choose(rng, _LIKELIHOODS[name])) for code, name in codes.items()}
    # On average, a surer annotator means a clearer sign. Subtle signs keep the task from being trivial.
    severities = {code: _draw_severity(likelihood, rng) for code, likelihood in likelihoods.items()}
    if "NORM" in classes:
        severities = {code: 0.6 * severity for code, severity in severities.items()}
    for code in _draw_forms(classes, severities, rng):
        likelihoods[code] = 0.0
        severities[code] = 1.0
    without_af = "NORM" in classes or not _NEEDS_P_WAVE.isdisjoint(codes)
    rhythm = _choose(rng, {**_RHYTHM_SHARES, "AFIB": 0.0 if without_af else 0.12 if classes else 0.6})
    likelihoods[rhythm] = 0.0
    return _Labels(likelihoods, severities, rhythm)


def _draw_severity(likelihood: float, rng: Generator) -> float:
    """Draw the severity of a sign, from 0 (not visible) to 1.1."""
    return float(np.clip(rng.normal(0.15 + 0.0040 * likelihood, 0.25), 0.0, 1.1))


def _draw_forms(classes: tuple[str, ...], severities: Mapping[str, float], rng: Generator) -> list[str]:
    """Draw form statements, which belong to no class."""
    chances = {
        "LVOLT": 0.0 if "HYP" in classes else 0.012,
        "QWAVE": 0.1 if "MI" in classes and max(severities.values()) > 0.6 else 0.0,
        "ABQRS": 0.3 if {"MI", "CD"} & set(classes) else 0.05,
    }
    return [code for code, chance in chances.items() if rng.random() < chance]


# --- tables -------------------------------------------------------------------------------------------------------


def _statement_rows() -> list[dict[str, object]]:
    """Return the rows of ``scp_statements.csv``, one per code in use; flags are 1.0 or empty, as in PTB-XL."""
    rows: list[dict[str, object]] = []
    for code, description, diagnostic, form, rhythm, diagnostic_class, subclass in _STATEMENTS:
        flags = {"diagnostic": diagnostic, "form": form, "rhythm": rhythm}
        rows.append(
            {
                "": code,
                "description": description,
                **{column: 1.0 if flag else "" for column, flag in flags.items()},
                "diagnostic_class": diagnostic_class,
                "diagnostic_subclass": subclass,
                "Statement Category": "synthetic",
                "SCP-ECG Statement Description": description,
            }
        )
    return rows


def _heart_axis(degrees: float) -> str:
    """Return PTB-XL's word for the frontal QRS axis, with the usual limits of -30, 90 and 120 degrees."""
    limits = ((-90, "AXR"), (-30, "ALAD"), (0, "LAD"), (90, "MID"), (120, "RAD"), (180, "ARAD"))
    return next((word for limit, word in limits if degrees <= limit), "MID")


def _database_row(
    plan: _Plan, patient: Patient, labels: _Labels, noise: Noise, axis_deg: float, rng: Generator
) -> dict[str, object]:
    """Return the row of one record in ``ptbxl_database.csv``."""
    date = datetime.datetime(1990, 1, 1) + datetime.timedelta(hours=4 * plan.ecg_id, seconds=int(rng.integers(10_000)))
    human = bool(rng.random() < 0.74)
    return {
        "ecg_id": plan.ecg_id,
        "patient_id": float(plan.patient_id),
        "age": 300.0 if patient.age > 89 else float(patient.age),  # PTB-XL hides ages above 89 as 300
        "sex": patient.sex,
        "nurse": float(rng.integers(10)),
        "site": float(rng.integers(40)),
        "device": SYNTHETIC_DEVICE,
        "recording_date": date.isoformat(sep=" "),
        "report": "synthetic ecg",
        "scp_codes": str(labels.likelihoods),
        "heart_axis": _heart_axis(axis_deg) if rng.random() < 0.6 else "",
        "infarction_stadium1": "unknown" if "MI" in plan.classes else "",
        "validated_by": float(rng.integers(10)) if human else "",
        "second_opinion": False,
        "initial_autogenerated_report": not human,
        "validated_by_human": human,
        "baseline_drift": " , alles" if noise.wander_mv > 0.07 else "",
        "static_noise": " , alles" if noise.muscle_mv > 0.02 else "",
        "strat_fold": plan.fold,
        "filename_lr": _record_name(plan.ecg_id, 100),
        "filename_hr": _record_name(plan.ecg_id, 500),
    }
