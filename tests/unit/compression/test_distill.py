"""Distillation: the loss, the student's front end and description, and a student that takes the teacher's place."""

import pytest
import torch
import torch.nn.functional as F
from stages import ToyRecords, assert_restores, build_described, describe_tiny, make_context
from tiny import TINY

from ecg_lightning.compression.distill import Distill
from ecg_lightning.compression.schema import DistillConfig
from ecg_lightning.compression.stage import build_stage
from ecg_lightning.errors import ConfigError, UnsupportedModelError
from ecg_lightning.frontend.matrix import MatrixFrontend
from ecg_lightning.frontend.signal import SignalFrontend

SIGNAL_STUDENTS = ["resnet1d", "resnet1d_wang", "xresnet1d18", "inception1d", "lstm", "s4d", "vit1d"]
STUDENTS = ["vit", "deit", "effnetv2", "convnext", "resnet18d", "repvgg_a0", *SIGNAL_STUDENTS]


@pytest.fixture(scope="module")
def describe(configure):
    def make(model, *overrides):
        size = () if model in (*SIGNAL_STUDENTS, "ensemble") else ("frontend.size=[32,64]",)
        return describe_tiny(configure, model, *size, *overrides)

    return make


@pytest.fixture(scope="module")
def teacher(describe):
    """One that knows the toy's classes and has fitted its normalisation."""
    classifier = build_described(describe("effnetv2"))
    classifier.frontend.mean.uniform_(-0.1, 0.1)
    classifier.frontend.std.uniform_(0.5, 2)
    return make_context(classifier).fit(classifier, 20, 1e-2)


def _stage(describe, model, **settings):
    return Distill(DistillConfig(student=describe(model)["model"], **settings))


@pytest.mark.parametrize("model", STUDENTS)
def test_a_student_takes_the_teachers_place_and_loads(describe, teacher, model):
    context = make_context(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    stage = _stage(describe, model, epochs=1)
    student = stage.apply(build_described(describe("effnetv2")), context)
    assert context.fit.calls == [(1, 1e-3)]
    assert student.description["model"] == describe(model)["model"]
    assert student.description["stages"] == []
    assert student.description["n_samples"] == teacher.description["n_samples"]
    assert student.distillation is None
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert torch.equal(student.frontend.mean, teacher.frontend.mean)
    assert torch.equal(student.frontend.std, teacher.frontend.std)
    assert_restores(stage, student)


def test_the_front_end_is_the_teachers_or_like_it(describe, teacher):
    for model, kind in (("resnet18d", MatrixFrontend), ("resnet1d", SignalFrontend)):
        student = _stage(describe, model, epochs=0).apply(teacher, make_context(teacher))
        own, teachers = student.description["frontend"], teacher.description["frontend"]
        assert type(student.frontend) is kind
        assert own["augmentation"] == teachers["augmentation"]
        assert own["normalization"] == teachers["normalization"]
        assert student.frontend.augmentation.settings.amplitude == teachers["augmentation"]["amplitude"]
    assert student.description["choices"] == {"model": "resnet1d", "frontend": "signal"}
    taught = build_described(student.description)
    back = _stage(describe, "resnet18d", epochs=0).apply(taught, make_context(taught))
    assert type(back.frontend) is MatrixFrontend
    assert back.frontend.network_input.image == (1, 64, 512)
    assert back.description["frontend"]["normalization"] == teachers["normalization"]


def test_a_student_of_signals_cannot_learn_how_to_normalise_them_from_pictures(configure, describe):
    on_paper = build_described(describe_tiny(configure, "resnet10t", "frontend=paper", "frontend.width=224"))
    with pytest.raises(UnsupportedModelError, match="needs the normalisation of the signal"):
        _stage(describe, "resnet1d").apply(on_paper, make_context(on_paper))


def test_an_ensembles_student_sees_records_as_a_member_does(describe, teacher):
    other = ("frontend.normalization=global", "frontend.augmentation.noise_mv=0.5")
    on_signals = build_described(describe("resnet1d", *other))
    on_signals.frontend.mean.fill_(0.25)
    description = describe("ensemble") | {"members": [one.description for one in (teacher, on_signals)]}
    ensemble = build_described(description, members=[teacher, on_signals])
    for model, member in (("vit", teacher), ("resnet1d_wang", on_signals)):
        student = _stage(describe, model, epochs=1).apply(ensemble, make_context(ensemble))
        assert student.description["frontend"] == member.description["frontend"]
        assert torch.equal(student.frontend.mean, member.frontend.mean)
        assert "members" not in student.description
    alone = build_described(description | {"members": [teacher.description]}, members=[teacher])
    student = _stage(describe, "resnet1d_wang", epochs=0).apply(alone, make_context(alone))
    assert student.description["frontend"]["augmentation"] == teacher.description["frontend"]["augmentation"]
    assert student.description["frontend"]["normalization"] == teacher.description["frontend"]["normalization"]
    assert torch.equal(student.frontend.std, teacher.frontend.std)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_as_defined(describe, teacher, alpha):
    seen = {}

    class Fit:
        epochs = 1

        def __call__(self, classifier, epochs, lr):
            batch = ToyRecords(8).__getitems__(range(8))
            classifier.eval()
            seen["loss"], logits = classifier.loss_and_logits(batch)
            soft = F.binary_cross_entropy_with_logits(logits / 2, (teacher(batch.signals) / 2).sigmoid())
            hard = F.binary_cross_entropy_with_logits(logits, batch.targets)
            seen["expected"] = alpha * hard + (1 - alpha) * 4 * soft
            return classifier

    context = make_context(teacher)
    context.fit = Fit()
    _stage(describe, "resnet1d", alpha=alpha, temperature=2.0).apply(teacher, context)
    assert torch.allclose(seen["loss"], seen["expected"], atol=1e-6)
    assert seen["loss"].requires_grad


def test_the_student_comes_to_agree_with_the_teacher(describe, teacher):
    signals = ToyRecords().signals

    def distance(**settings):
        student = _stage(describe, "resnet1d", alpha=0.0, lr=3e-3, **settings).apply(teacher, make_context(teacher))
        with torch.no_grad():
            return (student(signals).sigmoid() - teacher(signals).sigmoid()).abs().mean().item()

    assert distance(epochs=20) < 0.5 * distance(epochs=0)


def test_the_same_student_whatever_was_drawn_before(describe, teacher):
    students = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        students.append(_stage(describe, "resnet1d", epochs=0).apply(teacher, make_context(teacher)))
    pairs = zip(students[0].parameters(), students[1].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_branches_that_only_training_needs_are_merged(describe, teacher):
    student = _stage(describe, "repvgg_a0", epochs=1).apply(teacher, make_context(teacher))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in student.network.modules())
    trained = build_described(student.description)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in trained.network.modules())


def test_a_student_is_a_model_of_this_project():
    with pytest.raises(ConfigError, match=r"distill\.student"):
        Distill(DistillConfig(student={"kind": "os.system"}))


@pytest.mark.parametrize("name", ["prune", "prune_structured", "act_swap", "distill"])
def test_configurations_build_their_stage(configure, name):
    cfg = configure("model=vit", *TINY["vit"], f"compression={name}")
    ((_, node),) = cfg.compression.stages.items()
    settings = build_stage(node, f"compression.stages.{name}").settings
    assert (settings.epochs, settings.lr) == ((30, 1e-3) if name == "distill" else (None, None))
