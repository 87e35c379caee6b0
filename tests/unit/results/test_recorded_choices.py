"""The choices in a run's result are used as they are, and refused where they are not of its predictions."""

import json

import numpy as np
import pytest

from ecg_lightning.errors import DataError
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.results.recorded_choices import recorded_choices


def _predictions(n=40):
    random, ids = np.random.default_rng(0), np.arange(n)
    truth = random.random((n, 2)) < 0.4
    return Predictions(("A", "B"), "sigmoid", ids, ids, truth, 2.0 * truth - 1 + random.normal(size=(n, 2)))


FITTED = Choices.fit(_predictions()).as_dict()
KEPT = {**FITTED, "temperature": 5.0}  # no fit gives it


def _of_schema_1(values):
    """A compression's, which lacks the thresholds on raw probabilities."""
    return {**values, "thresholds": {"calibrated": values["thresholds"]["calibrated"]}}


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (KEPT, KEPT),
        ({}, FITTED),
        (_of_schema_1(KEPT), FITTED),
        ({"thresholds": KEPT["thresholds"]}, FITTED),
        ({**KEPT, "n_records": 39}, "made on 39 records with a sigmoid, but the validation fold holds 40"),
        ({**KEPT, "link": "softmax"}, "made on 40 records with a softmax"),
        ({**KEPT, "thresholds": 3}, "thresholds is 3"),
        ({**KEPT, "conformal": {"A": [0, 1]}}, "conformal is of the classes A"),
    ],
)
def test_a_run_and_each_variant_have_their_own_choices(tmp_path, recorded, expected):
    result = {"schema": 2, "chosen": {}, "variants": [{"name": "baseline"}, {"name": "prune", "chosen": recorded}]}
    (tmp_path / "result.json").write_text(json.dumps(result))
    val = _predictions()
    assert recorded_choices(tmp_path, val, val).as_dict() == FITTED
    assert recorded_choices(tmp_path / "variants" / "baseline", val, val).as_dict() == FITTED
    variant = tmp_path / "variants" / "prune"
    if isinstance(expected, dict):
        found = recorded_choices(variant, val, val)
        assert (found.as_dict(), found.validation) == (expected, val)
    else:
        with pytest.raises(DataError, match=f"{tmp_path}/result.json: chosen: .*{expected}.*; run the model again"):
            recorded_choices(variant, val, val)
