"""The comparison of a file with PyTorch, on validation records."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.evaluation import bootstrap
from ecg_lightning.evaluation.calibration import probabilities
from ecg_lightning.models.classifier import ECGClassifier

Array = npt.NDArray[Any]

N_RECORDS = 128
# Limits for each class's probabilities, PyTorch against the runtime: the mean difference, the largest difference, and
# the correlation. A file that mixes up classes or records, or gives a constant, cannot reach the correlation. Int8
# kernels round sums that PyTorch's simulation does not, so a single record may lie anywhere. The variant's F1 shows
# what this costs, because it is computed from the runtime's output.
TOLERANCE = {"fp32": (1e-3, 0.01, 0.999), "bf16": (0.03, 0.5, 0.98), "int8": (0.08, 1.0, 0.9)}
# Below this standard deviation, the correlation of a class's probabilities means nothing. The second number is enough
# if they vary by less than the allowed mean difference, as those of a rare class do.
_CONSTANT = 0.005
_OF_RARE_CLASSES = 0.5


def reference_signals(datamodule: ECGDataModule) -> torch.Tensor:
    """Return the (N, 12, T) int16 signals of the first validation records."""
    dataset = datamodule.datasets["val"]
    return dataset.__getitems__(range(min(N_RECORDS, len(dataset)))).signals


def reference_probabilities(classifier: ECGClassifier, datamodule: ECGDataModule, link: str) -> Array:
    """Return the (N, C) probabilities that PyTorch computes for these records."""
    with torch.inference_mode():
        batches = [
            classifier.eval()(batch.to(classifier.device)).float().cpu()
            for batch in torch.split(reference_signals(datamodule), 32)
        ]
    return probabilities(torch.cat(batches).numpy(), link=link)


def differences(reference_NC: Array, found_NC: Array, datamodule: ECGDataModule) -> dict[str, float]:
    """Return the largest and mean difference of the probabilities, and the difference of macro F1 at 0.5."""
    difference = np.abs(found_NC - reference_NC)
    targets = datamodule.datasets["val"].targets[: len(reference_NC)].numpy().astype(bool)
    whole = np.ones((1, len(reference_NC)))
    f1 = [float(bootstrap.f1_macro(guesses >= 0.5, targets, whole)[0]) for guesses in (found_NC, reference_NC)]
    return {"max": float(difference.max()), "mean": float(difference.mean()), "f1_macro": f1[0] - f1[1]}


def agree(reference_NC: Array, found_NC: Array, precision: str) -> bool:
    """Return whether the probabilities of every class differ by no more than the rounding of this precision."""
    in_mean, most, correlation = TOLERANCE[precision]
    for one_N, other_N in zip(reference_NC.T, found_NC.T, strict=True):
        difference_N = np.abs(one_N - other_N)
        if not (difference_N.mean() <= in_mean and difference_N.max() <= most):  # also if one is NaN
            return False
        enough = correlation if one_N.std() > in_mean else min(correlation, _OF_RARE_CLASSES)
        if one_N.std() > _CONSTANT and not (other_N.std() > 0 and np.corrcoef(one_N, other_N)[0, 1] >= enough):
            return False
    return True


def disagreement(said: dict[str, float], n_records: int, precision: str) -> str:
    """Return the reason to refuse a file, in words."""
    in_mean, most, correlation = TOLERANCE[precision]
    return (
        f"does not reproduce the trained model: on {n_records} validation records, its probabilities differ from "
        f"PyTorch's by up to {said['max']:.2g}, and its macro F1 by {said['f1_macro']:+.3f} (limits for each "
        f"class: mean difference {in_mean}, largest difference {most}, correlation {correlation})"
    )
