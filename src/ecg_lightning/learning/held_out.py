"""A teacher that never saw the records which it teaches: what the models of cross-validations said of them."""

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
    """Predictions of held-out records, in place of a model's.

    A model repeats the labels that it learnt by heart, their errors included; one that was trained without a record
    does not (cross-fitting: Dao et al. 2021, arXiv 2104.09732). Of several cross-validations the probabilities are
    averaged.

    Args:
        cross_validations: of the same classes, each of independent ones, and the same records.
        description: as a checkpoint's, of the folds that their models were trained on.

    Attributes:
        loss: how its logits become probabilities.
        thresholds: (C,) float64, of its decisions, chosen on the held-out records.
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
        """Bring its thresholds to the device."""
        self.thresholds = self.thresholds.to(device)

    def logits_of(self, dataset: SignalDataset) -> Tensor:
        """(N, C), of all records of a split.

        Raises:
            ConfigError: some were not held out, or they are of other patients.
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
