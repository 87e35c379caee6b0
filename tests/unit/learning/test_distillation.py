"""The teacher's part of the loss."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from stages import ToyRecords
from torch import nn

from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.schema import TeachingConfig


@pytest.mark.parametrize("hard_share", [0.0, 0.3, 1.0])
def test_the_teachers_part_is_soft_hard_or_both(make, hard_share):
    teacher = make("resnet1d")
    teacher.thresholds.fill_(0.4)
    student = make("deit")
    batch = ToyRecords(8).__getitems__(range(8))
    millivolts = student.frontend.to_millivolts(batch.signals)
    logits = torch.randn(8, 5)
    distillation = Distillation(teacher, TeachingConfig(0.25, 2.0, hard_share))
    found = distillation.total_loss(torch.tensor(0.7), logits, distillation.of_signals(millivolts))
    with torch.no_grad():
        taught = teacher(millivolts)
    soft = F.binary_cross_entropy_with_logits(logits / 2, (taught / 2).sigmoid()) * 4
    hard = F.binary_cross_entropy_with_logits(logits, (taught.sigmoid() >= 0.4).float())
    assert found == pytest.approx(0.25 * 0.7 + 0.75 * float((1 - hard_share) * soft + hard_share * hard), rel=1e-5)


@pytest.mark.parametrize("hard_share", [0.0, 1.0])
def test_a_student_with_a_softmax_learns_from_the_softmax_of_the_teachers_logits(make, hard_share):
    teacher, logits, millivolts = make("resnet1d"), torch.randn(8, 5), torch.randn(8, 12, 1000)
    distillation = Distillation(teacher, TeachingConfig(0.0, 2.0, hard_share))
    taught = distillation.of_signals(millivolts, "softmax")
    found = distillation.total_loss(torch.tensor(0.0), logits, taught, "softmax")
    with torch.no_grad():
        own = teacher(millivolts)
    soft = -4 * ((own / 2).softmax(dim=1) * (logits / 2).log_softmax(dim=1)).sum(dim=1).mean()
    hard = -logits.log_softmax(dim=1)[torch.arange(8), own.argmax(dim=1)].mean()
    assert found == pytest.approx(float(hard if hard_share else soft), rel=1e-5)


@pytest.mark.parametrize("model", ["vit", "resnet1d_wang"])
def test_any_model_may_have_a_teacher(make, model):
    teacher = make("resnet1d")
    student = make(model, "model.alpha=0.25", "model.teacher=FILE", teacher=teacher).eval()
    batch = ToyRecords(8).__getitems__(range(8))
    loss, logits = student.loss_and_logits(batch)
    with torch.no_grad():
        soft = F.binary_cross_entropy_with_logits(logits, teacher(batch.signals).sigmoid())
    assert loss.item() == pytest.approx(
        0.25 * float(student.loss(logits, batch.targets)) + 0.75 * float(soft), rel=1e-4
    )
    assert student.state_dict().keys() == make(model).state_dict().keys()


def test_a_teacher_that_sees_the_records_once(make):
    teacher, records = make("resnet1d"), ToyRecords(20)
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    distillation = Distillation(teacher, TeachingConfig(0.0, teacher_sees="record"))
    with pytest.raises(RuntimeError, match=r"call prepare\(\) first"):
        distillation.of_records(torch.tensor([7]))
    distillation.prepare(records, torch.device("cpu"), batch_size=8)
    assert len(calls) == 3
    logits, places = torch.randn(4, 5), torch.tensor([7, 0, 19, 3])
    found = distillation.total_loss(torch.tensor(0.0), logits, distillation.of_records(places))
    with torch.no_grad():
        own = teacher(records.__getitems__(places.tolist()).signals)
    assert found == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, own.sigmoid())), rel=1e-5)
    assert len(calls) == 4  # this test's own


def test_what_a_teacher_says_of_records_is_computed_in_the_training_s_precision(make):
    """In fp32 a teacher on windows costs more than some students' training does."""
    kinds = []
    for plugin in (Precision(), MixedPrecision("bf16-mixed", "cpu")):
        student = make("resnet1d_wang", "model.teacher=FILE", "model.teacher_sees=record", teacher=make("resnet1d"))
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        trainer = SimpleNamespace(precision_plugin=plugin, strategy=strategy)
        head = next(m for m in student.distillation.teacher.modules() if isinstance(m, nn.Linear))
        hook = head.register_forward_hook(lambda _, __, logits: kinds.append(logits.dtype))
        student.prepare_teacher(trainer, ToyRecords(8))
        student.prepare_teacher(trainer, ToyRecords(8))  # once is enough
        hook.remove()
    assert kinds == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("sees", ["record", "augmented"])
def test_what_a_teacher_says_is_mixed_as_the_records_are(make, sees):
    """Precomputed targets are mixed like the labels. A teacher that reads the batch receives the mixed signals."""
    teacher, records = make("resnet1d"), ToyRecords(8)
    settings = ["model.mixup=1.0", "model.teacher=FILE", f"model.teacher_sees={sees}"]
    student = make("resnet1d_wang", *settings, teacher=teacher)
    student.distillation.prepare(records, torch.device("cpu"))
    batch = records.__getitems__(range(8))._replace(targets=torch.eye(8)[:, :5], places=torch.arange(8))
    millivolts, targets, taught = student.augmented(batch)
    assert not torch.equal(targets, batch.targets)
    if sees == "augmented":
        with torch.no_grad():
            assert torch.allclose(taught[:, 0], teacher(millivolts).sigmoid(), atol=1e-6)
    else:
        with torch.no_grad():
            own = teacher(batch.signals).sigmoid()
        for record in range(5):  # each lies between it and another one, by the share that its label has
            blends = torch.lerp(own, own[record], targets[record, record])
            assert (blends - taught[record, 0]).abs().amax(dim=1).min() < 1e-5
