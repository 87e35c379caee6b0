"""The headline metrics, one row each: names in files, labels, and where each one is shown. It imports nothing.

A new one takes two places: a row here, and its function in `metrics.HEADLINE`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PHASES = ("val", "test")


@dataclass(frozen=True)
class Metric:
    """A score of one split, of raw probabilities.

    Attributes:
        name: in `result.json`; in TensorBoard and `monitor` as `PHASE/name`, in `results.csv` as `PHASE_name`.
        label: heading in tables.
        source: the values that it is computed from.
        higher_is_better: a metric of which lower is better is shown, and cannot be monitored.
        followed: whether the progress line, the learning curves, TensorBoard's final scores and the ranking's figure
            show it.
        csv: splits whose score is a column of `results.csv`.
        ranked: splits whose score is a column of the ranked table, with the column's rank: a narrow terminal drops the
            largest ones first, and never 0.
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
    """Return the values of `monitor`: the best checkpoint is the one with the largest."""
    return tuple(f"val/{metric.name}" for metric in METRICS if metric.higher_is_better)


def followed() -> dict[str, str]:
    """Return the labels of the metrics that are followed through a training, by name."""
    return {metric.name: metric.label for metric in METRICS if metric.followed}


def csv_columns() -> tuple[str, ...]:
    """Return the columns of `results.csv` that are scores."""
    return tuple(f"{phase}_{metric.name}" for phase in PHASES for metric in METRICS if phase in metric.csv)


def ranked_columns() -> list[tuple[str, str, int]]:
    """Return heading, column of `results.csv` and rank of each score of the ranked table."""
    return [
        (f"{phase} {metric.label}", f"{phase}_{metric.name}", metric.ranked[phase])
        for phase in PHASES
        for metric in METRICS
        if phase in metric.ranked
    ]
