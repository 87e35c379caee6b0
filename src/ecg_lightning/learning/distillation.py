"""Distillation from a teacher, with losses that suit multi-label targets."""

from __future__ import annotations

import logging
import time
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ecg_lightning.data.datamodule import SignalDataset
from ecg_lightning.learning.held_out import HeldOutTeacher
from ecg_lightning.learning.losses import Loss
from ecg_lightning.learning.schema import TeachingConfig
from ecg_lightning.system.long_steps import long_step

log = logging.getLogger(__name__)


class Teacher(Protocol):
    """The parts of a trained classifier that a student uses.

    Attributes:
        loss: loss that turns its logits into probabilities.
        thresholds: (C,) decision thresholds.
    """

    loss: Loss
    thresholds: Tensor

    def __call__(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, 12, T) signals."""

    def to(self, device: torch.device) -> Teacher:
        """Move the teacher to the device."""

    def eval(self) -> Teacher:
        """Switch to evaluation mode, without dropout."""

    def requires_grad_(self, requires_grad: bool) -> Teacher:
        """Freeze the teacher's weights."""


class Distillation:
    """A frozen teacher and its part of the loss.

    total = α · labels + (1 − α) · ((1 − h) · soft + h · hard).

    The soft loss is the binary cross-entropy with the teacher's probabilities, one superclass at a time, times T²
    (Hinton et al. 2015, arXiv 1503.02531). The hard loss is the binary cross-entropy with the teacher's decisions at
    its thresholds. It is DeiT's hard distillation (Touvron et al. 2021, arXiv 2012.12877) for several labels. DeiT's
    soft loss (Kullback–Leibler of softmaxes) would make the classes compete, which multi-label targets do not. The
    classes of a student with a softmax compete anyway. Such a student learns from two cross-entropies: with the softmax
    of the teacher's logits, and with the teacher's most probable class.

    The class is not a module, so the teacher is not in the student, its optimizer or its checkpoint.

    Args:
        teacher: a trained classifier, or held-out predictions of the training records.
        settings: α, T, h, and the teacher's input. A teacher that sees each record once adds no time to a step.

    Attributes:
        is_prepared: whether `prepare` was called.
        prepared_in_s: seconds that `prepare` took, which are not part of the fit's time.
    """

    def __init__(
        self,
        teacher: Teacher | HeldOutTeacher,
        settings: TeachingConfig,
    ) -> None:
        self.teacher = teacher if isinstance(teacher, HeldOutTeacher) else teacher.eval().requires_grad_(False)
        self.alpha = settings.alpha
        self.temperature = settings.temperature
        self.hard_share = settings.hard_share
        self.teacher_sees = settings.teacher_sees
        self.is_prepared = False
        self.prepared_in_s = 0.0
        self._taught_N2C: Tensor | None = None

    def prepare(
        self, dataset: SignalDataset, device: torch.device, link: str = "sigmoid", batch_size: int = 64
    ) -> None:
        """Move the teacher to the device. If it sees each record once, compute its targets now.

        Args:
            dataset: the training split.
            device: the student's device.
            link: the student's function from logits to probabilities.
            batch_size: number of records that the teacher sees at a time.
        """
        begun = time.perf_counter()
        self.teacher.to(device)
        if isinstance(self.teacher, HeldOutTeacher):
            self._taught_N2C = self._targets(self.teacher.logits_of(dataset).to(device), link)
        elif self.teacher_sees == "record":
            batches = [
                range(first, min(first + batch_size, len(dataset))) for first in range(0, len(dataset), batch_size)
            ]
            doing = f"computing the teacher's logits for the {len(dataset):,} training records"
            with long_step(log, doing), torch.no_grad():
                seen = [self.teacher(dataset.__getitems__(batch).signals.to(device)) for batch in batches]
            self._taught_N2C = self._targets(torch.cat(seen), link)
        self.is_prepared, self.prepared_in_s = True, time.perf_counter() - begun

    def of_records(self, places_B: Tensor | None) -> Tensor | None:
        """Return the (B, 2, C) targets of records; None if the teacher sees the augmented signals.

        Args:
            places_B: (B,) places of the records in the training split.

        Raises:
            RuntimeError: `prepare` was not called, or the batch has no places.
        """
        if self.teacher_sees == "augmented":
            return None
        if self._taught_N2C is None or places_B is None:
            raise RuntimeError("teacher_sees=record: call prepare() first, and give batches with the records' places")
        return self._taught_N2C[places_B.to(self._taught_N2C.device)]

    @torch.no_grad()
    def of_signals(self, millivolts_BCT: Tensor, link: str = "sigmoid") -> Tensor:
        """Return the teacher's softened probabilities and its decisions, (B, 2, C)."""
        assert not isinstance(self.teacher, HeldOutTeacher)
        return self._targets(self.teacher(millivolts_BCT), link)

    def total_loss(
        self, labels_loss: Tensor, student_logits_BC: Tensor, taught_B2C: Tensor, link: str = "sigmoid"
    ) -> Tensor:
        """Return α · labels + (1 − α) · the teacher's part.

        Args:
            labels_loss: the loss with the labels.
            student_logits_BC: logits of the head that learns from the teacher.
            taught_B2C: targets from `of_records` or `of_signals`.
            link: the student's function from logits to probabilities.
        """
        loss_of = F.cross_entropy if link == "softmax" else F.binary_cross_entropy_with_logits
        student_logits_BC = student_logits_BC.float()
        loss = self.alpha * labels_loss
        if self.hard_share < 1:
            soft = loss_of(student_logits_BC / self.temperature, taught_B2C[:, 0])
            loss = loss + (1 - self.alpha) * (1 - self.hard_share) * soft * self.temperature**2
        if self.hard_share > 0:
            loss = loss + (1 - self.alpha) * self.hard_share * loss_of(student_logits_BC, taught_B2C[:, 1])
        return loss

    def _targets(self, logits_BC: Tensor, link: str) -> Tensor:
        """Return the (B, 2, C) targets from the teacher's (B, C) logits."""
        logits_BC = logits_BC.float()
        if link == "softmax":
            soft_BC = (logits_BC / self.temperature).softmax(dim=1)
            hard_BC = F.one_hot(logits_BC.argmax(dim=1), logits_BC.shape[1])
        else:  # a softmax teacher gives its own probabilities here
            soft_BC = self.teacher.loss.probabilities(logits_BC / self.temperature)
            hard_BC = self.teacher.loss.probabilities(logits_BC) >= self.teacher.thresholds
        return torch.stack([soft_BC.float(), hard_BC.float()], dim=1)
