"""Do conformal sets keep their promise on ECGs? Calibrated on one half of the patients, measured on the other.

    python benchmarks/conformal.py RUN RUN…

Each RUN is the folder of a run of train.py; its validation and test records are pooled, which no training has seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _pooled import halves, pooled

from ecg_lightning.evaluation.uncertainty import conformal_sets, coverage

N_HALVES = 200
ALPHAS = (0.05, 0.1, 0.2)


def measure(guesses, targets, patients, alpha):
    """(C, 3): share of positive and of negative records covered, and of undecided ones, means over the halves."""
    found = []
    for known in halves(patients, N_HALVES, np.random.default_rng(0)):
        sets = conformal_sets(guesses[known], targets[known], guesses[~known], alpha)
        found.append([one[:3] for one in coverage(sets, targets[~known])])
    return np.nanmean(found, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args().runs:
        classes, guesses, targets, patients = pooled(run)
        print(f"{run}: {len(guesses):,} records; covered of the positive / of the negative ones, undecided")
        for alpha in ALPHAS:
            rows = zip(classes, measure(guesses, targets, patients, alpha), strict=True)
            shares = "  ".join(f"{name} {one[0]:.3f} / {one[1]:.3f}, {one[2]:.3f}" for name, one in rows)
            print(f"  promised {1 - alpha:.0%}: {shares}")


if __name__ == "__main__":
    main()
