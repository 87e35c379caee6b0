"""Front ends: normalisation, augmentation and representation, batched on the device."""

from ecg_lightning.frontend.augmentation import Augmentation
from ecg_lightning.frontend.frontend import Frontend, MatrixFrontend, SignalFrontend

__all__ = ["Augmentation", "Frontend", "MatrixFrontend", "SignalFrontend"]
