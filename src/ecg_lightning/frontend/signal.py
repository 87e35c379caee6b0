"""The normalised signal itself, for one-dimensional networks."""

from __future__ import annotations

from torch import nn

from ecg_lightning.data.wfdb import DURATION_S, LEADS
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.frontend.schema import FrontendConfig


class SignalFrontend(Frontend):
    """A front end that returns the normalised signal, (B, leads, T).

    Args:
        settings: normalisation and augmentation.
        n_samples: the number of samples per lead.
        patch_size: not used, because there is no image.
        duration_s: the seconds of a record.
    """

    def __init__(
        self, settings: FrontendConfig, n_samples: int, patch_size: int = 1, duration_s: float = DURATION_S
    ) -> None:
        super().__init__(settings, nn.Identity(), InputSpec((len(LEADS), n_samples), duration_s))
