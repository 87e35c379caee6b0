"""A paired bootstrap of the difference of two recipes on the same records. Each has one or several trained seeds."""

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
"""The number of trainings from which on their spread is a part of an interval.

Two trainings have one degree of freedom. Its Student's t of 12.7 makes useless intervals, wider than [0, 1].
"""

Training = tuple[Choices, Predictions]
"""A training's choices of the validation fold, and its predictions of the split to score."""


class Scores(NamedTuple):
    """Macro scores of S trainings of one recipe, (S, R + 1); the sample's own score comes first.

    Attributes:
        f1: macro F1 at each training's thresholds from the validation fold.
        auroc: macro AUROC of each training's probabilities.
    """

    f1: Floats
    auroc: Floats


@dataclass(frozen=True)
class Difference:
    """The difference of one recipe from another on the same records.

    Attributes:
        f1: the difference of the mean macro F1.
        auroc: the difference of the mean macro AUROC.
        of: the limit of the verdict. `one run` or `two seeds cannot tell`: one recipe has fewer than `LEAST_SEEDS`
            trainings, so the intervals know its other seeds only from the other recipe. `these runs`: both recipes
            share trainings. Empty: the intervals hold for recipes.
    """

    f1: Interval
    auroc: Interval
    of: str


def score(trainings: Sequence[Training], like: Predictions, n_resamples: int = 1000) -> Scores:
    """Return the macro scores of every training in the same resamples of the patients.

    Args:
        trainings: the trainings of one recipe.
        like: the predictions that give the order of the records, so that scores of several recipes are paired.
        n_resamples: the number R of resamples of the bootstrap.

    Raises:
        DataError: the trainings were not scored on the records of `like`, with its labels.
    """
    like = in_order(like)
    weights_RN = bootstrap.patient_weights(like.patient_ids, n_resamples)
    decided = (choices.apply(aligned(split, like)) for choices, split in trainings)
    scores = [macro_scores(one, like.targets_NC, weights_RN) for one in decided]
    f1, auroc = zip(*scores, strict=True)
    return Scores(np.stack(f1), np.stack(auroc))


def mean_interval(scores_SR: Floats) -> Interval:
    """Return the mean over a recipe's trainings, with an interval over patients and, from `LEAST_SEEDS` on, seeds.

    Args:
        scores_SR: (S, R + 1) scores from `Scores`.
    """
    return _within(_with_seeds(bootstrap.interval(scores_SR.mean(axis=0)), [scores_SR]), 0.0, 1.0)


def compare(recipe: Scores, reference: Scores, shared: bool = False) -> Difference:
    """Return the difference of two recipes, paired by patient.

    Args:
        recipe: the scores of the recipe, from `score`.
        reference: the scores of the recipe that it is compared with, on the same records.
        shared: whether some trainings belong to both, such as an average and one of its members. Their luck moves both,
            so the interval is only over patients, for these trainings.
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
    """Return `better` or `worse` if the whole interval lies on one side of 0, else `no difference shown`.

    Scores without a positive or a negative record of any class are NaN. They give `nothing to compare`.

    Args:
        interval: the interval of a difference.
        of: the limit from `Difference`. It is added to `better` and `worse`, and always for two seeds.
    """
    if math.isnan(interval.value):
        return "nothing to compare"
    said = "better" if interval.low > 0 else "worse" if interval.high < 0 else "no difference shown"
    return f"{said} ({of})" if of and (said != "no difference shown" or of == _TOO_FEW[2]) else said


_TOO_FEW = {1: "one run", 2: "two seeds cannot tell"}


def _with_seeds(patients: Interval, recipes: Sequence[Floats]) -> Interval:
    """Return an interval over patients, widened by the one over seeds. Both are independent, so their squares add up.

    The interval over seeds is Student's, with one variance for all recipes from those with `LEAST_SEEDS` trainings.
    Resampling three seeds would make it too small by a third. If no recipe has enough trainings, nothing is known about
    seeds and nothing is added.
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
    """Return an interval without the values that no score can have. Its coverage stays the same.

    Student's interval is symmetric and has no bounds. Cutting it changes no coverage, because the true value lies
    within the bounds (Mandelkern 2002, "Setting confidence intervals for bounded parameters", Statistical Science
    17(2)).
    """
    value, (low, high) = interval.value, np.clip(interval[1:], least, most)  # NaN stays NaN
    return Interval(value, float(low), float(high))
