"""The headline metrics, one row each: their names in files, their labels and where they are shown.

This module imports nothing of the project. A new metric needs a row here and its function in `metrics.HEADLINE`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PHASES = ("val", "test")


@dataclass(frozen=True)
class Metric:
    """A score of one split, computed from raw probabilities.

    Attributes:
        name: the name in `result.json`; `PHASE/name` in TensorBoard and `monitor`, `PHASE_name` in `results.csv`.
        label: the heading in tables.
        source: the values that it is computed from.
        higher_is_better: whether higher is better. A metric where lower is better is shown, but cannot be monitored.
        followed: whether the progress line, the learning curves, TensorBoard's final scores and the ranking's figure
            show it.
        csv: the splits whose score is a column of `results.csv`.
        ranked: the splits whose score is a column of the ranked table, with the column's rank. A narrow terminal drops
            the largest ranks first, and never rank 0.
    """

    name: str
    label: str
    source: str
    higher_is_better: bool = True
    followed: bool = False
    csv: tuple[str, ...] = PHASES
    ranked: dict[str, int] = field(default_factory=dict)


METRICS = (
    Metric("f1_macro", "F1", "decisions at 0.5", followed=True, ranked={"val": 0, "test": 1}),
    Metric("f1_macro_tuned", "F1 tuned", "decisions at the tuned thresholds", csv=("test",), ranked={"test": 3}),
    Metric("auroc_macro", "AUROC", "ranks", followed=True, ranked={"val": 1, "test": 2}),
    Metric("accuracy", "accuracy", "decisions at 0.5", csv=("test",)),
)


def monitored() -> tuple[str, ...]:
    """Return the allowed values of `monitor`. The best checkpoint is the one with the largest value."""
    return tuple(f"val/{metric.name}" for metric in METRICS if metric.higher_is_better)


def followed() -> dict[str, str]:
    """Return the labels, by name, of the metrics that are followed during a training."""
    return {metric.name: metric.label for metric in METRICS if metric.followed}


def csv_columns() -> tuple[str, ...]:
    """Return the score columns of `results.csv`."""
    return tuple(f"{phase}_{metric.name}" for phase in PHASES for metric in METRICS if phase in metric.csv)


def ranked_columns() -> list[tuple[str, str, int]]:
    """Return heading, column of `results.csv` and rank of each score of the ranked table."""
    return [
        (f"{phase} {metric.label}", f"{phase}_{metric.name}", metric.ranked[phase])
        for phase in PHASES
        for metric in METRICS
        if phase in metric.ranked
    ]
