"""Verdicts on compressed models, and the Pareto front."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ecg_lightning.compression.bf16 import BF16
from ecg_lightning.compression.schema import BF16Config, LatencyConfig
from ecg_lightning.compression.study import measurement
from ecg_lightning.compression.study.comparison import Decided, compare, verdict
from ecg_lightning.compression.study.measurement import slower_than
from ecg_lightning.compression.study.variant import Variant
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.headline import macro_intervals
from ecg_lightning.reports.pareto import _at_one_speed, pareto_figure, pareto_front
from ecg_lightning.reports.variants import recommended, variant_rows, without_repeats


class Fold:
    """As much of a test split as a comparison looks at: 200 patients, two records each."""

    def __init__(self, seed=0):
        import torch

        generator = np.random.default_rng(seed)
        self.targets = torch.from_numpy((generator.random((400, 3)) < 0.4).astype(np.float32))
        self.patient_ids = np.repeat(np.arange(200), 2)
        self.guesses = np.clip(0.3 + 0.4 * self.targets.numpy() + generator.normal(0, 0.2, (400, 3)), 0, 1)


@pytest.fixture
def fold():
    return Fold()


def test_a_model_is_not_inferior_to_itself(fold):
    same = Decided(fold.guesses, np.full(3, 0.5))
    found = compare(same, same, fold, margin=0.01, n_resamples=200)
    assert found["f1_macro_tuned"] == found["auroc_macro"] == 0
    assert found["ci95"] == {"f1_macro_tuned": [0, 0], "auroc_macro": [0, 0]}
    assert found["verdict"] == "non-inferior"


def test_a_model_that_guesses_is_inferior_by_as_much_as_it_loses(fold):
    thresholds = np.full(3, 0.5)
    guess = Decided(np.random.default_rng(1).random((400, 3)), thresholds)
    found = compare(guess, Decided(fold.guesses, thresholds), fold, margin=0.01, n_resamples=200)
    f1 = [f1_score(fold.targets, values >= 0.5, average="macro") for values in (guess.probabilities_NC, fold.guesses)]
    assert found["f1_macro_tuned"] == pytest.approx(f1[0] - f1[1])
    low, high = found["ci95"]["f1_macro_tuned"]
    assert low < found["f1_macro_tuned"] < high < -0.1
    assert found["verdict"] == "inferior"


def test_pairing_narrows_the_interval(fold):
    """A model that differs in a few records alone is compared more sharply than its own score is known."""
    thresholds = np.full(3, 0.5)
    nearly = fold.guesses.copy()
    nearly[:3] = 1 - nearly[:3]
    found = compare(Decided(nearly, thresholds), Decided(fold.guesses, thresholds), fold, 0.01, 500)
    low, high = found["ci95"]["f1_macro_tuned"]
    decided = Decided(fold.guesses, thresholds)
    alone = macro_intervals(decided, fold.targets.numpy().astype(bool), fold.patient_ids, 500)["f1_macro_tuned"]
    assert high - low < 0.6 * (alone[1] - alone[0])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.009, 0.02, "non-inferior"),
        (-0.03, -0.011, "inferior"),
        (-0.03, 0.03, "inconclusive"),
        (0.01, 0.02, "non-inferior"),
    ],
)
def test_the_whole_interval_decides(low, high, said):
    assert verdict(Interval((low + high) / 2, low, high), 0.01) == said


def timed(name, *rows):
    """A variant whose own deployment is the first of these (runtime, precision, ms) rows, batch 1 on one thread."""
    deployments = [Deployment(Path("model.onnx"), runtime, precision) for runtime, precision, _ in rows]
    variant = Variant(name, None, deployments, {})
    variant.runtimes = [
        {
            "runtime": runtime,
            "precision": precision,
            "batch": 1,
            "threads": 1,
            **({"p50_ms": ms} if ms else {"skipped": "x"}),
        }
        for runtime, precision, ms in rows
    ]
    return variant


def test_a_variant_slower_than_what_costs_no_work_is_flagged():
    baseline = timed("baseline", ("openvino", "fp32", 10.0), ("openvino", "bf16", 5.0), ("torch", "fp32", 20.0))
    without_bf16 = timed("baseline", ("openvino", "fp32", 10.0), ("torch", "fp32", 20.0))
    for ms, said, said_without in ((4.0, None, None), (5.2, None, None), (7.0, "bf16", None), (12.0, "bf16", "fp32")):
        variant = timed("quantize", ("openvino", "int8", ms), ("onnxruntime", "int8", 1.0))
        assert slower_than(variant, baseline) == said
        assert slower_than(variant, without_bf16) == said_without
    # A float variant may run in bfloat16, too, and bf16 is what the others are held against.
    for ms, said in ((5.1, None), (5.5, "bf16")):
        variant = timed("prune", ("openvino", "fp32", 9.0), ("torch", "fp32", 30.0), ("openvino", "bf16", ms))
        assert slower_than(variant, baseline) == said
    variant = timed("bf16", ("openvino", "bf16", 6.0))
    variant.stage = BF16(BF16Config())
    assert slower_than(variant, baseline) is None
    variant.size["parameters"] = 1000  # of fewer channels in bf16 more is to be expected
    assert slower_than(variant, baseline) == "bf16"
    assert slower_than(baseline, baseline) is None
    assert slower_than(timed("quantize", ("openvino", "int8", None)), baseline) is None  # nothing was timed


def test_what_is_compiled_to_something_else_is_not_timed(monkeypatch):
    """OpenVINO gave other probabilities for single records than it had been scored with."""
    variant = timed("quantize", ("openvino", "int8", None), ("onnxruntime", "int8", None))
    variant.runtimes = []
    for number, one in enumerate(variant.deployments):
        scores = {"test": {"f1_macro_tuned": 0.5, "auroc_macro": 0.5}}
        predicted = SimpleNamespace(logits_NC=np.full((3, 5), number))
        variant.evaluations[one] = SimpleNamespace(predictions={"val": predicted}, metrics=scores)
        variant.parity[one] = {}

    called = []

    def opened(path, runtime, precision, threads, batch):
        logits = np.full((batch, 5), 9.0 if runtime == "openvino" else 1.1)
        return SimpleNamespace(logits=lambda millivolts: called.append(runtime) or logits, kernels=list)

    monkeypatch.setattr(measurement, "open_runtime", opened)
    measurement._measure([variant], np.zeros((2, 12, 1000)), 1, LatencyConfig(rounds=3, warmup=4, min_round_s=0.0))
    skipped, row = variant.runtimes
    assert (skipped["runtime"], skipped["batch"], skipped["threads"]) == ("openvino", 2, 1)
    assert (
        "compiled for batches of 2, its probabilities differ from the scored ones by up to 0.50" in skipped["skipped"]
    )
    assert skipped["skipped"] in variant.notes[0]
    assert row["runtime"] == "onnxruntime"
    assert row["p50_ms"] > 0
    assert called.count("onnxruntime") == 1 + 4 + 3 * 2  # compared, warmed up, and in each round untimed and timed


def result(variants):
    """As much of `result.json` as the table of variants reads."""
    rows = []
    for variant, f1 in variants:
        for row in variant.runtimes:
            row |= {"f1_macro_tuned": f1, "auroc_macro": 0.8, "kernels": [], "delta": None}
        size = {"bytes": 4_000_000, "compressed_bytes": 2_000_000}
        own = variant.own
        rows.append(
            {"name": variant.name, "runtime": own.runtime, "precision": own.precision, "runtimes": variant.runtimes}
            | {"size": size, "slower_than": None, "checkpoint": "abc"}
        )
    return {"variants": rows, "choices": {"model": "vit"}, "seed": 0, "data": {"n_test": 60}}


def test_the_table_says_how_many_times_as_fast_as_the_fastest_uncompressed_model():
    baseline = timed("baseline", ("onnxruntime", "fp32", 12.0), ("openvino", "fp32", 10.0), ("openvino", "bf16", 6.0))
    small = timed("quantize", ("openvino", "int8", 2.0), ("onnxruntime", "int8", None))
    found = variant_rows(result([(baseline, 0.7), (small, 0.68)]))
    cells = [(row["variant"], row["precision"], row["ms"], row["times_fp32"], row["times_bf16"]) for row in found]
    assert cells == [
        ("baseline", "fp32", 12.0, pytest.approx(10 / 12), 0.5),
        ("baseline", "bf16", 6.0, pytest.approx(10 / 6), 1.0),
        ("quantize", "int8", 2.0, 5.0, 3.0),
    ]
    assert {row["megabytes"] for row in found} == {4.0}
    again = found + [row | {"run": "2"} for row in found]  # another cell of the same training
    assert [row["variant"] for row in without_repeats(again)] == ["baseline", "baseline", "quantize", "quantize"]


def test_the_front_holds_what_nothing_beats():
    points = [(10.0, 0.70), (5.0, 0.69), (6.0, 0.60), (1.0, 0.50), (12.0, 0.70)]
    assert pareto_front(points) == [(1.0, 0.50), (5.0, 0.69), (10.0, 0.70)]
    assert pareto_front([]) == []


def test_cells_of_a_slower_hour_are_drawn_at_one_speed():
    cell = {"model": "vit", "checkpoint": "a", "hardware": "cpu"}
    rows = [
        {**cell, "ms": 10.0, "times_fp32": 1.0},
        {**cell, "ms": 5.0, "times_fp32": 2.0},
        {**cell, "ms": 30.0, "times_fp32": 1.0},  # the same model, when the machine was three times as slow
        {**cell, "ms": 6.0, "times_fp32": 5.0},
        {**cell, "hardware": "cuda", "ms": 1.0, "times_fp32": None},
        {**cell, "checkpoint": "b", "ms": 90.0, "times_fp32": 1.0},  # of larger images
    ]
    assert [row["ms"] for row in _at_one_speed(rows)] == [20.0, 10.0, 20.0, 4.0, 1.0, 90.0]


def drawn_row(variant, ms, megabytes, f1_change=None, **more):
    change = {"f1_change": f1_change} | {f"f1_{end}": f1_change and f1_change + by for end, by in CI.items()}
    return {
        "model": "vit", "hardware": "cpu", "checkpoint": "c", "compression": "ptq", "variant": variant,
        "precision": "fp32", "f1": 0.7 + (f1_change or 0), "ms": ms, "megabytes": megabytes, "times_fp32": 8.0 / ms,
        "verdict": None, "slower_than": None, "n_test": 60, **change, **more,
    }  # fmt: skip


CI = {"low": -0.01, "high": 0.02}


def test_the_plot_merges_equal_checkpoints_and_shows_intervals():
    cells = [drawn_row("baseline", 8.0, 4.0), drawn_row("quantize", 2.0, 1.0, -0.004)]
    figure = pareto_figure([*cells, *(row | {"compression": "qat"} for row in cells)])
    times, sizes = figure.axes
    for axes, costs in ((times, [2.0, 2.0, 8.0]), (sizes, [1.0, 1.0, 4.0])):
        points = [one.lines[0] for one in axes.containers]
        assert sorted(point.get_xdata()[0] for point in points) == costs  # one uncompressed, two compressions
        bars = [bar.get_segments()[0] for one in axes.containers if one.has_yerr for bar in one.lines[2]]
        assert [bar[:, 1].tolist() for bar in bars] == [pytest.approx([0.686, 0.716])] * 2
        figure.canvas.draw()
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert "2" in ticks
        assert not any("10" in tick and "$" in tick for tick in ticks)
    assert "N = 60" in figure.get_suptitle()


def test_the_recommended_variant_is_as_good_and_faster_or_smaller():
    baseline = drawn_row("baseline", 8.0, 4.0)
    good, poor = {"verdict": "non-inferior"}, {"verdict": "inferior"}
    fast, faster = drawn_row("a", 4.0, 4.0, -0.001, **good), drawn_row("b", 2.0, 4.0, -0.001, **good)
    small = drawn_row("c", 9.0, 1.0, -0.001, slower_than="fp32", **good)
    assert recommended([baseline, fast, small, faster])["variant"] == "b"
    assert recommended([baseline, small, drawn_row("d", 1.0, 1.0, -0.1, **poor)])["variant"] == "c"
    assert recommended([baseline, drawn_row("d", 1.0, 1.0, -0.1, **poor)]) is None
