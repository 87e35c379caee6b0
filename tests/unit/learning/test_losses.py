"""The losses: label smoothing, class weights and the asymmetric loss."""

import pytest
import torch
import torch.nn.functional as F

from ecg_lightning.errors import ConfigError
from ecg_lightning.learning.losses import make_loss

LOGITS = torch.tensor([[2.0, -1.0], [0.5, -3.0], [-0.2, 0.4]])

TARGETS = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])


def test_label_smoothing_moves_targets_while_training_alone():
    loss = make_loss("bce", 2, label_smoothing=0.2)
    smoothed = F.binary_cross_entropy_with_logits(LOGITS, TARGETS * 0.8 + 0.1)
    assert loss.train()(LOGITS, TARGETS) == pytest.approx(float(smoothed))
    assert loss.eval()(LOGITS, TARGETS) == F.binary_cross_entropy_with_logits(LOGITS, TARGETS)


def test_class_weights_are_negatives_per_positive():
    loss = make_loss("bce", 3, class_weights=True)
    loss.balance(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]))
    assert loss.positive_weights_C.tolist() == pytest.approx([3, 1 / 3, 1])  # no positive record: 1
    one = torch.tensor([[0.3, 0.3, 0.3]])
    positive, negative = (loss.train()(one, target * torch.ones(1, 3)) for target in (1.0, 0.0))
    assert positive == pytest.approx(float(F.softplus(-one)[0, 0]) * (3 + 1 / 3 + 1) / 3)
    assert negative == pytest.approx(float(F.softplus(one)[0, 0]))
    assert loss.eval()(one, torch.ones(1, 3)) == pytest.approx(float(F.softplus(-one)[0, 0]))


def test_asymmetric_loss_is_the_papers():
    loss = make_loss("asymmetric", 2).train()
    p = LOGITS.double().sigmoid()
    shifted = (p - 0.05).clamp_min(0)
    expected = -(TARGETS * p.log() + (1 - TARGETS) * shifted**4 * (1 - shifted).log()).mean()
    assert loss(LOGITS, TARGETS) == pytest.approx(float(expected), rel=1e-5)
    easy = torch.tensor([[-4.0, -4.0]])  # below the margin: nothing to learn
    assert loss(easy, torch.zeros(1, 2)) == 0
    assert loss.eval()(easy, torch.zeros(1, 2)) > 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.loss=argmax_cross_entropy", "model.mixup=0.2"], "mixup blends labels"),
        (["model.loss=argmax_cross_entropy", "model.class_weights=true"], "Use model.loss=bce or asymmetric"),
    ],
)
def test_a_single_label_has_neither_mixup_nor_weights(make, overrides, said):
    with pytest.raises(ConfigError, match=said):
        make("vit", *overrides)
