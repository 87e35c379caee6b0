"""Curves of a split's predictions: ROC, precision-recall and reliability of each class, and abstention.

They are drawn without pyplot, which would keep every figure of a long run open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_precision_recall_curve,
    binary_roc,
)

from ecg_lightning.evaluation.calibration import expected_calibration_error
from ecg_lightning.evaluation.uncertainty import Abstention
from ecg_lightning.reports.canvas import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

MOST_CLASSES = 12
"""Most classes of a figure. More lines cannot be read."""


def roc_figure(probabilities_NC: Array, targets_NC: Array, classes: Sequence[str]) -> Figure:
    """Return a figure of the ROC curve of each class that has both positive and negative records; the others are named.

    Args:
        probabilities_NC: (N, C) probabilities.
        targets_NC: (N, C) 0 or 1.
        classes: names of the C classes.
    """
    figure, axes = _curve_axes("false positive rate (1 − specificity)", "true positive rate (sensitivity)")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1, label="chance (0.500)")
    for name, color, scores, labels in _most_frequent(probabilities_NC, targets_NC, classes):
        false_positive, true_positive, _ = binary_roc(scores, labels)
        label = f"{name}  AUROC {float(binary_auroc(scores, labels)):.3f}"
        axes.plot(false_positive.numpy(), true_positive.numpy(), color=color, linewidth=1.5, label=label)
    _finish_curves(axes, "ROC", targets_NC, classes)
    return figure


def pr_figure(probabilities_NC: Array, targets_NC: Array, classes: Sequence[str]) -> Figure:
    """Return a figure of each class's precision-recall curve, with its prevalence as a dotted line.

    The prevalence is the precision of a random ranking. Classes without positive or without negative records are left
    out and named.

    Args:
        probabilities_NC: (N, C) probabilities.
        targets_NC: (N, C) 0 or 1.
        classes: names of the C classes.
    """
    figure, axes = _curve_axes("recall (sensitivity)", "precision (positive predictive value)")
    for name, color, scores, labels in _most_frequent(probabilities_NC, targets_NC, classes):
        precision, recall, _ = binary_precision_recall_curve(scores, labels)
        precision[-1] = precision[-2]  # the end point (recall 0, precision 1) is a convention, not a measurement
        prevalence = float(labels.double().mean())
        label = f"{name}  AP {float(binary_average_precision(scores, labels)):.3f}  (chance {prevalence:.3f})"
        # Average precision is the area below these steps; straight lines between the points would flatter.
        axes.step(recall.numpy(), precision.numpy(), where="post", color=color, linewidth=1.5, label=label)
        axes.axhline(prevalence, color=color, linestyle=":", linewidth=1)
    _finish_curves(axes, "Precision-recall", targets_NC, classes)
    return figure


def reliability_figure(probabilities: Mapping[str, Array], targets_NC: Array, classes: Sequence[str]) -> Figure:
    """Return a figure of the share of positive records against the mean probability, for each calibration.

    Bins hold equally many records. There are at most ten bins, and fewer if a bin would hold less than 20 records,
    whose share would be uncertain.

    Args:
        probabilities: (N, C) probabilities, by the name of their calibration.
        targets_NC: (N, C) 0 or 1.
        classes: names of the C classes.
    """
    n_bins = min(10, max(2, len(targets_NC) // 20))
    width = 0.75 + 3.9 * len(probabilities)
    figure = new_figure(width, 4.6)
    figure.subplots_adjust(left=0.65 / width, right=1 - 0.15 / width, bottom=0.12, top=0.88, wspace=0.08)
    panels = np.atleast_1d(figure.subplots(1, len(probabilities), sharey=True))
    for axes, (name, guesses_NC) in zip(panels, probabilities.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
        for label, color, scores, labels in _most_frequent(guesses_NC, targets_NC, classes):
            bins = np.array_split(np.argsort(scores.numpy(), kind="stable"), n_bins)
            points = [(scores.numpy()[chosen].mean(), labels.numpy()[chosen].mean()) for chosen in bins if len(chosen)]
            axes.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, linewidth=1.2, label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="mean probability")
        error = expected_calibration_error(guesses_NC, targets_NC)
        axes.set_title(f"calibration {name}\nECE (15 bins of equal width) {error:.4f}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"share of positive records, N = {len(targets_NC):,}")
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(frameon=False, fontsize=8)
    return figure


def abstention_figure(abstentions: Mapping[str, Abstention], n_records: int) -> Figure:
    """Return a figure of the share of kept records with any wrong label against the kept share, with its interval.

    Args:
        abstentions: abstention curves by the certainty that ranks the records.
        n_records: number of records of the split.
    """
    figure = new_figure(6.2, 4.6, layout="constrained")
    axes = figure.subplots()
    for color, (name, one) in zip(COLOURS, abstentions.items(), strict=False):
        value, low, high = np.array(one.wrong_records).T
        axes.plot(one.kept, value, color=color, linewidth=1.5, label=f"by {name}, area {one.aurc.value:.3f}")
        axes.fill_between(one.kept, low, high, color=color, alpha=0.15, linewidth=0)
    everyone = next(iter(abstentions.values())).wrong_records[-1].value
    axes.axhline(everyone, color="0.6", linestyle=":", linewidth=1, label=f"at random {everyone:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share of records kept, surest first")
    axes.set_ylabel("share of kept records with a wrong label")
    axes.set_title(f"Abstention, N = {n_records:,}; 95 % by patient", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _is_rankable(targets_NC: Array) -> npt.NDArray[np.bool_]:
    positive = targets_NC.astype(bool)
    return np.asarray(positive.any(axis=0) & ~positive.all(axis=0))


def rankable(
    probabilities_NC: Array, targets_NC: Array, classes: Sequence[str]
) -> Iterator[tuple[str, str, torch.Tensor, torch.Tensor]]:
    """Yield name, colour, probabilities and labels of each class whose records can be ranked."""
    for column in np.flatnonzero(_is_rankable(targets_NC)).tolist():
        scores = torch.from_numpy(np.ascontiguousarray(probabilities_NC[:, column]))
        labels = torch.from_numpy(targets_NC[:, column].astype(np.int64))
        # A class keeps its colour when other classes are left out.
        yield classes[column], COLOURS[column % len(COLOURS)], scores, labels


def _most_frequent(
    probabilities_NC: Array, targets_NC: Array, classes: Sequence[str]
) -> list[tuple[str, str, torch.Tensor, torch.Tensor]]:
    """Return the rankable classes with the most positive records, as many as one figure has room for."""
    found = list(rankable(probabilities_NC, targets_NC, classes))
    chosen = {name for name, *_ in sorted(found, key=lambda one: -int(one[3].sum()))[:MOST_CLASSES]}
    return [one for one in found if one[0] in chosen]


def named(classes: Sequence[str], chosen: Array) -> str:
    """Return the names of the chosen classes, or `none`."""
    return ", ".join(name for name, it in zip(classes, chosen, strict=True) if it) or "none"


def _curve_axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = new_figure(6.5, 7.25)
    axes = figure.add_axes((0.11, 0.195, 0.86, 0.73))
    # A small margin keeps curves along the frame visible.
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x_label, ylabel=y_label)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish_curves(axes: Axes, kind: str, targets_NC: Array, classes: Sequence[str]) -> None:
    drawn = _is_rankable(targets_NC)
    title = f"{kind}, N = {len(targets_NC)}"
    if drawn.sum() > MOST_CLASSES:
        title += f"\nthe {MOST_CLASSES} most frequent of {len(classes)} classes"
    elif not drawn.all():
        title += f"\nnot drawn, because all or no records are positive: {named(classes, ~drawn)}"
    axes.set_title(title, fontsize=11)
    if axes.get_legend_handles_labels()[0]:
        # Outside, because the curves of a poorly trained model may run anywhere.
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2, fontsize=9, frameon=False)
