"""What the average of cross-validations gains over the first one, ranked within the records of each of its trainings.

    python benchmarks/held_out_averages.py CROSS_VALIDATION CROSS_VALIDATION…

`ecg-lightning compare --average` ranks the records of all trainings together, where an average also levels the scales
of different models. Here AUROC is of each training's own records, and the mean over the trainings; 95 % by patient.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ecg_lightning.data.folds import fold_groups, folder_name
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, averaged, in_order, read_predictions
from ecg_lightning.results.results import read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of cross-validations over the same folds")
    runs = parser.parse_args().runs
    first, average = [], []
    for place, folds in enumerate(fold_groups(read_config(runs[0])["cross_validation"])):
        own = [in_order(read_predictions(run / folder_name(folds) / PREDICTIONS_FILE)["val"]) for run in runs]
        weights_RN = bootstrap.patient_weights(own[0].patient_ids, 1000)
        # The first row is the sample itself; the resamples of different patients must not go in step.
        order = np.concatenate([[0], 1 + np.random.default_rng(place).permutation(len(weights_RN) - 1)])
        for found, one in ((first, own[0]), (average, averaged(own))):
            found.append(bootstrap.auroc_macro(one.probabilities(), one.targets_NC, weights_RN[order]))
    one_R, average_R = np.mean(first, axis=0), np.mean(average, axis=0)
    for name, scores_R in (("first", one_R), ("average", average_R), ("difference", average_R - one_R)):
        value, low, high = bootstrap.interval(scores_R)
        print(f"{name:10} {value:.4f} [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    main()
