"""The recurrent networks `lstm` and `lstm_bidir` of the PTB-XL benchmark."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.schema import LSTMConfig
from ecg_lightning.models.signal_classifier import SignalClassifier, classifier_layers, initialize


class LSTM(SignalClassifier):
    """Stacked LSTM (Hochreiter & Schmidhuber 1997) over the samples, trained as in Strodthoff et al. 2021."""

    @staticmethod
    def make_network(settings: LSTMConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network for any number of samples."""
        n_leads, _ = input.signal
        return LSTMNetwork(settings, n_leads, n_classes)


class LSTMNetwork(nn.Module):
    """A network from (B, leads, T) signals to (B, C) logits, for any T."""

    def __init__(self, settings: LSTMConfig, n_leads: int, n_classes: int) -> None:
        super().__init__()
        hidden, bidirectional = settings.hidden, settings.bidirectional
        self.ends = settings.ends
        self.lstm = nn.LSTM(n_leads, hidden, settings.depth, batch_first=True, bidirectional=bidirectional)
        self.head = classifier_layers(3 * hidden * (2 if bidirectional else 1), n_classes, 128, settings.dropout)
        initialize(self.head)

    def forward(self, signals_BCT: Tensor) -> Tensor:
        """Return the (B, C) logits of (B, leads, T) signals, from the mean, the maximum and the end states."""
        states_BTH, (last_LBH, _) = self.lstm(signals_BCT.transpose(1, 2))
        directions = 2 if self.lstm.bidirectional else 1
        ends_BH = last_LBH[-directions:].transpose(0, 1).flatten(1) if self.ends == "each" else states_BTH[:, -1]
        logits: Tensor = self.head(torch.cat([states_BTH.mean(dim=1), states_BTH.amax(dim=1), ends_BH], dim=1))
        return logits
