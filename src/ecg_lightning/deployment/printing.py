"""Predictions and measurements as text for a terminal, and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecg_lightning.deployment.predictor import Prediction, Predictor
from ecg_lightning.deployment.runtimes import by_precision
from ecg_lightning.text import printable

DISCLAIMER = "Research use only: not a medical device, not for diagnosis."


def predictions_as_json(model: Path, predictor: Predictor, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Plain values: the model, its thresholds, and each record's probabilities or the reason why it has none."""
    records = []
    for prediction in predictions:
        if prediction.error:
            records.append({"record": prediction.record, "error": str(prediction.error)})
        else:
            records.append({key: value for key, value in asdict(prediction).items() if key != "error"})
    return {
        "notice": DISCLAIMER,
        "model": {"file": model.name, **asdict(predictor.metadata), "notes": predictor.notes},
        "records": records,
    }


def predictions_as_text(predictor: Predictor, predictions: Sequence[Prediction]) -> str:
    """A row for each record that could be predicted; * marks a class that reaches its threshold, ? an undecided one."""
    metadata = predictor.metadata
    usable = [prediction for prediction in predictions if prediction.probabilities]
    if not usable:
        return DISCLAIMER
    width = max([len("threshold"), *(len(prediction.record) for prediction in usable)])
    column = max(10, *(len(name) + 3 for name in metadata.classes))
    lines = ["record".ljust(width) + "".join(name.rjust(column) for name in metadata.classes) + "  positive"]
    for prediction in usable:
        cells = [
            f"{probability:.3f}"
            + ("*" if name in prediction.positive else " ")
            + ("?" if name in (prediction.undecided or ()) else " ")
            for name, probability in (prediction.probabilities or {}).items()
        ]
        lines.append(
            prediction.record.ljust(width)
            + "".join(cell.rjust(column) for cell in cells)
            + f"  {', '.join(prediction.positive) or '–'}"
        )
    lines.append("threshold".ljust(width) + "".join(f"{value:.3f}  ".rjust(column) for value in metadata.thresholds))
    if any(prediction.undecided for prediction in usable):
        lines.append(
            f"? undecided: conformal sets, which miss {metadata.alpha:.0%} of records like the validation fold's, hold "
            "both its presence and its absence, or neither"
        )
    lines += [f"{prediction.record}: {note}" for prediction in usable for note in prediction.notes]
    return printable("\n".join([*lines, *predictor.notes, DISCLAIMER]))  # names of records may be a stranger's


def benchmark_as_text(result: dict[str, Any]) -> str:
    """A row for each case, fastest first within a batch size, and the machine that it was measured on."""
    rows = sorted(result["rows"], key=lambda row: (row["batch"], row["p50_ms"] / row["batch"]))
    width = max([len("file"), *(len(row["file"]) for row in rows)])
    lines = [
        f"{'file':{width}}  {'runtime':11}  {'precision':9}  {'batch':>5}  {'p50 ms':>8}  {'p95 ms':>8}"
        f"  {'records/s':>9}  {'MB':>7}  {'zipped':>7}  {'peak MiB':>8}  kernels"
    ]
    for row in rows:
        peak = "–" if row["peak_memory_mib"] is None else round(row["peak_memory_mib"])
        lines.append(
            f"{row['file']:{width}}  {row['runtime']:11}  {row['precision']:9}  {row['batch']:5}"
            f"  {row['p50_ms']:8.3f}  {row['p95_ms']:8.3f}  {row['samples_per_s']:9,.0f}"
            f"  {row['bytes'] / 1e6:7.2f}  {row['compressed_bytes'] / 1e6:7.2f}  {peak:>8}"
            f"  {_by_precision(row['kernels'])}"
        )
    host = result["host"]
    lines.append(
        f"{host['cpu']}, {result['threads']} of {host['cores']} cores a call, {result['rounds']} interleaved rounds"
    )
    return printable("\n".join([*lines, *(f"left out: {reason}" for reason in result["skipped"])]))


def _by_precision(kernels: Sequence[dict[str, Any]]) -> str:
    """How many convolutions and products ran in each precision: `27 int8 + 3 fp32`."""
    counts = by_precision(kernels)
    return " + ".join(f"{count} {precision}" for precision, count in sorted(counts.items(), key=lambda item: -item[1]))
