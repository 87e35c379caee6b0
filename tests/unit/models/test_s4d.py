"""S4D's filter against what defines it: the recurrence of its states, sample by sample."""

import torch

from ecg_lightning.models import s4d
from ecg_lightning.models.s4d import BidirectionalS4D, S4DNetwork
from ecg_lightning.models.schema import S4DConfig


def _recurrence(layer, direction, signal_HT):
    """y[t] = 2 Re Σ C x[t], x[t] = exp(ΔA) x[t − 1] + (exp(ΔA) − 1) / A · u[t], in complex numbers."""
    a_HN = torch.complex(-layer.log_decay_HN[direction].exp(), layer.frequency_HN[direction])
    c_HN = torch.view_as_complex(layer.output_HN[direction].contiguous())
    kept_HN = (layer.log_step_H[direction].exp() * a_HN).exp()
    state_HN, outputs = torch.zeros_like(c_HN), []
    for sample_H in signal_HT.T:
        state_HN = kept_HN * state_HN + (kept_HN - 1) / a_HN * sample_H[:, None]
        outputs.append(2 * (c_HN * state_HN).sum(dim=1).real)
    return torch.stack(outputs, dim=1)


def test_it_is_the_recurrence_in_both_directions():
    torch.manual_seed(0)
    layer, signal = BidirectionalS4D(3, 4).double(), torch.randn(3, 60, dtype=torch.float64)
    with torch.no_grad():
        forwards = _recurrence(layer, 0, signal)
        # Backwards starts with the next sample: the present one is the forward direction's.
        later = _recurrence(layer, 1, signal.flip(1)).flip(1)
        backwards = torch.cat([later[:, 1:], torch.zeros(3, 1)], dim=1)
        expected = forwards + backwards + layer.direct_H * signal
        found = layer.float()(signal.float()[None])[0]
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_files_compute_the_same_without_a_fourier_transform():
    torch.manual_seed(0)
    layer, signals = BidirectionalS4D(4, 8), torch.randn(2, 4, 250)
    with torch.no_grad():
        responses = layer.impulse_responses(250)
        assert torch.allclose(s4d._by_product(signals, *responses), s4d._by_spectrum(signals, *responses), atol=1e-5)


def test_the_first_states_are_s4d_lins():
    layer = S4DNetwork(S4DConfig(channels=2, depth=1, states=5), 12, 5).blocks[0].state_space
    assert torch.allclose(layer.log_decay_HN.exp(), torch.tensor(0.5))
    assert torch.allclose(layer.frequency_HN[0, 0], torch.pi * torch.arange(5.0))
    assert ((layer.log_step_H.exp() >= 1e-3) & (layer.log_step_H.exp() <= 0.1)).all()
