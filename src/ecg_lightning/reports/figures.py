"""Figures of a split: ECGs on paper with their prediction, curves, and decisions by class.

They are drawn without pyplot, which would keep every figure of a long run open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.reports.canvas import DPI, new_figure
from ecg_lightning.reports.confusion import confusion_figure
from ecg_lightning.reports.curves import named, pr_figure, rankable, reliability_figure, roc_figure
from ecg_lightning.reports.figure_files import pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch.utils.tensorboard import SummaryWriter

Array = npt.NDArray[Any]

# The clinical 3 × 4 layout: the columns follow each other in time, like the rhythm strip below them.
_LAYOUT = (("I", "AVR", "V1", "V4"), ("II", "AVL", "V2", "V5"), ("III", "AVF", "V3", "V6"))
_COLUMN_S = 2.5
_MM_PER_S, _MM_PER_MV = 25.0, 10.0

_PIXEL_PT = 72 / DPI
_ROW_MM, _LEFT_MM, _BOTTOM_MM = 30, 10, 5
_PAPER_MM = (_LEFT_MM + 255, _BOTTOM_MM + 4 * _ROW_MM)
_TITLE_MM, _EDGE_MM, _PANEL_MM = 10, 3, 78
_FIGURE_MM = (_PAPER_MM[0] + _PANEL_MM + 2 * _EDGE_MM, _PAPER_MM[1] + _TITLE_MM + _EDGE_MM)
_PAPER, _FINE, _COARSE, _INK = "#fffafa", "#fbdcdc", "#eea9a9", "#101010"

_PREDICTED, _NOT_PREDICTED, _WRONG = "#0072b2", "#c9d6df", "#d55e00"


def ecg_figure(
    millivolts_CT: Array,
    sampling_rate: int,
    classes: Sequence[str],
    probabilities: Array,
    targets: Array,
    thresholds: Array,
    title: str = "",
) -> Figure:
    """Return a figure of one record at 25 mm/s and 10 mm/mV, beside the model's prediction.

    Args:
        millivolts_CT: (12, T) signals in mV, leads as in `LEADS`; the first 10 s are shown.
        sampling_rate: Hz.
        classes: names of the C classes.
        probabilities: (C,) probabilities.
        targets: (C,) 0 or 1.
        thresholds: (C,) decision thresholds; a class is predicted from its threshold on.
        title: text above the paper.

    Raises:
        ValueError: the signals are not those of twelve leads.
    """
    if millivolts_CT.ndim != 2 or len(millivolts_CT) != len(LEADS):
        raise ValueError(f"signals of shape {millivolts_CT.shape}, expected ({len(LEADS)}, samples)")
    width, height = _FIGURE_MM
    figure = new_figure(width / 25.4, height / 25.4)

    def axes_at(left: float, bottom: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    paper = axes_at(_EDGE_MM, _EDGE_MM, *_PAPER_MM)
    _draw_paper(paper)
    _draw_leads(paper, millivolts_CT, sampling_rate)
    decisions = _decide(probabilities, thresholds)
    panel_left = _EDGE_MM + _PAPER_MM[0]
    # The panel's left part is for the class names, its lower part for the legend.
    panel = axes_at(panel_left + 22, _EDGE_MM + 34, _PANEL_MM - 24, _PAPER_MM[1] - 38)
    _draw_prediction(panel, classes, probabilities, targets.astype(bool), decisions, thresholds)
    names = f"predicted: {named(classes, decisions)} · labelled: {named(classes, targets)}"
    title_y = 1 - 0.55 * _TITLE_MM / height
    figure.text(_EDGE_MM / width, title_y, title, fontsize=11, va="center", weight="bold")
    figure.text(1 - _EDGE_MM / width, title_y, names, fontsize=11, va="center", ha="right")
    return figure


def draw_split(
    phase: str,
    choices: Choices,
    split: Predictions,
    *,
    signal_of: Callable[[int], Array] | None,
    sampling_rate: int,
) -> dict[str, Figure]:
    """Return the figures of one split, with the calibration and the thresholds of the validation fold.

    Args:
        phase: name of the split in the titles, for example "val" or "test".
        choices: the model's choices on its validation fold.
        split: predictions of the split.
        signal_of: function from record i to its (12, T) signals in mV. It is called only for the records shown; None
            draws no ECG.
        sampling_rate: Hz.

    Returns:
        Figures by tag. `ecg/correct` is the first right record that is not merely normal, and `ecg/error` the most
        confident error; without such records there is `ecg/first`. Then `roc` and `pr`, and `reliability` and
        `confusion` if there are records.
    """
    decided, targets_NC, classes = choices.apply(split), split.targets_NC, split.classes
    probabilities_NC = decided.probabilities_NC
    figures: dict[str, Figure] = {}
    examples = _examples(probabilities_NC, targets_NC, decided.thresholds_C, classes) if signal_of else {}
    for tag, (index, why) in examples.items():
        assert signal_of is not None
        figures[f"ecg/{tag}"] = ecg_figure(
            signal_of(index),
            sampling_rate,
            classes,
            probabilities_NC[index],
            targets_NC[index],
            decided.thresholds_C,
            title=f"{phase}, ecg_id {split.ecg_ids[index]}: {why}",
        )
    figures["roc"] = roc_figure(probabilities_NC, targets_NC, classes)
    figures["pr"] = pr_figure(probabilities_NC, targets_NC, classes)
    if len(targets_NC):
        figures["reliability"] = reliability_figure(choices.calibrated(split), targets_NC, classes)
        figures["confusion"] = confusion_figure(decided.decisions, targets_NC, classes)
    return figures


def log_figures(writer: SummaryWriter, step: int, phase: str, figures: Mapping[str, Figure]) -> None:
    """Write the figures of one split to TensorBoard, under `PHASE/TAG`.

    Args:
        writer: writer of the run's event file.
        step: global step.
        phase: name of the split, for example "val" or "test".
        figures: see `draw_split`.
    """
    for tag, figure in figures.items():
        # Not `add_figure`, because it uses pyplot.
        writer.add_image(f"{phase}/{tag}", pixels(figure)[..., :3], step, dataformats="HWC")


def log_pr_curves(writer: SummaryWriter, step: int, phase: str, split: Predictions) -> None:
    """Write `PHASE/pr_curve/CLASS` for each class that has positive and negative records."""
    for name, _, scores, labels in rankable(split.probabilities(), split.targets_NC, split.classes):
        writer.add_pr_curve(f"{phase}/pr_curve/{name}", labels.numpy(), scores.numpy(), step)


def _draw_paper(axes: Axes) -> None:
    width, height = _PAPER_MM
    axes.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[], facecolor=_PAPER)
    axes.spines[:].set_color(_COARSE)
    for every, color, order in ((1, _FINE, 0.1), (5, _COARSE, 0.2)):
        style: dict[str, Any] = {"color": color, "linewidth": _PIXEL_PT, "zorder": order, "snap": True}
        axes.vlines(np.arange(0, width + 1, every), 0, height, **style)
        axes.hlines(np.arange(0, height + 1, every), 0, width, **style)


def _draw_leads(axes: Axes, millivolts_CT: Array, sampling_rate: int) -> None:
    row_baselines = [_BOTTOM_MM + _ROW_MM * (row + 0.5) - 2.5 for row in (3, 2, 1, 0)]
    for baseline in row_baselines:
        # The calibration pulse: 1 mV for 0.2 s.
        pulse = np.array([[1, 0], [2.5, 0], [2.5, 10], [7.5, 10], [7.5, 0], [9, 0]])
        axes.plot(pulse[:, 0], baseline + pulse[:, 1], color=_INK, linewidth=0.8)
    for row, baseline in zip(_LAYOUT, row_baselines, strict=False):
        for column, lead in enumerate(row):
            start = column * _COLUMN_S
            _draw_trace(axes, millivolts_CT, sampling_rate, lead, baseline, start, start + _COLUMN_S)
            if column:
                x = _LEFT_MM + start * _MM_PER_S
                axes.plot([x, x], [baseline - 2.5, baseline + 2.5], color=_INK, linewidth=0.8)
    _draw_trace(axes, millivolts_CT, sampling_rate, "II", row_baselines[-1], 0, len(_LAYOUT[0]) * _COLUMN_S)
    scale = f"{_MM_PER_S:.0f} mm/s   {_MM_PER_MV:.0f} mm/mV   {sampling_rate} Hz"
    axes.text(1.5, 1.2, scale, fontsize=8, color=_INK, va="bottom", bbox=_on_paper())


def _draw_trace(
    axes: Axes, millivolts_CT: Array, sampling_rate: int, lead: str, baseline: float, start: float, end: float
) -> None:
    millivolts = millivolts_CT[LEADS.index(lead)]
    # One more sample than the stretch holds, so that the rhythm continues up to the next lead.
    first, last = round(start * sampling_rate), round(end * sampling_rate) + 1
    shown = millivolts[first:last]
    x = _LEFT_MM + np.arange(first, first + len(shown)) / sampling_rate * _MM_PER_S
    # PTB-XL keeps the electrodes' offset. An electrocardiograph centres each lead on its row, as this does.
    y = baseline + (shown - np.median(millivolts)) * _MM_PER_MV
    axes.plot(x, y, color=_INK, linewidth=0.9, solid_joinstyle="round")
    label = lead.replace("AV", "aV")
    x_label = _LEFT_MM + start * _MM_PER_S + 1.5
    axes.text(x_label, baseline + 12, label, fontsize=10, weight="bold", va="center", zorder=4, bbox=_on_paper())


def _on_paper() -> dict[str, Any]:
    return {"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}


def _draw_prediction(
    axes: Axes, classes: Sequence[str], probabilities: Array, targets: Array, decisions: Array, thresholds: Array
) -> None:
    rows = np.arange(len(classes))
    axes.barh(rows, probabilities, height=0.55, color=[_PREDICTED if it else _NOT_PREDICTED for it in decisions])
    axes.vlines(thresholds, rows - 0.36, rows + 0.36, color=_INK, linewidth=1.8)
    for row, probability in zip(rows, probabilities, strict=True):
        axes.text(1.0, row - 0.4, f"{probability:.2f}", fontsize=9, ha="right", va="center")
    axes.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6), xlabel="probability")
    axes.set_yticks(rows, [f"✓ {name}" if it else name for name, it in zip(classes, targets, strict=True)], fontsize=10)
    for label, labelled, predicted in zip(axes.get_yticklabels(), targets, decisions, strict=True):
        label.set_fontweight("bold" if labelled else "normal")
        label.set_color(_INK if labelled == predicted else _WRONG)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    key = "dark bar: predicted\nblack mark: the class's threshold\n✓, bold: labelled\norange name: wrong prediction"
    axes.text(-0.35, -0.17, key, transform=axes.transAxes, fontsize=8, va="top", color="0.25", linespacing=1.5)


def _decide(probabilities: Array, thresholds: Array) -> npt.NDArray[np.bool_]:
    """Return the decisions as the metrics make them, in the probabilities' own precision."""
    return np.asarray(probabilities >= thresholds.astype(probabilities.dtype))


def _examples(
    probabilities_NC: Array, targets_NC: Array, thresholds_C: Array, classes: Sequence[str]
) -> dict[str, tuple[int, str]]:
    """Return tag, record index and reason of one or two example records."""
    if not len(targets_NC):
        return {}
    targets = targets_NC.astype(bool)
    decisions = _decide(probabilities_NC, thresholds_C)
    wrong = decisions != targets
    abnormal = targets[:, [name != "NORM" for name in classes]].any(axis=1)
    chosen: dict[str, tuple[int, str]] = {}
    if (correct := np.flatnonzero(~wrong.any(axis=1) & abnormal)).size:
        chosen["correct"] = (int(correct[0]), "first correct record that is not normal")
    if wrong.any():
        # Distance of a probability from its threshold, as a share of the largest possible one on that side. Thresholds
        # differ, and with a low one the plain distance would hardly ever pick a missed finding.
        reach = np.where(decisions, 1 - thresholds_C, thresholds_C)
        confidence = np.abs(probabilities_NC - thresholds_C) / np.maximum(reach, 1e-12)
        index = int(np.where(wrong, confidence, -1.0).max(axis=1).argmax())
        chosen["error"] = (index, "most confident error")
    if not chosen:
        chosen["first"] = (0, "first record")
    return chosen
