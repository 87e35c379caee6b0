"""Scores of parts of a split: by sex, age, device, signal quality and origin of the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.source import Cohort
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.bootstrap import Floats, Interval
from ecg_lightning.evaluation.choices import Decided
from ecg_lightning.evaluation.predictions import Predictions

Flags = npt.NDArray[np.bool_]

MIN_POSITIVES = 20
"""The least number of positive records for a class to count in a group's scores."""

_SEX = {0: "male", 1: "female"}
_AGES = {"under 40": (0, 40), "40–64": (40, 65), "65–79": (65, 80), "80 and over": (80, np.inf)}


@dataclass(frozen=True)
class Subgroup:
    """The scores of one group.

    Attributes:
        by: the property that the records are grouped by.
        name: the name of the group.
        n_records: the number of records in the group.
        positives: class → number of its records in the group.
        classes: the classes with at least `MIN_POSITIVES` positive records and as many others in the group.
        f1: macro F1 over these classes; None if there are none.
        auroc: macro AUROC over these classes; None if there are none.
        common: the classes that count in every group of this kind with any class. They make groups comparable.
        f1_common: macro F1 over the common classes; None if none of them counts here.
        auroc_common: macro AUROC over the common classes; None if none of them counts here.
    """

    by: str
    name: str
    n_records: int
    positives: dict[str, int]
    classes: tuple[str, ...]
    f1: Interval | None
    auroc: Interval | None
    common: tuple[str, ...]
    f1_common: Interval | None
    auroc_common: Interval | None


def subgroups(decided: Decided, split: Predictions, cohort: Cohort, n_resamples: int = 1000) -> list[Subgroup]:
    """Return the scores of every group of a split, with the calibration, thresholds and resamples of the whole split.

    Args:
        decided: the decided probabilities of the split.
        split: the predictions of the split.
        cohort: the table that holds the records.
        n_resamples: the number of resamples of the bootstrap by patient.

    Raises:
        DataError: the table does not hold a record.
    """
    weights_RN = bootstrap.patient_weights(split.patient_ids, n_resamples)  # the same for all groups and the split
    kinds: dict[str, list[tuple[str, Flags]]] = {}
    for by, name, chosen_N in _groups(cohort, cohort.rows_of(split.ecg_ids)):
        kinds.setdefault(by, []).append((name, chosen_N))
    found = []
    for by, groups in kinds.items():
        counts = [_counts(split.targets_NC[chosen_N]) for _, chosen_N in groups]
        common_C = np.logical_and.reduce([counts_C for counts_C in counts if counts_C.any()] or counts)
        for (name, chosen_N), counts_C in zip(groups, counts, strict=True):
            positives_C = split.targets_NC[chosen_N].sum(axis=0).tolist()
            shared_C = common_C & counts_C
            scores = _scores(decided, split, chosen_N, (counts_C, shared_C), weights_RN)
            found.append(
                Subgroup(
                    by,
                    name,
                    int(chosen_N.sum()),
                    dict(zip(split.classes, positives_C, strict=True)),
                    _names(split, counts_C),
                    *scores[0],
                    _names(split, shared_C),
                    *scores[1],
                )
            )
    return found


def _counts(targets_NC: Flags) -> Flags:
    """Return (C,) flags of the classes with enough positive and enough negative records."""
    positives_C = targets_NC.sum(axis=0)
    enough_C: Flags = (positives_C >= MIN_POSITIVES) & (len(targets_NC) - positives_C >= MIN_POSITIVES)
    return enough_C


def _names(split: Predictions, chosen_C: Flags) -> tuple[str, ...]:
    return tuple(name for name, chosen in zip(split.classes, chosen_C, strict=True) if chosen)


def _scores(
    decided: Decided, split: Predictions, chosen_N: Flags, kinds: Sequence[Flags], weights_RN: Floats
) -> list[tuple[Interval | None, Interval | None]]:
    """Return macro F1 and AUROC of some records over each kind of classes, or None without classes.

    The first kind holds the classes of all others.
    """
    widest_C = kinds[0]
    if not widest_C.any():
        return [(None, None)] * len(kinds)
    weights_RN = weights_RN[:, chosen_N]
    targets_NC = split.targets_NC[chosen_N][:, widest_C]
    f1_RC = bootstrap.rates(decided.decisions[chosen_N][:, widest_C], targets_NC, weights_RN)["f1"]
    auroc_RC = bootstrap.auroc(decided.probabilities_NC[chosen_N][:, widest_C], targets_NC, weights_RN)
    found: list[tuple[Interval | None, Interval | None]] = []
    for classes_C in kinds:
        if classes_C.any():
            columns = classes_C[widest_C]
            f1, auroc = (bootstrap.interval(bootstrap.macro(scores_RC[:, columns])) for scores_RC in (f1_RC, auroc_RC))
            found.append((f1, auroc))
        else:
            found.append((None, None))
    return found


def _groups(cohort: Cohort, rows_N: npt.NDArray[np.int64]) -> Iterator[tuple[str, str, Flags]]:
    """Yield the property that records are grouped by, each group's name, and its (N,) members."""
    if cohort.sexes is not None:
        for code, name in _SEX.items():
            yield "sex", name, cohort.sexes[rows_N] == code
    if cohort.ages is not None:
        ages_N = cohort.ages[rows_N]
        for name, (least, below) in _AGES.items():
            yield "age", name, (ages_N >= least) & (ages_N < below)
    for by, grouping in cohort.groups.items():
        values_N = grouping.values[rows_N]
        for name in grouping.names or [name for name, _ in Counter(values_N.tolist()).most_common() if name]:
            yield by, name, values_N == name
