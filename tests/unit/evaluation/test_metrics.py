import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    hamming_loss,
    precision_recall_curve,
    precision_score,
    roc_auc_score,
)

from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.evaluation import metric_table, metrics
from ecg_lightning.evaluation.calibration import logit
from ecg_lightning.evaluation.metrics import is_collapsed, nested_metrics, single_label_metrics, superclass_metrics
from ecg_lightning.evaluation.thresholds import f1_thresholds
from ecg_lightning.learning.losses import BinaryCrossEntropy
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.reports.tables import run_row
from ecg_lightning.results.results import RunResult
from ecg_lightning.training.learning_curves import learning_section
from ecg_lightning.training.schema import MONITORED


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    targets = rng.random((500, 5)) < np.array([0.23, 0.12, 0.25, 0.44, 0.24])
    probabilities = 1 / (1 + np.exp(-(rng.normal(size=(500, 5)) + 1.5 * targets - 1)))
    return probabilities, targets.astype(np.uint8)


def test_metrics_equal_scikit_learn(scored):
    probabilities, targets = scored
    thresholds = np.array([0.3, 0.4, 0.5, 0.6, 0.35])
    metrics = superclass_metrics(
        torch.from_numpy(probabilities), torch.from_numpy(targets), SUPERCLASSES, torch.from_numpy(thresholds)
    )
    decided, tuned = probabilities >= 0.5, probabilities >= thresholds
    assert metrics["f1_macro"] == pytest.approx(f1_score(targets, decided, average="macro"), abs=1e-6)
    assert metrics["f1_macro_tuned"] == pytest.approx(f1_score(targets, tuned, average="macro"), abs=1e-6)
    assert metrics["auroc_macro"] == pytest.approx(roc_auc_score(targets, probabilities, average="macro"), abs=1e-6)
    assert metrics["accuracy"] == pytest.approx(1 - hamming_loss(targets, decided), abs=1e-6)
    assert metrics["accuracy_subset"] == pytest.approx(accuracy_score(targets, decided), abs=1e-6)
    for column, name in enumerate(SUPERCLASSES):
        assert metrics[f"f1/{name}"] == pytest.approx(f1_score(targets[:, column], decided[:, column]), abs=1e-6)
        assert metrics[f"auroc/{name}"] == pytest.approx(
            roc_auc_score(targets[:, column], probabilities[:, column]), abs=1e-6
        )


def test_auroc_ranks_where_float32_would_tie():
    logits = torch.tensor([[20.0], [25.0], [30.0], [35.0]]).expand(4, 2)
    targets = torch.tensor([[0], [1], [0], [1]]).expand(4, 2)
    assert logits.sigmoid().unique().numel() < 4
    metrics = superclass_metrics(BinaryCrossEntropy().probabilities(logits), targets, ("A", "B"), torch.full((2,), 0.5))
    assert metrics["auroc_macro"] == pytest.approx(0.75)


def test_absent_classes_are_left_out_of_the_means_and_counted(scored):
    probabilities, targets = scored
    targets = targets.copy()
    targets[:, 1] = 0
    targets[:, 3] = 1
    metrics = superclass_metrics(
        torch.from_numpy(probabilities), torch.from_numpy(targets), SUPERCLASSES, torch.full((5,), 0.5)
    )
    decided = probabilities >= 0.5
    scorable, rankable = [0, 2, 3, 4], [0, 2, 4]
    assert metrics["n_classes"] == 4
    assert metrics["f1_macro"] == pytest.approx(f1_score(targets[:, scorable], decided[:, scorable], average="macro"))
    assert metrics["auroc_macro"] == pytest.approx(roc_auc_score(targets[:, rankable], probabilities[:, rankable]))
    assert "f1/HYP" not in metrics
    assert "auroc/NORM" not in metrics


def test_no_positive_at_all_gives_no_figure():
    metrics = superclass_metrics(torch.rand(4, 2).double(), torch.zeros(4, 2), ("A", "B"), torch.full((2,), 0.5))
    assert math.isnan(metrics["f1_macro"])
    assert metrics["n_classes"] == 0


def test_single_label_metrics_equal_scikit_learn(scored):
    probabilities, targets = scored
    metrics = single_label_metrics(torch.from_numpy(probabilities), torch.from_numpy(targets))
    labels, predicted = targets.argmax(1), probabilities.argmax(1)
    assert metrics["accuracy_argmax"] == pytest.approx(accuracy_score(labels, predicted))
    assert metrics["f1_weighted"] == pytest.approx(f1_score(labels, predicted, average="weighted"))
    assert metrics["precision_weighted"] == pytest.approx(
        precision_score(labels, predicted, average="weighted", zero_division=0)
    )


def test_thresholds_of_frequencies_are_the_best_there_are():
    """Where probabilities are what they say, no threshold has a better F1 on many records."""
    rng = np.random.default_rng(3)
    probabilities = rng.beta([0.4, 0.3, 2.0], [1.6, 2.7, 2.0], size=(40_000, 3))
    targets = (rng.random(probabilities.shape) < probabilities).astype(np.uint8)
    thresholds = f1_thresholds(probabilities, targets)
    for column in range(3):
        precision, recall, _ = precision_recall_curve(targets[:, column], probabilities[:, column])
        best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        reached = f1_score(targets[:, column], probabilities[:, column] >= thresholds[column])
        assert reached == pytest.approx(best, abs=5e-3)
        assert thresholds[column] == pytest.approx(best / 2, abs=0.02)  # Lipton et al.'s theorem


@pytest.mark.parametrize(("slope", "offset"), [(0.4, 0.0), (3.0, 1.0)])
def test_thresholds_do_not_depend_on_how_the_probabilities_are_scaled(scored, slope, offset):
    probabilities, targets = scored
    scaled = expit(slope * logit(probabilities) + offset)
    decided = probabilities >= f1_thresholds(probabilities, targets)
    assert np.array_equal(decided, scaled >= f1_thresholds(scaled, targets))


def test_thresholds_are_worth_as_much_on_new_records(scored):
    """The search for the best of all thresholds looks better where it was made, and is worse elsewhere."""
    rng = np.random.default_rng(4)
    found, searched = [], []
    for _ in range(100):
        targets = rng.random((400, 1)) < 0.2
        probabilities = expit(rng.normal(size=(400, 1)) + 1.5 * targets - 1)
        own, new = (slice(0, 200), slice(200, 400))
        threshold = f1_thresholds(probabilities[own], targets[own])[0]
        best = max(probabilities[own, 0], key=lambda one: _f1(targets[own], probabilities[own] >= one))
        found.append(_f1(targets[new], probabilities[new] >= threshold))
        searched.append(_f1(targets[new], probabilities[new] >= best))
    assert np.mean(found) > np.mean(searched) + 0.005


def _f1(targets, decisions):
    return 2 * (targets & decisions).sum() / (targets.sum() + decisions.sum())


def test_thresholds_of_probabilities_that_say_nothing():
    constant, backwards = np.full((40, 1), 0.3), np.linspace(0.9, 0.1, 40)[:, None]
    targets = (np.arange(40) >= 20)[:, None]
    for probabilities in (constant, backwards):
        assert f1_thresholds(probabilities, targets) == [0.5]
    few = np.arange(374)[:, None] < 2  # two positive records
    assert f1_thresholds(np.random.default_rng(0).random((374, 1)), few) == [0.5]


def test_threshold_of_an_absent_class_stays():
    assert f1_thresholds(np.random.default_rng(0).random((9, 1)), np.zeros((9, 1), np.uint8)) == [0.5]


def test_threshold_of_a_class_that_is_told_apart_lies_between():
    probabilities = np.repeat([0.9, 0.8, 0.2, 0.1], 5)[:, None]
    targets = (probabilities > 0.5).astype(int)
    assert 0.2 < f1_thresholds(probabilities, targets)[0] < 0.8


def _metrics(probabilities, targets):
    return superclass_metrics(probabilities.double(), targets, SUPERCLASSES, torch.full((5,), 0.5))


def test_collapse_is_a_constant_prediction_and_not_a_young_model(scored):
    targets = torch.from_numpy(scored[1])
    constant = torch.tensor([0.2, 0.1, 0.2, 0.6, 0.2]).expand(500, 5)
    assert is_collapsed(_metrics(constant, targets))
    assert is_collapsed(_metrics(constant + 0.001 * torch.randn(500, 5), targets))
    deaf = torch.rand(500, 5) * 0.3  # varies, decides nothing, ranks by chance
    assert is_collapsed(_metrics(deaf, targets))
    young = torch.from_numpy(scored[0]) * 0.4  # decides nothing yet, but ranks
    assert not is_collapsed(_metrics(young, targets))
    assert not is_collapsed(_metrics(torch.from_numpy(scored[0]), targets))


def test_a_headline_metric_is_a_row_and_its_function(monkeypatch, tmp_path):
    """From there it reaches scores, `monitor`, results.csv, the ranked table, the progress line and TensorBoard."""
    assert {metric.name for metric in metric_table.METRICS} == set(metrics.HEADLINE)
    row = metric_table.Metric("recall_macro", "recall", "decisions at 0.5", followed=True, ranked={"val": 2})
    monkeypatch.setattr(metric_table, "METRICS", (*metric_table.METRICS, row))
    function = {"recall_macro": lambda epoch: float(epoch.decisions[epoch.targets > 0].float().mean())}
    monkeypatch.setattr(metrics, "HEADLINE", metrics.HEADLINE | function)
    targets = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 0, 0]])
    found = _metrics(torch.tensor([[0.9, 0.2, 0.1, 0.1, 0.1], [0.2, 0.9, 0.1, 0.1, 0.1]]), targets)
    assert found["recall_macro"] == pytest.approx(2 / 3)
    assert metric_table.monitored() == (*MONITORED, "val/recall_macro")
    monkeypatch.setattr(metric_table, "METRICS", (replace(row, higher_is_better=False),))
    assert metric_table.monitored() == ()
    monkeypatch.setattr(metric_table, "METRICS", (row,))
    assert metric_table.csv_columns() == ("val_recall_macro", "test_recall_macro")
    assert metric_table.ranked_columns() == [("val recall", "val_recall_macro", 2)]
    result = RunResult("ok", metrics={"val": nested_metrics(found)})
    result.write(tmp_path)
    assert run_row(tmp_path, tmp_path)["val_recall_macro"] == found["recall_macro"]
    section = learning_section({1: {"val_recall_macro": 0.5}}, None, ECGClassifier.followed(), with_figure=False)
    assert [column.heading for column in section.table.columns][-1] == "val macro recall"
    assert (*metric_table.followed(),) == ("recall_macro",)
