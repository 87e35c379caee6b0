"""Conformal sets keep their promise, and certainty is worth something."""

import numpy as np
import pytest

from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.choices import Decided
from ecg_lightning.evaluation.conformal import Bounds, conformal_bounds
from ecg_lightning.evaluation.uncertainty import abstain, agreement_certainty, coverage, distance_certainty


def _sample(n, seed, noise=1.2):
    random = np.random.default_rng(seed)
    targets = random.random((n, 3)) < [0.1, 0.3, 0.5]
    return 1 / (1 + np.exp(-(2 * targets - 1 + noise * random.normal(size=targets.shape)))), targets


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_coverage_is_as_promised(alpha):
    """On the average of many validation folds; of a single one it varies with its size."""
    found = []
    for seed in range(60):
        val, targets = _sample(400, seed)
        test, truth = _sample(2000, 1000 + seed)
        sets = conformal_bounds(val, targets, alpha).sets(test)
        measured = coverage(sets, truth, np.arange(len(truth)), np.ones((1, len(truth))))
        found.append([[one.positive.value, one.negative.value] for one in measured])
    mean = np.mean(found, axis=0)
    assert (mean > 1 - alpha - 0.01).all()
    assert (mean < 1 - alpha + 0.03).all()  # and not by calling everything plausible


def test_too_few_records_promise_nothing_and_hold_everything():
    val, targets = _sample(100, 0)
    targets[:, 0] = False
    targets[:5, 0] = True  # six ranks cannot hold 95 %
    sets = conformal_bounds(val, targets, alpha=0.05).sets(val)
    assert sets.present_NC[:, 0].all()


def test_counts_worked_by_hand():
    val = np.linspace(0.1, 0.9, 9)[:, None]
    targets = np.ones((9, 1), dtype=bool)
    # The 9th of 9 positives, ordered by 1 − p, at alpha = 0.1: ⌈10 · 0.9⌉ = 9, so p ≥ 0.1.
    sets = conformal_bounds(val, targets, alpha=0.1).sets(np.array([[0.05], [0.1], [0.5]]))
    assert sets.present_NC[:, 0].tolist() == [False, True, True]
    assert sets.absent_NC[:, 0].all()
    # The second resample holds the second record twice, and the first one never.
    truth, weights = np.array([[True], [True], [False]]), np.array([[1.0, 1, 1], [0, 2, 1]])
    (one,) = coverage(sets, truth, np.arange(3), weights)
    assert (one.positive, one.undecided, one.n_positive) == ((0.5, 1, 1), (pytest.approx(2 / 3), 1, 1), 2)
    assert one.negative == (1, pytest.approx(0.025), 1)  # one of one, by Clopper and Pearson


def test_a_bound_holds_the_record_that_sets_it():
    for seed in range(200):
        val, targets = _sample(50, seed)
        sets = conformal_bounds(val, targets, alpha=0.1).sets(val)
        for holds_NC, of_NC in ((sets.present_NC, targets), (sets.absent_NC, ~targets)):
            promised = np.ceil((of_NC.sum(axis=0) + 1) * 0.9)
            assert ((holds_NC & of_NC).sum(axis=0) >= np.minimum(promised, of_NC.sum(axis=0))).all()


def test_sets_of_both_labels_or_neither_are_undecided():
    sets = Bounds(np.array([0.2, 0.8]), np.array([0.6, 0.3])).sets(np.array([[0.1, 0.1], [0.4, 0.5], [0.9, 0.9]]))
    assert sets.undecided.tolist() == [[False, False], [True, True], [False, False]]


def test_all_or_none_of_few_patients_is_no_certainty():
    sets = Bounds(np.array([0.0]), np.array([-1.0])).sets(np.full((60, 1), 0.5))
    truth, patients = np.repeat(np.arange(20)[:, None] < 10, 3, axis=0), np.repeat(np.arange(20), 3)
    (one,) = coverage(sets, truth, patients, bootstrap.patient_weights(patients, 100))
    assert one.positive == (1, pytest.approx(1 - 0.30850, abs=1e-5), 1)  # of ten: scipy.stats.beta.ppf(0.025, 10, 1)
    assert one.negative == (0, 0, pytest.approx(0.30850, abs=1e-5))


def test_surer_records_hold_fewer_mistakes_and_a_blind_certainty_holds_as_many():
    probabilities, truth = _sample(5000, 3)
    decided = Decided(probabilities, np.full(3, 0.5))
    weights = bootstrap.patient_weights(np.arange(5000), 200)
    sure = abstain(decided, truth, distance_certainty(decided), weights)
    everyone = sure.wrong_records[0].value
    assert sure.kept[0] == 1.0
    assert everyone == np.mean((decided.decisions != truth).any(axis=1))
    assert [one.value for one in sure.wrong_records] == sorted((one.value for one in sure.wrong_records), reverse=True)
    assert sure.wrong_records[-1].high < sure.wrong_records[0].low
    assert sure.wrong_labels[-1].value < sure.wrong_labels[0].value < everyone
    assert sure.aurc.high < everyone
    assert sure.aurc.low < sure.aurc.value < 0.8 * everyone
    blind = abstain(decided, truth, np.random.default_rng(0).random(5000), weights)
    assert blind.aurc.low < everyone < blind.aurc.high
    assert blind.wrong_records[-1].low < everyone < blind.wrong_records[-1].high


def test_records_that_members_agree_on_are_kept_first():
    targets = np.array([[True, False], [True, False], [True, False], [True, False]])
    decided = Decided(np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.1]]), np.full(2, 0.5))
    spreads = np.array([[0.0, 0.1], [0.1, 0.0], [0.0, 0.3], [0.2, 0.0]])  # of a record its largest counts
    assert agreement_certainty(spreads).tolist() == [-0.1, -0.1, -0.3, -0.2]
    found = abstain(decided, targets, agreement_certainty(spreads), np.ones((2, 4)), (1.0, 0.75, 0.5))
    assert [one.value for one in found.wrong_records] == pytest.approx([2 / 4, 1 / 3, 0])
    assert [one.value for one in found.wrong_labels] == pytest.approx([3 / 8, 1 / 6, 0])
    assert found.aurc.value == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    twice = abstain(decided, targets, agreement_certainty(spreads), np.array([[1.0, 1, 1, 1], [1, 1, 2, 0]]))
    assert twice.aurc.low == pytest.approx((0 + 0 + 2 * 2 / 4) / 4)  # of the third record twice, and no fourth
