"""Folds for a table that names none. Patients stay together, and every fold gets its share of each class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def stratified_folds(
    patients_N: npt.NDArray[np.int64], targets_NC: npt.NDArray[np.uint8], n_folds: int
) -> npt.NDArray[np.int64]:
    """Return the (N,) folds from 1 to `n_folds`.

    This is iterative stratification (Sechidis et al. 2011, doi 10.1007/978-3-642-23808-6_10) with patients in place of
    records. The rarest class is distributed first, and each patient goes to the fold that lacks most of it. The result
    depends only on the arguments. scikit-learn's StratifiedGroupKFold supports only one label per record, and a record
    here may have several.

    Args:
        patients_N: each record's patient number, from 0.
        targets_NC: (N, C) labels.
        n_folds: the number of folds.
    """
    n_patients = int(patients_N.max()) + 1
    counts_PC = np.zeros((n_patients, targets_NC.shape[1] + 1))  # the last column counts records
    np.add.at(counts_PC, patients_N, np.concatenate([targets_NC, np.ones((len(targets_NC), 1))], axis=1))
    order = np.random.default_rng(0).permutation(n_patients)
    lacking_FC = np.repeat(counts_PC.sum(axis=0, keepdims=True) / n_folds, n_folds, axis=0)
    folds_P = np.zeros(n_patients, dtype=np.int64)
    left_P = np.ones(n_patients, dtype=bool)
    while left_P.any():
        of_class = counts_PC[left_P].sum(axis=0)
        of_class[-1] = np.inf if of_class[:-1].any() else 1.0  # patients without any class come last
        rarest = int(np.where(of_class > 0, of_class, np.inf).argmin())
        for patient in order[left_P[order] & (counts_PC[order, rarest] > 0)]:
            # The fold that lacks most of this class; among equal folds, the one that lacks most records.
            fold = np.lexsort((lacking_FC[:, -1], lacking_FC[:, rarest]))[-1]
            lacking_FC[fold] -= counts_PC[patient]
            folds_P[patient], left_P[patient] = fold + 1, False
    return folds_P[patients_N]
