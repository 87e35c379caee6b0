"""A run's `result.json` and `predictions.csv`, as `evaluate` and `compare` read them, against csv and scikit-learn."""

from __future__ import annotations

import csv
import io
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import roc_auc_score

from ecg_lightning.commands.evaluations import compare_runs, evaluate_run
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, Predictions, write_predictions
from ecg_lightning.reports.evaluation_tables import comparison_sections, evaluation_sections
from ecg_lightning.reports.terminal import print_sections
from ecg_lightning.results.results import RESULT_FILE, RunResult, read_result
from ecg_lightning.results.schema import upgraded
from ecg_lightning.text import printable
from fuzz.lanes import Target, WrongAnswerError
from fuzz.mutation import damaged_bytes, damaged_text, damaged_tree

_CLASSES = ("CD", "HYP", "MI", "NORM", "STTC")
_RESAMPLES = 20


def targets(folder: Path) -> list[Target]:
    """Return the targets, with their good files in `folder`."""
    reference, run = (_write_run(folder / name, seed) for seed, name in enumerate(("reference", "run")))
    result, predictions = (run / RESULT_FILE).read_text(), (run / PREDICTIONS_FILE).read_text()
    trees = damaged_tree(json.loads(result)).map(lambda tree: json.dumps(tree).encode())
    results = st.one_of(trees, trees, damaged_bytes(result.encode()))
    tables = st.one_of(damaged_text(predictions, ","), damaged_bytes(predictions.encode(), 3))
    return [
        Target("result.json", results, partial(_check_result, reference, run, predictions)),
        Target("predictions.csv", tables, partial(_check_predictions, reference, run, result)),
    ]


def _write_run(folder: Path, seed: int) -> Path:
    """Write what `train.py` leaves of a run, as far as it is read again."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    splits = {split: _predictions(random, first) for split, first in (("val", 1), ("test", 101))}
    counts = {f"n_{split}": len(one.ecg_ids) for split, one in splits.items()}
    positives = {name: int(splits["test"].targets_NC[:, column].sum()) for column, name in enumerate(_CLASSES)}
    RunResult(
        status="ok",
        choices={"data": "synthetic", "model": "resnet1d_wang"},
        overrides=[f"seed={seed}"],
        seed=seed,
        config_hash="0" * 64,
        versions={"torch": "2.14.1"},
        host={"precision": "32-true"},
        data={"task": "superdiagnostic", "label_rule": "benchmark", "version": "synthetic", **counts},
        metrics={split: {"f1_macro": 0.5, "auroc_macro": 0.5} for split in splits},
        evaluation={split: {"positives": positives} for split in splits},
        chosen={"link": "sigmoid", "thresholds": {"raw": dict.fromkeys(_CLASSES, 0.5)}},
        score=0.5,
        timing={"fit_s": 1.0, "epochs": 1},
        artifacts={"predictions": PREDICTIONS_FILE},
    ).write(folder)
    write_predictions(folder / PREDICTIONS_FILE, splits)
    return folder


def _predictions(random: np.random.Generator, first: int, n_records: int = 24) -> Predictions:
    labels = np.random.default_rng(first)  # the same in both runs, which are compared
    targets_NC = labels.random((n_records, len(_CLASSES))) < 0.5
    logits_NC = random.normal(size=targets_NC.shape) + targets_NC
    ids = np.arange(first, first + n_records)
    return Predictions(_CLASSES, "sigmoid", ids, ids + 1000, targets_NC, logits_NC)


def _check_result(reference: Path, run: Path, predictions: str, content: bytes) -> None:
    (run / RESULT_FILE).write_bytes(content)
    (run / PREDICTIONS_FILE).write_text(predictions)
    found, said = read_result(run), _escaped(upgraded(json.loads(content)))
    for name, value in said.items():
        if json.dumps(found[name]) != json.dumps(value):
            raise WrongAnswerError(f"result.json: {name} is {found[name]!r:.60}, it says {value!r:.60}")
    _check_scores(reference, run, predictions.encode())


def _escaped(tree: Any) -> Any:
    """Plain values with control characters as they are printed."""
    if isinstance(tree, dict):
        return {printable(name): _escaped(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_escaped(value) for value in tree]
    return printable(tree) if isinstance(tree, str) else tree


def _check_predictions(reference: Path, run: Path, result: str, content: bytes) -> None:
    (run / RESULT_FILE).write_text(result)
    (run / PREDICTIONS_FILE).write_bytes(content)
    _check_scores(reference, run, content)


def _check_scores(reference: Path, run: Path, content: bytes) -> None:
    """Evaluate a run and compare it with the reference, whose records it must share."""
    found = evaluate_run(run, "test", None, _RESAMPLES)
    expected, n_records = _auroc(content)
    auroc = found["scores"]["macro"]["auroc"][0]
    if found["n_records"] != n_records or not math.isclose(auroc, expected, abs_tol=1e-6):
        raise WrongAnswerError(f"AUROC {auroc} of {found['n_records']} records, expected {expected} of {n_records}")
    rows: list[dict[str, Any]] = compare_runs([reference, run], "test", _RESAMPLES)
    if not math.isclose(rows[-1]["auroc"][0], expected, abs_tol=1e-6):
        raise WrongAnswerError(f"compare gives AUROC {rows[-1]['auroc']['value']}, expected {expected}")
    console = Console(file=io.StringIO())
    print_sections(evaluation_sections(found), console)
    print_sections(comparison_sections(rows, "test"), console)


def _auroc(content: bytes) -> tuple[float, int]:
    """Macro AUROC and number of records of the split test, by csv and scikit-learn."""
    lines = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if row]
    rows = [dict(zip(lines[0], row, strict=False)) for row in lines[1:]]
    scored = [row for row in rows if row["split"] == "test"]
    logits = [name for name in rows[0] if name.startswith("logit/")]
    areas = []
    for name in logits:
        targets = [float(row[f"target/{name.rpartition('/')[2]}"]) for row in scored]
        if len(set(targets)) == 2:
            areas.append(roc_auc_score(targets, [float(row[name]) for row in scored]))
    return float(np.mean(areas)), len(scored)
