"""Exact metrics of multi-label superclass predictions, computed from all records of an epoch at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_f1_score,
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
    multilabel_auroc,
    multilabel_f1_score,
)

from ecg_lightning.evaluation import metric_table
from ecg_lightning.evaluation.choices import RAW


@dataclass(frozen=True)
class Epoch:
    """The probabilities and decisions of N records, with their labels.

    Attributes:
        probabilities: (N, C) raw probabilities.
        decisions: (N, C) decisions at 0.5, 0 or 1.
        tuned: (N, C) decisions at the tuned thresholds, 0 or 1.
        targets: (N, C) labels, 0 or 1.
        scorable: (C,) flags of classes with a positive record.
        rankable: (C,) flags of classes with a positive and a negative record.
    """

    probabilities: Tensor
    decisions: Tensor
    tuned: Tensor
    targets: Tensor
    scorable: Tensor
    rankable: Tensor

    @cached_property
    def f1(self) -> Tensor:
        """The (C,) F1 of the decisions; 0 for a class without positives."""
        return _f1(self.decisions, self.targets)

    @cached_property
    def f1_tuned(self) -> Tensor:
        """The (C,) F1 of the tuned decisions; 0 for a class without positives."""
        return _f1(self.tuned, self.targets)

    @cached_property
    def auroc(self) -> Tensor:
        """The (C,) AUROC; NaN for a class that cannot be ranked."""
        auroc = torch.full((self.targets.shape[1],), float("nan"))
        if self.rankable.any():
            auroc[self.rankable] = _auroc(self.probabilities[:, self.rankable], self.targets[:, self.rankable])
        return auroc


HEADLINE: dict[str, Callable[[Epoch], float]] = {
    "f1_macro": lambda epoch: _mean(epoch.f1[epoch.scorable]),
    "f1_macro_tuned": lambda epoch: _mean(epoch.f1_tuned[epoch.scorable]),
    "auroc_macro": lambda epoch: _mean(epoch.auroc[epoch.rankable]),
    "accuracy": lambda epoch: float((epoch.decisions == epoch.targets).float().mean()),
}
"""The function of each row of `metric_table.METRICS`."""


def superclass_metrics(
    probabilities_NC: Tensor, targets_NC: Tensor, classes: Sequence[str], thresholds_C: Tensor
) -> dict[str, float]:
    """Return the headline metrics and the metrics of each class.

    Macro means run over the classes that can be scored; `n_classes` counts them. F1 needs at least one positive record,
    and AUROC also a negative record. A class without positives would count as 0 in torchmetrics.

    Args:
        probabilities_NC: (N, C) probabilities in float64, because in float32 the sigmoid saturates and ranks tie.
        targets_NC: (N, C) labels, 0 or 1.
        classes: the names of the C classes.
        thresholds_C: (C,) tuned thresholds, reported beside 0.5.

    Returns:
        The rows of `metric_table.METRICS`, `accuracy_subset` (all classes of a record right), `n_classes`, `spread`
        and `modal_share` (see `is_collapsed`), and `f1/CLASS`, `f1_tuned/CLASS`, `auroc/CLASS` for the classes that
        can be scored.
    """
    targets = targets_NC.int()
    positives = targets.sum(dim=0)
    epoch = Epoch(
        probabilities_NC,
        decisions=(probabilities_NC >= 0.5).int(),
        tuned=(probabilities_NC >= thresholds_C.to(probabilities_NC)).int(),
        targets=targets,
        scorable=positives > 0,
        rankable=(positives > 0) & (positives < len(targets)),
    )
    metrics = {metric.name: HEADLINE[metric.name](epoch) for metric in metric_table.METRICS} | {
        "accuracy_subset": float((epoch.decisions == targets).all(dim=1).float().mean()),
        "n_classes": float(epoch.scorable.sum()),
        "spread": float(probabilities_NC.std(dim=0, correction=0).max()),
        "modal_share": _modal_share(epoch.decisions),
    }
    for column, name in enumerate(classes):
        if epoch.scorable[column]:
            metrics[f"f1/{name}"] = float(epoch.f1[column])
            metrics[f"f1_tuned/{name}"] = float(epoch.f1_tuned[column])
        if epoch.rankable[column]:
            metrics[f"auroc/{name}"] = float(epoch.auroc[column])
    return metrics


def single_label_metrics(scores_NC: Tensor, targets_NC: Tensor) -> dict[str, float]:
    """Return the metrics of the original student project, whose single label is the argmax of the multi-hot row.

    Means are weighted by support. Constant NORM scores accuracy 0.4278 and F1 0.2563 on PTB-XL's fold 9, and 0.4245 and
    0.2530 on fold 10.

    Args:
        scores_NC: (N, C) logits or probabilities.
        targets_NC: (N, C) labels, 0 or 1.
    """
    labels, predicted = targets_NC.argmax(dim=1), scores_NC.argmax(dim=1)
    n_classes = targets_NC.shape[1]
    return {
        "accuracy_argmax": float(multiclass_accuracy(predicted, labels, n_classes, average="micro")),
        "precision_weighted": float(multiclass_precision(predicted, labels, n_classes, average="weighted")),
        "recall_weighted": float(multiclass_recall(predicted, labels, n_classes, average="weighted")),
        "f1_weighted": float(multiclass_f1_score(predicted, labels, n_classes, average="weighted")),
    }


def is_collapsed(metrics: dict[str, float]) -> bool:
    """Return whether a model predicts a constant, or nearly so.

    One sign is that no class's probability varies between records (standard deviation below 0.01). The other is that at
    least 99 % of the records get the same decision while the ranking is no better than chance (macro AUROC below 0.55).
    A young model that makes equal decisions but ranks well is not collapsed.
    """
    constant = metrics["modal_share"] >= 0.99 and not metrics["auroc_macro"] >= 0.55
    return metrics["spread"] < 0.01 or constant


def _f1(decisions_NC: Tensor, targets_NC: Tensor) -> Tensor:
    if decisions_NC.shape[1] == 1:
        return binary_f1_score(decisions_NC[:, 0], targets_NC[:, 0])[None]  # the multi-label form needs two classes
    return multilabel_f1_score(decisions_NC, targets_NC, decisions_NC.shape[1], average=None)


def _auroc(probabilities_NC: Tensor, targets_NC: Tensor) -> Tensor:
    if probabilities_NC.shape[1] == 1:
        return binary_auroc(probabilities_NC[:, 0], targets_NC[:, 0])[None]  # the multi-label form needs two classes
    return multilabel_auroc(probabilities_NC, targets_NC, probabilities_NC.shape[1], average=None)


def _modal_share(decisions_NC: Tensor) -> float:
    """Return the share of the records that get the most frequent combination of classes."""
    combinations = Counter(map(tuple, decisions_NC.tolist()))
    return max(combinations.values()) / len(decisions_NC)


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else float("nan")


def nested_metrics(flat: Mapping[str, float]) -> dict[str, Any]:
    """Return `{"f1_macro": …, "f1/NORM": …}` in the layout of `result.json`, with `per_class` and an empty `ci95`.

    All are scores of raw probabilities. The scores of calibrated probabilities are in `evaluation`.
    """
    nested: dict[str, Any] = {name: value for name, value in flat.items() if "/" not in name}
    per_class: dict[str, dict[str, float]] = {}
    for name, value in flat.items():
        if "/" in name:
            metric, _, superclass = name.partition("/")
            per_class.setdefault(superclass, {})[metric] = value
    return {"probabilities": RAW, **nested, "per_class": per_class, "ci95": None}
