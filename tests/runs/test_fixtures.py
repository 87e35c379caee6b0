"""Files of revision 6647fd0 are still read, and give the same values."""

import json

import numpy as np
import pytest
from tiny import ROOT

from ecg_lightning.commands.evaluations import evaluate_run
from ecg_lightning.deployment.predictor import Predictor
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import read_predictions
from ecg_lightning.reports.tables import run_row
from ecg_lightning.results.results import read_result
from ecg_lightning.results.schema import upgraded

FOLDER = ROOT / "tests" / "fixtures_6647fd0"


def _signals():
    time = np.arange(1000) / 100
    rows = [
        [0.1 * (row + 1) * np.sin(2 * np.pi * (1 + row / 4) * time + row + record) for row in range(12)]
        for record in range(3)
    ]
    return np.array(rows)


@pytest.mark.parametrize(("name", "runtime"), [("model.onnx", "onnxruntime"), ("model.xml", "openvino")])
def test_exported_files_give_the_same_and_say_that_nothing_guards_them(name, runtime):
    pytest.importorskip(runtime)
    predictor = Predictor(FOLDER / "exported" / name, runtime, threads=1)
    expected = json.loads((FOLDER / "exported" / "probabilities.json").read_text())[name]
    assert np.allclose(predictor.probabilities(_signals()), expected, atol=1e-5)
    guarded = not any("it returns finite logits for missing samples" in note for note in predictor.notes)
    # ONNX Runtime hands NaN through by itself in float32; OpenVINO's maxima drop it.
    assert guarded == (runtime == "onnxruntime")


def test_a_runs_result_and_predictions_are_read():
    result = read_result(FOLDER / "run")
    assert result["status"] == "ok"
    predictions = read_predictions(FOLDER / "run" / "predictions.csv")
    for split, predicted in predictions.items():
        assert len(predicted.ecg_ids) == result["data"][f"n_{split}"]
    row = run_row(FOLDER / "run", FOLDER)
    assert row["test_auroc_macro"] == result["metrics"]["test"]["auroc_macro"]


def test_results_of_schema_1_are_read_as_schema_2():
    """A training's scores and thresholds were of raw probabilities, its size was that of its tensors."""
    written = json.loads((FOLDER / "run" / "result.json").read_text())
    result = read_result(FOLDER / "run")
    assert (written["schema"], result["schema"]) == (1, 2)
    old = written["evaluation"]["test"]["chosen"]
    assert result["chosen"]["thresholds"] == {"raw": written["thresholds"], "calibrated": old["thresholds"]}
    choices = Choices.from_dict(result["chosen"], tuple(written["thresholds"]))
    assert (choices.temperature, choices.link, choices.n_records) == (
        old["temperature"], "sigmoid", written["data"]["n_val"],
    )  # fmt: skip
    assert result["metrics"]["test"]["probabilities"] == "raw"
    assert result["evaluation"]["test"]["probabilities"] == "calibrated"
    assert "bytes" not in result["variants"][0]["size"]
    assert result["variants"][0]["size"]["parameters"] == written["variants"][0]["size"]["parameters"]
    found = evaluate_run(FOLDER / "run", "test", None, 20)
    assert found["chosen"]["temperature"] == pytest.approx(old["temperature"])
    assert found["scores"]["macro"]["f1"][0] == pytest.approx(written["evaluation"]["test"]["scores"]["macro"]["f1"][0])


def test_compressions_of_schema_1_are_read_as_schema_2():
    """Their scores and thresholds were of calibrated probabilities, and the change of a tuned F1 was called F1."""
    delta = {"f1_macro": -0.01, "auroc_macro": 0.0, "ci95": {"f1_macro": [-0.02, 0.0]}, "verdict": "inconclusive"}
    metrics = {"test": {"f1_macro": 0.5, "ece": 0.1, "ece_uncalibrated": 0.2}}
    variant = {
        "name": "quantize",
        "thresholds": [0.3, 0.4],
        "temperature": 1.5,
        "delta": delta,
        "metrics": metrics,
        "size": {"bytes": 5},
        "runtimes": [{"delta": json.loads(json.dumps(delta))}],
    }
    chosen = {"temperature": 1.5, "thresholds": {"A": 0.3, "B": 0.4}}
    found = upgraded(
        {
            "schema": 1,
            "thresholds": {"A": 0.3, "B": 0.4},
            "variants": [variant],
            "data": {"n_val": 9},
            "evaluation": {"test": {"chosen": chosen}},
            "metrics": json.loads(json.dumps(metrics)),
        }
    )
    (new,) = found["variants"]
    assert found["chosen"]["thresholds"] == new["chosen"]["thresholds"] == {"calibrated": {"A": 0.3, "B": 0.4}}
    assert new["chosen"]["temperature"] == 1.5
    for row in (new, new["runtimes"][0]):
        assert (row["delta"]["f1_macro_tuned"], row["delta"]["ci95"]) == (-0.01, {"f1_macro_tuned": [-0.02, 0.0]})
    for one in (found, new):
        expected = {"f1_macro": 0.5, "ece_calibrated": 0.1, "ece_raw": 0.2, "probabilities": "calibrated"}
        assert one["metrics"]["test"] == expected
    assert new["size"] == {"bytes": 5}
    assert upgraded(found) is found
    with pytest.raises(ValueError, match="its schema is 3, this version reads 1 and 2"):
        upgraded({"schema": 3})
