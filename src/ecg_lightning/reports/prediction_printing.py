"""Predictions and measurements as text for a terminal, and as plain values for JSON."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecg_lightning.deployment.metadata import Metadata
from ecg_lightning.deployment.predictor import Prediction, Predictor
from ecg_lightning.deployment.runtimes.runtime import by_precision
from ecg_lightning.text import printable

DISCLAIMER = "Research use only: not a medical device, not for diagnosis."
_MOST_COLUMNS = 8  # most classes of a table that fits a terminal
_MOST_NAMES = 5  # most records in one line


def predictions_as_json(model: Path, predictor: Predictor, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return plain values: the model, its thresholds, and each record's probabilities or its error."""
    records = []
    for prediction in predictions:
        if prediction.error:
            records.append({"record": prediction.record, "error": str(prediction.error)})
        else:
            records.append({key: value for key, value in asdict(prediction).items() if key != "error"})
    return {
        "notice": DISCLAIMER,
        "model": {"file": model.name, **predictor.metadata.as_dict(), "notes": predictor.notes},
        "records": records,
    }


def predictions_as_csv(predictor: Predictor, predictions: Sequence[Prediction]) -> str:
    """Return a row for each record: probabilities, positive and undecided classes, notes, and its error."""
    text = io.StringIO()
    classes = predictor.metadata.classes
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["record", *classes, "positive", "undecided", "notes", "error"])
    for prediction in predictions:
        found = prediction.probabilities or {}
        lists = (prediction.positive, prediction.undecided or (), prediction.notes)
        table.writerow(
            [
                printable(prediction.record),
                *(f"{found[name]:.6f}" if found else "" for name in classes),
                *("; ".join(one) for one in lists),
                prediction.error or "",
            ]
        )
    content = text.getvalue()
    return content if content.isascii() else f"\ufeff{content}"  # Excel recognises UTF-8 by this mark


def predictions_as_text(predictor: Predictor, predictions: Sequence[Prediction]) -> str:
    """Return a row for each predicted record, the legend of the marks, and the notes."""
    usable = [prediction for prediction in predictions if prediction.probabilities]
    if not usable:
        return DISCLAIMER
    folder = _common_folder([Path(prediction.record) for prediction in usable])
    names = [str(Path(prediction.record).relative_to(folder)) if folder else prediction.record for prediction in usable]
    metadata = predictor.metadata
    width = max([len("threshold"), *map(len, names)])
    if len(metadata.classes) > _MOST_COLUMNS:
        lines = [_as_list(name.ljust(width), prediction) for name, prediction in zip(names, usable, strict=True)]
    else:
        column = max(9, *(len(name) + 3 for name in metadata.classes))
        lines = ["record".ljust(width) + "".join(f"{name}  ".rjust(column) for name in metadata.classes) + " positive"]
        for name, prediction in zip(names, usable, strict=True):
            cells = "".join(_cell(prediction, label).rjust(column) for label in metadata.classes)
            lines.append(f"{name.ljust(width)}{cells} {', '.join(prediction.positive) or '–'}")
        limits = "".join(f"{value:.3f}  ".rjust(column) for value in metadata.choices.thresholds)
        lines.append("threshold".ljust(width) + limits.rstrip())
    if folder and folder != Path():
        lines.insert(0, f"records in {folder}:")
    lines += _legend(metadata, usable)
    said = [f"{name}: {note}" for name, prediction in zip(names, usable, strict=True) for note in prediction.notes]
    return printable("\n".join([*lines, *said, *predictor.notes, DISCLAIMER]))  # records may have a stranger's names


def refusals_as_lines(predictions: Sequence[Prediction]) -> list[str]:
    """Return the reasons why records could not be read. Each reason comes once with the names of its records."""
    sharing: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        if prediction.error:
            reason = str(prediction.error).replace(prediction.record, "")
            sharing.setdefault(reason, []).append(prediction)
    lines = []
    for first, *others in sharing.values():
        lines.append(f"error: {first.error}")
        if others:
            names = ", ".join(Path(one.record).name for one in others[:_MOST_NAMES])
            more = f" and {len(others) - _MOST_NAMES:,} more (--out FILE.csv lists them)" * (len(others) > _MOST_NAMES)
            lines.append(printable(f"error: the same holds for {names}{more}"))
    return lines


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """Return the folder that holds all files; None if only some paths are absolute."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        return None


def _cell(prediction: Prediction, name: str) -> str:
    positive, undecided = name in prediction.positive, name in (prediction.undecided or ())
    return f"{(prediction.probabilities or {})[name]:.3f}{'*' if positive else ' '}{'?' if undecided else ' '}"


def _as_list(name: str, prediction: Prediction) -> str:
    """Return a record's positive classes, the most probable ones first."""
    found = sorted(prediction.positive, key=lambda label: -(prediction.probabilities or {})[label])
    return f"{name}  {', '.join(f'{label} {_cell(prediction, label).strip()}' for label in found) or '–'}"


def _legend(metadata: Metadata, predictions: Sequence[Prediction]) -> list[str]:
    lines = []
    if any(prediction.positive for prediction in predictions):
        lines.append("* positive: the probability reaches the threshold of its class")
    if any(prediction.undecided for prediction in predictions):
        lines += [
            "? undecided: the conformal set holds both presence and absence, or neither;",
            f"  it misses {metadata.alpha:.0%} of records like those of the validation fold",
        ]
    return lines


def benchmark_as_text(result: dict[str, Any]) -> str:
    """Return a row for each case, fastest first within a batch size, and the machine of the measurement."""
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
        f"{host['cpu']}, {result['threads']} of {host['cores']} cores per call, {result['rounds']} interleaved rounds"
    )
    return printable("\n".join([*lines, *(f"left out: {reason}" for reason in result["skipped"])]))


def _by_precision(kernels: Sequence[dict[str, Any]]) -> str:
    """Return the number of convolutions and products that ran in each precision, such as `27 int8 + 3 fp32`."""
    counts = by_precision(kernels)
    return " + ".join(f"{count} {precision}" for precision, count in sorted(counts.items(), key=lambda item: -item[1]))
