"""Learning from a teacher: the losses that suit multi-label targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ecg_lightning.data.datamodule import SignalDataset

if TYPE_CHECKING:
    from ecg_lightning.models.classifier import ECGClassifier

TEACHER_SEES = ("augmented", "record")


class Distillation:
    """A teacher, never trained further, and how much of the loss is its.

    total = α · labels + (1 − α) · ((1 − h) · soft + h · hard). The soft loss is the binary cross-entropy with the
    teacher's probabilities, each superclass on its own, times T² (Hinton et al. 2015, arXiv 1503.02531); the hard one
    that with its decisions at its thresholds (what DeiT calls hard distillation, Touvron et al. 2021, arXiv 2012.12877,
    for several labels). DeiT's own soft loss (Kullback–Leibler of softmaxes) would make the classes compete, which
    multi-label targets do not; a student with a softmax, whose classes compete anyway, learns from cross-entropies with
    the softmax of the teacher's logits and with its first class. No module: the teacher is no part of the student, its
    optimizer or its checkpoint.

    Args:
        teacher: a trained classifier.
        alpha: weight of the labels; the rest is the teacher's.
        temperature: divides the teacher's logits and the student's in the soft loss; above 1 softens.
        hard_share: h, from 0 (soft) to 1 (hard).
        teacher_sees: `augmented`: what the student sees, in every step; `record`: the records as they are, once before
            the training, which costs a step nothing.
    """

    def __init__(
        self,
        teacher: ECGClassifier,
        alpha: float = 0.5,
        temperature: float = 1.0,
        hard_share: float = 0.0,
        teacher_sees: str = "augmented",
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.alpha = alpha
        self.temperature = temperature
        self.hard_share = hard_share
        self.teacher_sees = teacher_sees
        self._logits_NC: Tensor | None = None

    def prepare(self, dataset: SignalDataset, device: torch.device, batch_size: int = 64) -> None:
        """Bring the teacher to the device and, where it sees the records as they are, let it see them."""
        self.teacher.to(device)
        if self.teacher_sees == "record":
            batches = [
                range(first, min(first + batch_size, len(dataset))) for first in range(0, len(dataset), batch_size)
            ]
            with torch.no_grad():
                seen = [self.teacher(dataset.__getitems__(batch).signals.to(device)) for batch in batches]
            self._logits_NC = torch.cat(seen)

    def total_loss(
        self,
        labels_loss: Tensor,
        student_logits_BC: Tensor,
        millivolts_BCT: Tensor,
        places_B: Tensor | None = None,
        link: str = "sigmoid",
    ) -> Tensor:
        """α · labels + (1 − α) · the teacher's part.

        Args:
            labels_loss: the loss with the labels.
            student_logits_BC: of the head that learns from the teacher.
            millivolts_BCT: what the student saw, augmented.
            places_B: where the records stand in the training split.
            link: the student's, from logits to probabilities.
        """
        teacher_logits_BC = self._teacher_logits(millivolts_BCT, places_B)
        student_logits_BC = student_logits_BC.float()
        loss = self.alpha * labels_loss
        if self.hard_share < 1:
            soft = self._soft(student_logits_BC / self.temperature, teacher_logits_BC / self.temperature, link)
            loss = loss + (1 - self.alpha) * (1 - self.hard_share) * soft * self.temperature**2
        if self.hard_share > 0:
            hard = self._hard(student_logits_BC, teacher_logits_BC, link)
            loss = loss + (1 - self.alpha) * self.hard_share * hard
        return loss

    def _soft(self, student_logits_BC: Tensor, teacher_logits_BC: Tensor, link: str) -> Tensor:
        if link == "softmax":
            return F.cross_entropy(student_logits_BC, teacher_logits_BC.float().softmax(dim=1))
        # A softmax teacher's own probabilities, too.
        taught_BC = self.teacher.loss.probabilities(teacher_logits_BC).float()
        return F.binary_cross_entropy_with_logits(student_logits_BC, taught_BC)

    def _hard(self, student_logits_BC: Tensor, teacher_logits_BC: Tensor, link: str) -> Tensor:
        if link == "softmax":
            return F.cross_entropy(student_logits_BC, teacher_logits_BC.argmax(dim=1))
        decisions_BC = (self.teacher.loss.probabilities(teacher_logits_BC) >= self.teacher.thresholds).float()
        return F.binary_cross_entropy_with_logits(student_logits_BC, decisions_BC)

    def _teacher_logits(self, millivolts_BCT: Tensor, places_B: Tensor | None) -> Tensor:
        if self._logits_NC is not None and places_B is not None:
            return self._logits_NC[places_B.to(self._logits_NC.device)]
        with torch.no_grad():
            logits_BC: Tensor = self.teacher(millivolts_BCT)
        return logits_BC
