"""Figures: what they show, and that they leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.calibration import logit
from ecg_lightning.evaluation.choices import Choices, Decided
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.evaluation.uncertainty import abstain, distance_certainty
from ecg_lightning.reports.confusion import confusion_figure
from ecg_lightning.reports.curves import abstention_figure, pr_figure, reliability_figure, roc_figure
from ecg_lightning.reports.figure_files import pixels
from ecg_lightning.reports.figures import draw_split, ecg_figure, log_figures, log_pr_curves

CLASSES = ("CD", "HYP", "MI", "NORM", "STTC")
THRESHOLDS = np.array([0.3, 0.2, 0.35, 0.5, 0.4])
NORM, MI = np.array([0, 0, 0, 1, 0]), np.array([0, 0, 1, 0, 0])


def predictions(n_records: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = (rng.random((n_records, len(CLASSES))) < 0.3).astype(np.uint8)
    return 1 / (1 + np.exp(-(targets + rng.normal(size=targets.shape)))), targets


def signals(sampling_rate: int, seconds: float = 10) -> np.ndarray:
    """Lead k: a spike of (k + 1) / 10 mV each second."""
    spikes = np.zeros((12, round(seconds * sampling_rate)), dtype=np.float32)
    spikes[:, sampling_rate // 2 :: sampling_rate] = np.arange(1, 13)[:, None] / 10
    return spikes


def draw_ecg(sampling_rate: int = 100, signal: np.ndarray | None = None) -> Figure:
    shown = signals(sampling_rate) if signal is None else signal
    probabilities = np.array([0.1, 0.05, 0.9, 0.55, 0.1])
    return ecg_figure(shown, sampling_rate, CLASSES, probabilities, MI, THRESHOLDS, "val: first record")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for holder in (figure, *figure.axes) for text in holder.texts]


def legend(figure: Figure) -> dict[str, str]:
    entries = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    return {entry.split()[0]: entry for entry in entries}


def assert_drawn(figure: Figure) -> np.ndarray:
    drawn = pixels(figure)
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 4
    assert (drawn[..., :3].max(axis=2) < 60).sum() > 500  # dark: traces, axes and text
    return drawn


@pytest.mark.parametrize("sampling_rate", [100, 500])
def test_ecg_is_drawn_to_scale(sampling_rate: int) -> None:
    figure = draw_ecg(sampling_rate)
    assert_drawn(figure)
    traces = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xydata()) > 2 * sampling_rate]
    assert len(traces) == 13
    order = ("I", "AVR", "V1", "V4", "II", "AVL", "V2", "V5", "III", "AVF", "V3", "V6", "II")
    for lead, trace in zip(order, traces, strict=True):
        # 10 mm/mV: lead k's spikes of (k + 1) / 10 mV are k + 1 mm high.
        assert np.ptp(trace[:, 1]) == pytest.approx(LEADS.index(lead) + 1, abs=1e-4)
    # 25 mm/s; columns follow each other in time and line up with the rhythm strip.
    rhythm = traces[-1]
    assert np.ptp(rhythm[:, 0]) == pytest.approx(250, abs=0.3)
    spikes = np.flatnonzero(rhythm[:, 1] > rhythm[:, 1].min() + 1)
    assert np.diff(rhythm[spikes, 0]) == pytest.approx(25)
    assert [trace[0, 0] - rhythm[0, 0] for trace in traces[:4]] == pytest.approx([0, 62.5, 125, 187.5])


def test_millimetre_is_the_same_on_both_axes() -> None:
    paper = draw_ecg().axes[0]
    box = paper.get_window_extent()
    assert box.width / np.ptp(paper.get_xlim()) == pytest.approx(4)
    assert box.height / np.ptp(paper.get_ylim()) == pytest.approx(4)


def test_ecg_names_leads_and_prediction() -> None:
    figure = draw_ecg()
    shown = texts(figure)
    for lead in ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"):
        assert lead in shown
    assert "val: first record" in shown
    assert "predicted: MI, NORM · labelled: MI" in shown
    labels = {label.get_text(): label for label in figure.axes[1].get_yticklabels()}
    assert [label.get_fontweight() for label in labels.values()] == ["normal", "normal", "bold", "normal", "normal"]
    assert "✓ MI" in labels
    assert labels["NORM"].get_color() != labels["CD"].get_color()  # wrongly predicted


def test_ecg_does_not_depend_on_an_electrode_offset() -> None:
    plain, shifted = draw_ecg(), draw_ecg(signal=signals(100) + 3)
    assert np.abs(pixels(plain).astype(int) - pixels(shifted)).max() <= 2


def test_ecg_of_a_short_record() -> None:
    assert_drawn(draw_ecg(signal=signals(100, seconds=4)))


def test_ecg_rejects_other_leads() -> None:
    with pytest.raises(ValueError, match=r"\(8, 1000\), expected \(12"):
        draw_ecg(signal=np.zeros((8, 1000)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_curves_agree_with_scikit_learn(dtype: type) -> None:
    probabilities, targets = predictions()
    probabilities = probabilities.astype(dtype)
    roc, pr = roc_figure(probabilities, targets, CLASSES), pr_figure(probabilities, targets, CLASSES)
    for figure in (roc, pr):
        assert_drawn(figure)
        assert "N = 300" in figure.axes[0].get_title()
    lines = {line.get_label().split()[0]: line.get_xydata() for line in roc.axes[0].lines}
    for column, name in enumerate(CLASSES):
        labels, scores = targets[:, column], probabilities[:, column]
        auroc = roc_auc_score(labels, scores)
        assert f"AUROC {auroc:.3f}" in legend(roc)[name]
        assert np.trapezoid(lines[name][:, 1], lines[name][:, 0]) == pytest.approx(auroc, abs=1e-5)
        assert f"AP {average_precision_score(labels, scores):.3f}" in legend(pr)[name]
        assert f"chance {labels.mean():.3f}" in legend(pr)[name]


def test_classes_that_cannot_be_ranked_are_named() -> None:
    probabilities, targets = predictions()
    targets[:, 1], targets[:, 3] = 0, 1
    for figure in (roc_figure(probabilities, targets, CLASSES), pr_figure(probabilities, targets, CLASSES)):
        assert figure.axes[0].get_title().endswith("positive: HYP, NORM")
        assert {"CD", "MI", "STTC"} == set(legend(figure)) - {"chance"}


def test_no_class_can_be_ranked() -> None:
    probabilities, targets = predictions()
    for figure in (roc_figure(probabilities, targets * 0, CLASSES), pr_figure(probabilities, targets * 0, CLASSES)):
        assert_drawn(figure)


def log(folder: Path, probabilities: np.ndarray, targets: np.ndarray) -> tuple[EventAccumulator, list[int]]:
    loaded: list[int] = []

    def signal_of(index: int) -> np.ndarray:
        loaded.append(index)
        return signals(100)

    n_records = len(targets)
    split = Predictions(
        CLASSES, "sigmoid", np.arange(n_records), np.arange(n_records), targets.astype(bool), logit(probabilities)
    )
    choices = Choices.of_thresholds(CLASSES, "sigmoid", THRESHOLDS)
    figures = draw_split("val", choices, split, signal_of=signal_of, sampling_rate=100)
    with SummaryWriter(str(folder)) as writer:
        log_figures(writer, 7, "val", figures)
        log_pr_curves(writer, 7, "val", split)
    events = EventAccumulator(str(folder))
    events.Reload()
    return events, loaded


def test_log_figures_writes_every_tag(tmp_path: Path) -> None:
    _, targets = predictions(20)
    targets[0], targets[1], targets[2], targets[3], targets[:, 1] = NORM, NORM, MI, MI, 0
    probabilities = targets.astype(np.float64)
    probabilities[1] = [0.9, 0, 0, 1, 0]  # wrong, but less so than
    probabilities[3] = [0, 0, 0.01, 0, 0]  # a missed MI far below its threshold
    events, loaded = log(tmp_path, probabilities, targets)
    images = [
        "val/confusion",
        "val/ecg/correct",
        "val/ecg/error",
        "val/pr",
        "val/reliability",
        "val/roc",
    ]
    assert sorted(events.Tags()["images"]) == images
    assert all(events.Images(tag)[0].step == 7 for tag in images)
    assert all(events.Images(tag)[0].encoded_image_string.startswith(b"\x89PNG") for tag in images)
    assert loaded == [2, 3]  # the first right and not merely normal, the worst
    curves = [tag for tag in events.Tags()["tensors"] if tag.startswith("val/pr_curve/")]
    assert sorted(curves) == [f"val/pr_curve/{name}" for name in ("CD", "MI", "NORM", "STTC")]


def test_log_figures_without_error_or_finding(tmp_path: Path) -> None:
    targets = np.stack([NORM, NORM])
    events, loaded = log(tmp_path, targets.astype(np.float32), targets)
    assert sorted(events.Tags()["images"]) == ["val/confusion", "val/ecg/first", "val/pr", "val/reliability", "val/roc"]
    assert loaded == [0]


def test_log_figures_without_records(tmp_path: Path) -> None:
    events, loaded = log(tmp_path, np.zeros((0, 5)), np.zeros((0, 5), dtype=np.uint8))
    assert sorted(events.Tags()["images"]) == ["val/pr", "val/roc"]
    assert loaded == []


def test_abstention_shows_the_mistakes_in_the_surest_records():
    random = np.random.default_rng(0)
    targets = random.random((400, 2)) < 0.4
    probabilities = 1 / (1 + np.exp(-(2 * targets - 1 + random.normal(size=targets.shape))))
    decided, weights = Decided(probabilities, np.full(2, 0.5)), bootstrap.patient_weights(np.arange(400), 100)
    one = abstain(decided, targets, distance_certainty(decided), weights, kept=[0.25, 0.5, 1.0])
    (axes,) = abstention_figure({"distance": one}, 400).axes
    curve, everyone = axes.lines
    assert curve.get_xdata().tolist() == one.kept
    surest = np.argsort(-distance_certainty(decided))[:100]
    assert curve.get_ydata()[0] == (decided.decisions[surest] != targets[surest]).any(axis=1).mean()
    assert everyone.get_ydata()[0] == curve.get_ydata()[-1] == (decided.decisions != targets).any(axis=1).mean()


def test_reliability_shows_shares_of_positives():
    random = np.random.default_rng(0)
    true = random.random((4000, 5))
    targets = random.random(true.shape) < true
    figure = reliability_figure({"none": true**2, "platt": true}, targets, CLASSES)
    wrong, right = figure.axes
    line = right.lines[1]  # after the diagonal
    assert np.abs(line.get_xdata() - line.get_ydata()).max() < 0.08
    assert np.abs(wrong.lines[1].get_xdata() - wrong.lines[1].get_ydata()).max() > 0.15
    assert len(line.get_xdata()) == 10
    assert "ECE (15 bins of equal width) 0.1" in wrong.get_title()
    assert [text.get_text() for text in wrong.get_legend().get_texts()] == list(CLASSES)
    assert pixels(figure).shape[2] == 4


def test_a_figure_shows_the_most_frequent_of_many_classes():
    random = np.random.default_rng(0)
    classes = [f"class{number}" for number in range(71)]
    targets = random.random((2000, 71)) < np.linspace(0.01, 0.5, 71)
    guesses = random.random(targets.shape)
    roc, reliability = roc_figure(guesses, targets, classes), reliability_figure({"none": guesses}, targets, classes)
    assert "12 most frequent of 71" in roc.axes[0].get_title()
    assert set(legend(roc)) - {"chance"} == set(legend(reliability))
    assert len(legend(reliability)) == 12
    assert {"class70", "class69", "class68"} <= set(legend(reliability))


def test_confusion_counts_every_record_once():
    probabilities, targets = predictions()
    decisions = probabilities >= 0.5
    shown = texts(confusion_figure(decisions, targets, CLASSES))
    for column, name in enumerate(CLASSES):
        assert name in shown
        for label in (0, 1):
            count = int(((targets[:, column] == label) & decisions[:, column]).sum())
            share = count / int((targets[:, column] == label).sum())
            assert f"{count}\n{share:.0%}" in shown
