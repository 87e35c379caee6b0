"""Do conformal sets keep their promise on ECGs? Calibrated on one half of the patients, measured on the other.

    python benchmarks/conformal.py RUN RUN…

Each RUN is the folder of a run of train.py; its validation and test records are pooled, which no training has seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _pooled import halves, unseen

from ecg_lightning.evaluation.conformal import conformal_bounds
from ecg_lightning.evaluation.uncertainty import coverage

N_HALVES = 200
ALPHAS = (0.05, 0.1, 0.2)


def measure(records, alpha):
    """(C, 3): share of positive and of negative records covered, and of undecided ones, means over the halves."""
    guesses, targets = records.probabilities(), records.targets_NC
    found = []
    for known in halves(records.patient_ids, N_HALVES, np.random.default_rng(0)):
        sets = conformal_bounds(guesses[known], targets[known], alpha).sets(guesses[~known])
        weights = np.ones((1, len(guesses) - known.sum()))
        measured = coverage(sets, targets[~known], records.patient_ids[~known], weights)
        found.append([[share.value for share in one[:3]] for one in measured])
    return np.nanmean(found, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args().runs:
        records = unseen(run)
        print(f"{run}: {len(records.ecg_ids):,} records; covered of the positive / of the negative ones, undecided")
        for alpha in ALPHAS:
            rows = zip(records.classes, measure(records, alpha), strict=True)
            shares = "  ".join(f"{name} {one[0]:.3f} / {one[1]:.3f}, {one[2]:.3f}" for name, one in rows)
            print(f"  promised {1 - alpha:.0%}: {shares}")


if __name__ == "__main__":
    main()
