"""Front ends: normalisation, augmentation and representation, batched on the device."""

from ecg_lightning.frontend.augmentation import Augmentation
from ecg_lightning.frontend.frontend import Frontend, ImageFrontend, MatrixFrontend, SignalFrontend, StripsFrontend

__all__ = ["Augmentation", "Frontend", "ImageFrontend", "MatrixFrontend", "SignalFrontend", "StripsFrontend"]
