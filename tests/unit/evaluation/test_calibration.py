"""Calibration against what can be known: temperatures that were put in, and bins counted by hand."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from ecg_lightning.evaluation.calibration import (
    brier_scores,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    probabilities,
)


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(link, temperature):
    random = np.random.default_rng(0)
    true = random.normal(0, 2, (40_000, 5))
    if link == "sigmoid":
        targets = random.random(true.shape) < probabilities(true)
    else:
        chances = probabilities(true, link="softmax").cumsum(axis=1)
        targets = np.eye(5)[(random.random((len(true), 1)) > chances).sum(axis=1).clip(0, 4)]
    assert fit_temperature(true * temperature, targets, link) == pytest.approx(temperature, rel=0.03)


def test_calibration_keeps_ranks_and_halves():
    logits = np.linspace(-30, 30, 61)[:, None]
    cooled = probabilities(logits, 2.0)
    assert (np.diff(cooled[:, 0]) > 0).all()
    assert ((cooled >= 0.5) == (logits >= 0)).all()


def test_the_error_is_that_of_the_bins():
    # Two classes: one bin with mean 0.85 and 3 of 4 positive; one certain and right.
    guesses = np.array([[0.81, 1.0], [0.83, 1.0], [0.87, 0.0], [0.89, 0.0]])
    targets = np.array([[1, 1], [1, 1], [1, 0], [0, 0]])
    assert expected_calibration_error(guesses, targets, n_bins=5) == pytest.approx((0.1 + 0.0) / 2)


def test_platt_is_a_logistic_regression_of_each_class():
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (3000, 3))
    targets = random.random(logits.shape) < expit([0.5, 1.0, 2.0] * logits + [0.3, -1.0, 0.0])
    targets[:, 2] = False  # nothing to fit
    slopes, offsets = fit_platt(logits, targets)
    for column in range(2):
        # Platt's targets: each record twice, as a positive and as a negative one, with its share of either.
        positives = targets[:, column].sum()
        share = np.where(targets[:, column], (positives + 1) / (positives + 2), 1 / (len(targets) - positives + 2))
        twice, labels = np.tile(logits[:, [column]], (2, 1)), np.repeat([1, 0], len(targets))
        known = LogisticRegression(C=np.inf, tol=1e-8).fit(twice, labels, np.concatenate([share, 1 - share]))
        assert slopes[column] == pytest.approx(known.coef_[0, 0], abs=1e-3)
        assert offsets[column] == pytest.approx(known.intercept_[0], abs=1e-3)
    assert (slopes[2], offsets[2]) == (1, 0)


def test_the_brier_score_is_scikit_learns():
    random = np.random.default_rng(2)
    guesses, targets = random.random((50, 2)), random.random((50, 2)) < 0.4
    expected = np.mean([brier_score_loss(targets[:, column], guesses[:, column]) for column in range(2)])
    assert brier_scores(guesses, targets).mean() == pytest.approx(expected)
