"""The choices of the validation fold: fitted in one place, once a model, and written as plain values."""

import copy
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import ecg_lightning
from ecg_lightning.evaluation import choices as owner
from ecg_lightning.evaluation import report
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions

FITS = ("fit_temperature", "f1_thresholds", "fit_platt", "conformal_bounds")


def _predictions(link="sigmoid", n=300, seed=0, first_id=0):
    random = np.random.default_rng(seed)
    truth = random.random((n, 3)) < [0.2, 0.3, 0.5]
    ids = np.arange(first_id, first_id + n)
    return Predictions(("A", "B", "C"), link, ids, ids, truth, 3 * (2.0 * truth - 1) + 4 * random.normal(size=(n, 3)))


MODELS = {
    "commands/evaluations.py": "the average of the compared runs",
    "compression/study/score.py": "each deployed file of a variant",
    "evaluation/cohort.py": "age and sex alone",
    "learning/held_out.py": "the cross-validations that teach",
    "models/classifier.py": "a network",
    "results/recorded_choices.py": "a run of schema 1, which records no choices or only some",
    "training/cross_validation.py": "a cross-validation",
}
"""The callers of `Choices.fit`, and the model whose choices each of them fits."""


def _files_with(pattern):
    root = Path(ecg_lightning.__file__).parent
    return {path.relative_to(root).as_posix() for path in root.rglob("*.py") if re.search(pattern, path.read_text())}


def test_nobody_else_fits():
    calls = _files_with(rf"(?<!def )\b({'|'.join(FITS)})\(")
    assert calls == {"evaluation/choices.py", "evaluation/thresholds.py"}  # a threshold is found on Platt's line
    assert _files_with(r"\bChoices\.fit\b") == MODELS.keys()


def test_each_part_is_fitted_once_and_only_when_it_is_read(monkeypatch):
    counts = Counter()

    def count(name, fit):
        def counted(*arguments):
            counts[name] += 1
            return fit(*arguments)

        monkeypatch.setattr(owner, name, counted)

    for name in FITS:
        count(name, getattr(owner, name))
    made = Choices.fit(_predictions())
    assert np.array_equal(made.raw_thresholds, made.apply_raw(_predictions(seed=1)).thresholds_C)
    assert counts == {"f1_thresholds": 1}  # an epoch of a training needs no more
    for seed in (1, 2):
        report.evaluate(made, _predictions(seed=seed, first_id=1000), 20)
        made.as_dict()
    assert counts == {"fit_temperature": 1, "f1_thresholds": 2, "fit_platt": 1, "conformal_bounds": 1}


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_choices_survive_being_written(link):
    made = Choices.fit(_predictions(link))
    values = json.loads(json.dumps(made.as_dict()))
    read = Choices.from_dict(values, made.classes)
    assert read.as_dict() == values
    assert (read.n_records, read.is_calibrated, read.platt_lines is None) == (300, True, link == "softmax")
    split = _predictions(link, seed=1, first_id=1000)
    for one, other in zip(made.apply(split), read.apply(split), strict=True):
        assert np.array_equal(one, other)
    assert made.calibrated(split).keys() == read.calibrated(split).keys()
    assert (made.is_fitted_on(made.validation), made.is_fitted_on(split)) == (True, False)


@pytest.mark.parametrize("absent", ["n_records", "conformal", "platt"])
def test_choices_of_earlier_versions_lack_a_part(absent):
    made, split = Choices.fit(_predictions()), _predictions(seed=1, first_id=1000)
    values = {name: value for name, value in made.as_dict().items() if name != absent}
    read = Choices.from_dict(values, made.classes)
    assert read.as_dict() == {"n_records": None, **values}
    assert read.is_calibrated
    for one, other in zip(made.apply(split), read.apply(split), strict=True):
        assert np.array_equal(one, other)
    found = report.evaluate(read, split, 20)
    assert (found.conformal == {}, "platt" not in found.calibration) == (absent == "conformal", absent == "platt")


def test_thresholds_alone_calibrate_nothing():
    bare, split = Choices.of_thresholds(("A", "B", "C"), "sigmoid", np.array([0.2, 0.3, 0.4])), _predictions()
    assert np.array_equal(bare.apply(split).probabilities_NC, split.probabilities())
    assert bare.as_dict() == {"link": "sigmoid", "thresholds": {"raw": {"A": 0.2, "B": 0.3, "C": 0.4}}}
    assert Choices.from_dict(bare.as_dict(), bare.classes).as_dict() == bare.as_dict()
    found = report.evaluate(bare, split, 20)
    assert (found.probabilities, found.calibration.keys(), found.conformal) == ("raw", {"none"}, {})


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("link", "tanh", "link is 'tanh'"),
        ("n_records", 0, "n_records is 0"),
        ("n_records", True, "n_records is True"),
        ("n_records", 10**10, "n_records is 10000000000"),
        ("temperature", float("nan"), "temperature is"),
        ("temperature", "1", "temperature is"),
        ("thresholds", None, "thresholds is None"),
        ("thresholds/raw/A", 1.5, "raw is"),
        ("thresholds/calibrated", {"A": 0.5}, "calibrated is of the classes A"),
        ("conformal/B", [0.5], "conformal does not hold two numbers for each class"),
        ("platt/C", [float("inf"), 0], "platt is"),
    ],
)
def test_values_that_cannot_be_choices_are_refused(path, value, said):
    values = copy.deepcopy(Choices.fit(_predictions()).as_dict())
    *above, last = path.split("/")
    table = values
    for name in above:
        table = table[name]
    table[last] = value
    with pytest.raises(ValueError, match=said):
        Choices.from_dict(values, ("A", "B", "C"))
