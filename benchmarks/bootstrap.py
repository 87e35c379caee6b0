"""Resamples of fold 10 (2,158 records, five classes): 1,000 all at once, and 50 in a loop over scikit-learn.

    python benchmarks/bootstrap.py --output benchmarks/results/bootstrap.json

Macro AUROC, average precision and F1 by patient; the probabilities are drawn. The intervals must be the same ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _common import interleave, report
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecg_lightning.evaluation import bootstrap

N_RECORDS, N_PATIENTS, N_RESAMPLES, N_IN_A_LOOP = 2158, 1900, 1000, 50
PREVALENCE = (0.23, 0.12, 0.25, 0.45, 0.24)


def at_once(scores, targets, weights):
    means = (bootstrap.macro(way(scores, targets, weights)) for way in (bootstrap.auroc, bootstrap.auprc))
    return np.stack([*means, bootstrap.f1_macro(scores >= 0.5, targets, weights)])


def in_a_loop(scores, targets, weights):
    resamples = []
    for row in weights:
        drawn = np.repeat(np.arange(len(targets)), row.astype(int))
        truth, guesses = targets[drawn], scores[drawn]
        ranked = (way(truth, guesses, average="macro") for way in (roc_auc_score, average_precision_score))
        resamples.append([*ranked, f1_score(truth, guesses >= 0.5, average="macro")])
    return np.array(resamples).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    targets = random.random((N_RECORDS, 5)) < PREVALENCE
    scores = 1 / (1 + np.exp(1 - 2 * targets - 1.3 * random.normal(size=targets.shape)))
    weights = bootstrap.patient_weights(random.integers(0, N_PATIENTS, N_RECORDS), N_RESAMPLES)
    few = weights[:N_IN_A_LOOP]
    error = float(np.abs(at_once(scores, targets, few) - in_a_loop(scores, targets, few)).max())
    ways = {
        "all at once": lambda: at_once(scores, targets, weights),
        "scikit-learn in a loop": lambda: in_a_loop(scores, targets, few),
    }
    seconds = interleave(ways, repeats=3)
    each = {
        "all at once": seconds["all at once"] / len(weights),
        "scikit-learn in a loop": seconds["scikit-learn in a loop"] / len(few),
    }
    slowest = each["scikit-learn in a loop"]
    rows = [
        {"way": way, "s_per_1000": 1000 * one, "ratio": slowest / one, "max_error": error} for way, one in each.items()
    ]
    report("bootstrap", rows, arguments.output)


if __name__ == "__main__":
    main()
