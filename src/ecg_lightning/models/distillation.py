"""Learning from a teacher: the soft loss that suits multi-label targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from ecg_lightning.models.classifier import ECGClassifier


class Distillation:
    """A teacher, never trained further, and how much of the loss is its.

    total = α · hard + (1 − α) · soft. The soft loss is the binary cross-entropy with the teacher's probabilities, each
    superclass on its own, times T² (Hinton et al. 2015, arXiv 1503.02531). DeiT's own soft loss (Kullback–Leibler of
    softmaxes) would make the classes compete, which multi-label targets do not. No module: the teacher is no part of
    the student, its optimizer or its checkpoint.

    Args:
        teacher: a trained classifier.
        alpha: weight of the labels; the rest is the teacher's.
        temperature: divides the teacher's logits and the student's; above 1 softens.
    """

    def __init__(self, teacher: ECGClassifier, alpha: float = 0.5, temperature: float = 1.0) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.alpha = alpha
        self.temperature = temperature

    def total_loss(self, hard: Tensor, student_logits_BC: Tensor, millivolts_BCT: Tensor) -> Tensor:
        """α · hard + (1 − α) · soft.

        Args:
            hard: the loss with the labels.
            student_logits_BC: of the head that learns from the teacher.
            millivolts_BCT: what the student saw, augmented; the teacher sees it through its own front end.
        """
        with torch.no_grad():
            teacher_logits = self.teacher(millivolts_BCT)
        # A softmax teacher's own probabilities, too.
        softened = self.teacher.loss.probabilities(teacher_logits / self.temperature).float()
        soft = F.binary_cross_entropy_with_logits(student_logits_BC.float() / self.temperature, softened)
        return self.alpha * hard + (1 - self.alpha) * soft * self.temperature**2
