"""Two recipes on the same records, each trained once or with several seeds: a paired bootstrap of their difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.bootstrap import Floats, Interval
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.headline import macro_scores
from ecg_lightning.evaluation.predictions import Predictions, aligned, in_order

LEAST_SEEDS = 3
"""Trainings from which on their spread is a part of an interval.

Two have one degree of freedom, whose Student's t of 12.7 makes intervals that say nothing: wider than [0, 1].
"""

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
        of: what limits the verdict: `one run` or `two seeds cannot tell` where one of them has fewer than `LEAST_SEEDS`
            trainings, so that the intervals know nothing of its other seeds but what the other recipe's say; `these
            runs` where both share trainings; empty where the intervals hold for recipes.
    """

    f1: Interval
    auroc: Interval
    of: str


def score(trainings: Sequence[Training], like: Predictions, n_resamples: int = 1000) -> Scores:
    """Macro scores of every training in the same resamples of the patients.

    Args:
        trainings: of one recipe.
        like: gives the order of the records, so that scores of several recipes are paired.
        n_resamples: R, of the bootstrap.

    Raises:
        DataError: the trainings were not scored on the records of `like`, with its labels.
    """
    like = in_order(like)
    weights_RN = bootstrap.patient_weights(like.patient_ids, n_resamples)
    decided = (Choices.fit(val).apply(aligned(split, like)) for val, split in trainings)
    scores = [macro_scores(one, like.targets_NC, weights_RN) for one in decided]
    f1, auroc = zip(*scores, strict=True)
    return Scores(np.stack(f1), np.stack(auroc))


def mean_interval(scores_SR: Floats) -> Interval:
    """Return the mean over a recipe's trainings, for other patients and, from `LEAST_SEEDS` on, for other seeds.

    Args:
        scores_SR: (S, R + 1) of `Scores`.
    """
    return _within(_with_seeds(bootstrap.interval(scores_SR.mean(axis=0)), [scores_SR]), 0.0, 1.0)


def compare(recipe: Scores, reference: Scores, shared: bool = False) -> Difference:
    """Paired by patient.

    Args:
        recipe: what `score` gave.
        reference: the same of the one it is compared with, on the same records.
        shared: whether trainings are part of both, as of an average and one of its members: their luck moves both,
            so that the interval is over patients, of these trainings.
    """
    f1, auroc = (
        _within(
            _with_seeds(
                bootstrap.interval(own_SR.mean(axis=0) - its_SR.mean(axis=0)), [] if shared else [own_SR, its_SR]
            ),
            -1.0,
            1.0,
        )
        for own_SR, its_SR in zip(recipe, reference, strict=True)
    )
    fewest = min(len(recipe.f1), len(reference.f1))
    return Difference(f1, auroc, of="these runs" if shared else _TOO_FEW.get(fewest, ""))


def verdict(interval: Interval, of: str = "") -> str:
    """Return `better` or `worse` where the whole interval lies on one side of 0, else `no difference shown`.

    Scores of records without a positive or a negative of any class are NaN, and compare nothing.

    Args:
        interval: of a difference.
        of: see `Difference`; said with a difference that is shown, and always of two seeds.
    """
    if math.isnan(interval.value):
        return "nothing to compare"
    said = "better" if interval.low > 0 else "worse" if interval.high < 0 else "no difference shown"
    return f"{said} ({of})" if of and (said != "no difference shown" or of == _TOO_FEW[2]) else said


_TOO_FEW = {1: "one run", 2: "two seeds cannot tell"}


def _with_seeds(patients: Interval, recipes: Sequence[Floats]) -> Interval:
    """Widen an interval over patients by the one over seeds; they are independent, so their squares add up.

    Student's, with one variance for all recipes, taken from those with `LEAST_SEEDS` trainings: resampling three seeds
    would make it too small by a third. Where no recipe has as many, nothing is known of seeds and nothing is added.
    """
    spread = [scores_SR[:, 0] for scores_SR in recipes if len(scores_SR) >= LEAST_SEEDS]
    degrees = sum(len(scores_S) - 1 for scores_S in spread)
    if degrees == 0:
        return patients
    squares = sum(float((scores_S - scores_S.mean()) @ (scores_S - scores_S.mean())) for scores_S in spread)
    error = math.sqrt(squares / degrees * sum(1 / len(scores_SR) for scores_SR in recipes))
    seeds = float(stdtrit(degrees, 0.975)) * error
    value, low, high = patients
    return Interval(value, value - math.hypot(value - low, seeds), value + math.hypot(high - value, seeds))


def _within(interval: Interval, least: float, most: float) -> Interval:
    """Cut an interval where no score can be: what it holds of the true value stays the same.

    Student's interval is symmetric and knows no bounds. Cutting it changes no coverage, since the true value lies
    within them (Mandelkern 2002, "Setting confidence intervals for bounded parameters", Statistical Science 17(2)).
    """
    value, (low, high) = interval.value, np.clip(interval[1:], least, most)  # NaN stays NaN
    return Interval(value, float(low), float(high))
