"""Ways to choose thresholds: chosen on one half of the patients, used on the other.

On the predictions of trained models.

    python benchmarks/thresholds.py RUN RUN…

Each RUN is the folder of a run of train.py; its validation and test records are pooled, which no training has seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _pooled import halves, unseen

from ecg_lightning.evaluation.calibration import fit_temperature, logit, probabilities
from ecg_lightning.evaluation.thresholds import f1_thresholds

N_HALVES, N_BOOTSTRAPS = 150, 50


def searched(guesses, targets):
    """The threshold of each class with the best F1."""
    order = np.argsort(-guesses, axis=0, kind="stable")
    hits = np.cumsum(np.take_along_axis(targets, order, axis=0), axis=0)
    f1 = 2 * hits / (np.arange(1, len(targets) + 1)[:, None] + targets.sum(axis=0))
    return np.take_along_axis(np.take_along_axis(guesses, order, axis=0), f1.argmax(axis=0)[None], axis=0)[0]


def bagged(guesses, targets, random):
    """The mean of what is found in bootstraps."""
    draws = (random.integers(0, len(guesses), len(guesses)) for _ in range(N_BOOTSTRAPS))
    return np.mean([searched(guesses[rows], targets[rows]) for rows in draws], axis=0)


def after_one_temperature(guesses, targets):
    """Half of the expected F1, with one temperature for all classes in place of Platt's line for each."""
    temperature = fit_temperature(logit(guesses), targets)
    frequencies = -np.sort(-probabilities(logit(guesses), temperature), axis=0)
    f1 = 2 * np.cumsum(frequencies, axis=0) / (np.arange(1, len(targets) + 1)[:, None] + frequencies.sum(axis=0))
    return probabilities(logit(f1.max(axis=0) / 2) * temperature)


def macro_f1(guesses, targets, thresholds):
    decided = guesses >= thresholds
    return np.mean(2 * (decided * targets).sum(axis=0) / np.maximum(decided.sum(axis=0) + targets.sum(axis=0), 1))


def compare(records):
    """Macro F1 of each way, on the half that it was not chosen on, and on the one that it was."""
    guesses, targets = records.probabilities(), records.targets_NC.astype(float)
    random = np.random.default_rng(0)
    ways = {
        "0.5": lambda guesses, targets: 0.5,
        "searched": searched,
        "searched, mean of bootstraps": lambda guesses, targets: bagged(guesses, targets, random),
        "half of the expected F1, Platt": f1_thresholds,
        "half of the expected F1, one temperature": after_one_temperature,
    }
    found = {name: [] for name in (*ways, "searched on the other half itself")}
    for chosen in halves(records.patient_ids, N_HALVES, random):
        for name, choose in ways.items():
            thresholds = choose(guesses[chosen], targets[chosen])
            found[name].append([macro_f1(guesses[part], targets[part], thresholds) for part in (~chosen, chosen)])
        best = macro_f1(guesses[~chosen], targets[~chosen], searched(guesses[~chosen], targets[~chosen]))
        found["searched on the other half itself"].append([best, best])
    return {name: np.mean(scores, axis=0) for name, scores in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args().runs:
        records = unseen(run)
        print(f"{run}: {len(records.ecg_ids):,} records; macro F1 on the other half (on the half chosen on)")
        for name, (other, own) in compare(records).items():
            print(f"  {name:42} {other:.3f} ({own:.3f})")


if __name__ == "__main__":
    main()
