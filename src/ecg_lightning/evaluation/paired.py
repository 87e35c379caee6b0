"""Two recipes on the same records, each trained once or with several seeds: a paired bootstrap of their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ecg_lightning.errors import DataError
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.bootstrap import Floats, Interval
from ecg_lightning.evaluation.decisions import Decided, decide, macro_scores
from ecg_lightning.evaluation.predictions import Predictions

Training = tuple[Predictions, Predictions]
"""A training's predictions of the validation fold and of the split to score."""


class Scores(NamedTuple):
    """Macro scores of S trainings of one recipe, (S, R + 1); the sample's own first.

    Attributes:
        f1: at each training's thresholds of the validation fold.
        auroc: of its probabilities.
    """

    f1: Floats
    auroc: Floats


@dataclass(frozen=True)
class Difference:
    """One recipe against another on the same records.

    Attributes:
        f1: of the means of macro F1.
        auroc: of the means of macro AUROC.
    """

    f1: Interval
    auroc: Interval


def score(trainings: Sequence[Training], like: Predictions, n_resamples: int = 1000) -> Scores:
    """Macro scores of every training in the same resamples of the patients.

    Args:
        trainings: of one recipe.
        like: gives the order of the records, so that scores of several recipes are paired.
        n_resamples: R, of the bootstrap.

    Raises:
        DataError: the trainings were not scored on the records of `like`, with its labels.
    """
    in_order = np.argsort(like.ecg_ids)
    weights_RN = bootstrap.patient_weights(like.patient_ids[in_order], n_resamples)
    targets_NC = like.targets_NC[in_order]
    scores = []
    for val, split in trainings:
        order = np.argsort(split.ecg_ids)
        if (
            split.classes != like.classes
            or not np.array_equal(split.ecg_ids[order], like.ecg_ids[in_order])
            or not np.array_equal(split.targets_NC[order], targets_NC)
        ):
            raise DataError(
                f"{len(split.ecg_ids)} and {len(like.ecg_ids)} records that are not the same, or have other labels: "
                "compare runs of the same folds, records and label rule"
            )
        decided = decide(val, split)
        ordered = Decided(decided.probabilities_NC[order], decided.thresholds_C)
        scores.append(macro_scores(ordered, targets_NC, weights_RN))
    f1, auroc = zip(*scores, strict=True)
    return Scores(np.stack(f1), np.stack(auroc))


def mean_of_trainings(scores_SR: Floats, seed: int = 0) -> Floats:
    """(R + 1,) means over the trainings; each resample draws the trainings, too, with replacement.

    So an interval covers what other patients and other seeds would give. Of one training nothing is known of other
    seeds, and the interval covers the patients alone.

    Args:
        scores_SR: (S, R + 1) of `Scores`.
        seed: of the drawing; another one for each recipe, since its trainings belong to no other's.
    """
    n_trainings, n_columns = scores_SR.shape
    draws_SR = np.random.default_rng(seed).integers(n_trainings, size=scores_SR.shape)
    draws_SR[:, 0] = np.arange(n_trainings)
    means_R: Floats = scores_SR[draws_SR, np.arange(n_columns)].mean(axis=0)
    return means_R


def compare(recipe: Scores, reference: Scores) -> Difference:
    """Paired by patient; trainings are drawn for each recipe on its own.

    Args:
        recipe: what `score` gave.
        reference: the same of the one it is compared with, on the same records.
    """
    f1, auroc = (
        bootstrap.interval(mean_of_trainings(own) - mean_of_trainings(its, seed=1))
        for own, its in zip(recipe, reference, strict=True)
    )
    return Difference(f1, auroc)


def verdict(difference: Interval) -> str:
    """`better` or `worse` where the whole interval lies on one side of 0, else `no difference shown`."""
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no difference shown"
