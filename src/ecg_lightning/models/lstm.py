"""lstm and lstm_bidir: the recurrent networks of the PTB-XL benchmark."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from ecg_lightning.frontend.frontend import SignalFrontend
from ecg_lightning.models.signal_classifier import SignalClassifier, SignalRecipe, classifier_layers, initialize


class LSTM(SignalClassifier):
    """Stacked LSTM (Hochreiter & Schmidhuber 1997) over the samples, as Strodthoff et al. 2021 trained it.

    Args:
        frontend: the signal front end.
        hidden: width of each direction.
        depth: layers.
        bidirectional: whether a second one reads backwards.
        dropout: before the last layer of the head; half as much before its first.
        drop_path: not used: it has no shortcut.
        ends: what stands for the record besides mean and maximum: `each` direction where it ends, or both at the `last`
            sample, as the benchmark's code takes them.
        **recipe: see `SignalClassifier`.
    """

    def __init__(
        self,
        frontend: SignalFrontend,
        *,
        hidden: int = 256,
        depth: int = 2,
        bidirectional: bool = False,
        dropout: float = 0.5,
        drop_path: float = 0.0,
        ends: str = "each",
        **recipe: Unpack[SignalRecipe],
    ) -> None:
        network = LSTMNetwork(frontend.n_leads, len(recipe["classes"]), hidden, depth, bidirectional, dropout, ends)
        super().__init__(frontend, network, **recipe)


class LSTMNetwork(nn.Module):
    """(B, leads, T) → (B, C) logits, for any T; arguments as for `LSTM`."""

    def __init__(
        self, n_leads: int, n_classes: int, hidden: int, depth: int, bidirectional: bool, dropout: float, ends: str
    ) -> None:
        super().__init__()
        self.ends = ends
        self.lstm = nn.LSTM(n_leads, hidden, depth, batch_first=True, bidirectional=bidirectional)
        self.head = classifier_layers(3 * hidden * (2 if bidirectional else 1), n_classes, 128, dropout)
        initialize(self.head)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """(B, leads, T) → (B, C), from mean, maximum and the ends."""
        states_BTH, (last_LBH, _) = self.lstm(signals_BCT.transpose(1, 2))
        directions = 2 if self.lstm.bidirectional else 1
        ends_BH = last_LBH[-directions:].transpose(0, 1).flatten(1) if self.ends == "each" else states_BTH[:, -1]
        logits: Tensor = self.head(torch.cat([states_BTH.mean(dim=1), states_BTH.amax(dim=1), ends_BH], dim=1))
        return logits
