"""The patient bootstrap against scikit-learn, resample by resample, and its intervals against known spreads."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from ecg_lightning.evaluation import bootstrap


@pytest.fixture
def sample():
    """(scores, targets, patients) of 300 records of 200 patients, with tied scores."""
    rng = np.random.default_rng(0)
    targets = rng.random((300, 5)) < [0.2, 0.1, 0.25, 0.4, 0.2]
    scores = np.round(rng.random((300, 5)) * 0.6 + 0.3 * targets, 2)
    return scores, targets, rng.integers(0, 200, 300)


def test_equal_to_scikit_learn_on_every_resample(sample):
    scores, targets, patients = sample
    weights = bootstrap.patient_weights(patients, 20, seed=1)
    f1 = bootstrap.f1_macro(scores >= 0.5, targets, weights)
    auroc = bootstrap.auroc_macro(scores, targets, weights)
    for row, (one, other) in enumerate(zip(f1, auroc, strict=True)):
        drawn = weights[row] > 0
        kept = weights[row][drawn]
        assert one == pytest.approx(
            f1_score(targets[drawn], scores[drawn] >= 0.5, average="macro", sample_weight=kept), abs=1e-12
        )
        assert other == pytest.approx(
            roc_auc_score(targets[drawn], scores[drawn], average="macro", sample_weight=kept), abs=1e-12
        )


def test_every_rate_is_scikit_learns_by_class_and_resample(sample):
    scores, targets, patients = sample
    weights = bootstrap.patient_weights(patients, 5, seed=1)
    decisions = scores >= 0.5
    auroc, auprc = bootstrap.auroc(scores, targets, weights), bootstrap.auprc(scores, targets, weights)
    rates = bootstrap.rates(decisions, targets, weights)
    for row, weight in enumerate(weights):
        for column in range(5):
            truth, guess, score = targets[:, column], decisions[:, column], scores[:, column]
            drawn = {"sample_weight": weight}
            expected = {
                "f1": f1_score(truth, guess, **drawn),
                "sensitivity": recall_score(truth, guess, **drawn),
                "specificity": recall_score(~truth, ~guess, **drawn),
                "ppv": precision_score(truth, guess, **drawn),
                "npv": precision_score(~truth, ~guess, **drawn),
            }
            for name, value in expected.items():
                assert rates[name][row, column] == pytest.approx(value, abs=1e-12), name
            assert auroc[row, column] == pytest.approx(roc_auc_score(truth, score, **drawn), abs=1e-12)
            assert auprc[row, column] == pytest.approx(average_precision_score(truth, score, **drawn), abs=1e-12)


def test_what_has_nothing_to_count_is_unknown_and_not_zero():
    targets, decisions = np.zeros((4, 1), dtype=bool), np.zeros((4, 1), dtype=bool)
    weights = bootstrap.patient_weights(np.arange(4), 10)
    rates = bootstrap.rates(decisions, targets, weights)
    assert np.isnan(rates["f1"]).all()
    assert np.isnan(rates["sensitivity"]).all()
    assert np.isnan(rates["ppv"]).all()
    assert (rates["specificity"] == 1).all()
    assert (rates["npv"] == 1).all()
    unknown = bootstrap.interval(rates["f1"][:, 0])
    assert all(np.isnan(unknown))


def test_patients_are_drawn_whole(sample):
    _, _, patients = sample
    weights = bootstrap.patient_weights(patients, 50, seed=2)
    assert weights.shape == (51, 300)
    assert (weights[0] == 1).all()
    for patient in np.unique(patients):
        assert (np.ptp(weights[:, patients == patient], axis=1) == 0).all()
    one_each = np.unique(patients, return_index=True)[1]
    assert (weights[:, one_each].sum(axis=1) == len(one_each)).all()
    assert not np.array_equal(weights[1:], bootstrap.patient_weights(patients, 50, seed=3)[1:])


def test_classes_that_are_absent_from_a_resample_are_left_out():
    targets = np.array([[True, False], [False, False], [True, True], [False, False]])
    scores = np.array([[0.9, 0.2], [0.1, 0.3], [0.8, 0.9], [0.2, 0.1]])
    without_third = np.array([[1.0, 1.0, 0.0, 1.0]])
    assert bootstrap.f1_macro(scores >= 0.5, targets, without_third) == [1.0]
    assert bootstrap.auroc_macro(scores, targets, without_third) == [1.0]
    assert np.isnan(bootstrap.auroc_macro(scores, targets, np.array([[0.0, 1.0, 0.0, 1.0]]))).all()


def test_the_interval_of_a_proportion_is_the_binomials():
    rng = np.random.default_rng(4)
    decisions = rng.random((400, 1)) < 0.8
    weights = bootstrap.patient_weights(np.arange(400), 4000, seed=5)
    recall = weights @ decisions[:, 0] / 400
    found = bootstrap.interval(recall)
    share = decisions.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert found.value == share
    assert (found.low, found.high) == pytest.approx((share - half, share + half), abs=0.005)


def test_a_model_against_itself_differs_by_nothing(sample):
    scores, targets, patients = sample
    weights = bootstrap.patient_weights(patients, 100)
    auroc = bootstrap.auroc_macro(scores, targets, weights)
    again = bootstrap.auroc_macro(scores, targets, bootstrap.patient_weights(patients, 100))
    assert bootstrap.interval(again - auroc) == (0.0, 0.0, 0.0)  # the same patients are drawn
    worse = bootstrap.auroc_macro(np.where(targets, scores - 0.2, scores), targets, weights)
    difference = bootstrap.interval(worse - auroc)
    assert difference.high < 0
    assert difference.high - difference.low < np.ptp(auroc)  # paired: less than the scores' own spread
