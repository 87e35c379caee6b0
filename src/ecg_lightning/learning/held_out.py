"""A teacher that never saw the records that it teaches: held-out predictions of cross-validations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_lightning.data.datamodule import SignalDataset
from ecg_lightning.errors import ConfigError, DataError
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions, averaged
from ecg_lightning.learning.losses import BinaryCrossEntropy


class HeldOutTeacher:
    """Predictions of held-out records, in place of a model.

    A model repeats the labels that it learnt by heart, with their errors. A model that was trained without a record
    does not (cross-fitting: Dao et al. 2021, arXiv 2104.09732). The probabilities of several cross-validations are
    averaged.

    Args:
        cross_validations: predictions of independent cross-validations, with the same classes and records.
        description: description as in a checkpoint, with the folds that the models were trained on.

    Attributes:
        loss: loss that turns the logits into probabilities.
        thresholds: (C,) float64 decision thresholds, chosen on the held-out records.
    """

    def __init__(self, cross_validations: Sequence[Predictions], description: Mapping[str, Any]) -> None:
        self.description = description
        try:
            self._first = averaged(cross_validations)
        except DataError as error:
            raise ConfigError(f"model.teacher: the cross-validations cannot be combined: {error}") from None
        self._rows = {int(ecg_id): row for row, ecg_id in enumerate(self._first.ecg_ids)}
        self.loss = BinaryCrossEntropy()
        self._logits_NC = torch.from_numpy(self._first.logits_NC).float()
        self.thresholds = torch.from_numpy(Choices.fit(self._first).raw_thresholds)

    def to(self, device: torch.device) -> None:
        """Move the thresholds to the device."""
        self.thresholds = self.thresholds.to(device)

    def logits_of(self, dataset: SignalDataset) -> Tensor:
        """Return the (N, C) logits of all records of a split.

        Raises:
            ConfigError: some records were not held out, or the records are of other patients.
        """
        rows = [self._rows.get(int(ecg_id), -1) for ecg_id in dataset.ecg_ids]
        if unknown := rows.count(-1):
            raise ConfigError(
                f"model.teacher: {unknown} of the {len(rows)} training records are not among the "
                f"{len(self._rows)} records of the cross-validation. Run it on the same data, with each fold of "
                "data.train_folds in cross_validation"
            )
        if not np.array_equal(self._first.patient_ids[rows], dataset.patient_ids):
            raise ConfigError(
                "model.teacher: the cross-validation used other data: its records have the same ecg_id but other "
                "patients. Run it on this data"
            )
        return self._logits_NC[torch.tensor(rows)]
