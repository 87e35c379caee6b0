"""What revision 6647fd0 wrote is still read, and gives what it gave then."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecg_lightning.deployment.predictor import Predictor
from ecg_lightning.evaluation.predictions import read_predictions
from ecg_lightning.runs.results import read_result
from ecg_lightning.runs.tables import run_row

FOLDER = Path(__file__).parent / "fixtures_6647fd0"


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
