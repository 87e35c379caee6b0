"""Learning from a teacher: the losses that suit multi-label targets."""

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
    """A trained classifier, as far as a student needs to know it.

    Attributes:
        loss: how its logits become probabilities.
        thresholds: (C,) of its decisions.
    """

    loss: Loss
    thresholds: Tensor

    def __call__(self, signals_BCT: Tensor) -> Tensor:
        """(B, 12, T) signals → (B, C) logits."""

    def to(self, device: torch.device) -> Teacher:
        """Bring it to the device."""

    def eval(self) -> Teacher:
        """Stop dropout."""

    def requires_grad_(self, requires_grad: bool) -> Teacher:
        """Freeze it."""


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
        teacher: a trained classifier, or what others said of the training records without having seen them.
        settings: α, T, h, and what the teacher sees; showing it each record once costs a step nothing.

    Attributes:
        is_prepared: whether `prepare` was called.
        prepared_in_s: seconds that it took, once, which are no part of the fit's.
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
        """Bring the teacher to the device and, where it sees the records as they are, let it see them.

        Args:
            dataset: the training split.
            device: the student's.
            link: the student's, from logits to probabilities.
            batch_size: records that the teacher sees at a time.
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
        """(B, 2, C) as `of_signals`, of records by place in the training split; None of a teacher that sees signals.

        Raises:
            RuntimeError: it knows records, and `prepare` did not show it any, or the batch does not say which it holds.
        """
        if self.teacher_sees == "augmented":
            return None
        if self._taught_N2C is None or places_B is None:
            raise RuntimeError("teacher_sees=record: call prepare() first, and give batches with the records' places")
        return self._taught_N2C[places_B.to(self._taught_N2C.device)]

    @torch.no_grad()
    def of_signals(self, millivolts_BCT: Tensor, link: str = "sigmoid") -> Tensor:
        """(B, 2, C): the teacher's softened probabilities and its decisions."""
        assert not isinstance(self.teacher, HeldOutTeacher)
        return self._targets(self.teacher(millivolts_BCT), link)

    def total_loss(
        self, labels_loss: Tensor, student_logits_BC: Tensor, taught_B2C: Tensor, link: str = "sigmoid"
    ) -> Tensor:
        """α · labels + (1 − α) · the teacher's part.

        Args:
            labels_loss: the loss with the labels.
            student_logits_BC: of the head that learns from the teacher.
            taught_B2C: what `of_records` or `of_signals` gave.
            link: the student's.
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
        """(B, C) logits of the teacher → (B, 2, C)."""
        logits_BC = logits_BC.float()
        if link == "softmax":
            soft_BC = (logits_BC / self.temperature).softmax(dim=1)
            hard_BC = F.one_hot(logits_BC.argmax(dim=1), logits_BC.shape[1])
        else:  # a softmax teacher's own probabilities, too
            soft_BC = self.teacher.loss.probabilities(logits_BC / self.temperature)
            hard_BC = self.teacher.loss.probabilities(logits_BC) >= self.teacher.thresholds
        return torch.stack([soft_BC.float(), hard_BC.float()], dim=1)
