"""The made-up patients, folds and labels of the synthetic data set.

The proportions of classes, codes and likelihoods were counted in PTB-XL 1.0.3 (Wagner et al. 2020,
doi 10.1038/s41597-020-0495-6). Nothing is copied from it: every record, patient and text is made up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

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


@dataclass(frozen=True)
class Plan:
    """The plan of a record before its signal is drawn: its patient, classes and fold."""

    ecg_id: int
    patient_id: int
    classes: tuple[str, ...]
    healthy: bool
    fold: int


@dataclass(frozen=True)
class Labels:
    """The codes of one record: likelihoods as in ``scp_codes``, severities for the heart model, and the rhythm."""

    likelihoods: dict[str, float]
    severities: dict[str, float]
    rhythm: str


def rng_of(seed: int, stream: int, index: int) -> Generator:
    """Return the random generator of one item (stream 0: a block of labels, 1: a patient, 2: a record, 3: a signal)."""
    return default_rng(SeedSequence((seed, stream, index)))


def _deck_records(seed: int) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield each record's classes, without end, and whether it has the same patient as the record before.

    Each block of 100 records has exactly PTB-XL's shares. Even 100 records therefore have ten or more of each class,
    one for each fold.
    """
    cards = [classes for count, classes in _DECK for _ in range(count)]
    for block in itertools.count():
        rng = rng_of(seed, 0, block)
        hand = [*cards, _LAST_CARDS[int(rng.random() < 0.6)]]
        order, same = rng.permutation(_BLOCK), rng.random(_BLOCK) < _SAME_PATIENT
        yield from ((hand[i], bool(is_same)) for i, is_same in zip(order, same, strict=True))


def plans(seed: int) -> Iterator[Plan]:
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
            yield Plan(ecg_id, patient_id, classes, healthy, fold + 1)


def _choose(rng: Generator, shares: Mapping[Any, float]) -> Any:
    """Draw one key with a chance proportional to its value."""
    limits = list(itertools.accumulate(shares.values()))
    point = rng.random() * limits[-1]
    return next((key for key, limit in zip(shares, limits, strict=True) if point < limit), next(iter(shares)))


def draw_labels(classes: tuple[str, ...], rng: Generator) -> Labels:
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
    return Labels(likelihoods, severities, rhythm)


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
