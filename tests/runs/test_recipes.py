"""The parts of a recipe that change the training alone: losses, mixup, the teacher's part."""

import functools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from stages import ToyRecords
from tiny import SIGNAL_MODELS, TINY, build_tiny
from torch import nn

from ecg_lightning.checkpoints.building import build_classifier, build_datamodule
from ecg_lightning.checkpoints.loading import load_classifier
from ecg_lightning.errors import ConfigError
from ecg_lightning.evaluation.metrics import superclass_metrics
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.losses import make_loss
from ecg_lightning.learning.mixup import mix
from ecg_lightning.learning.schema import TeachingConfig
from ecg_lightning.results.equality import differing
from ecg_lightning.training import run as training

LOGITS = torch.tensor([[2.0, -1.0], [0.5, -3.0], [-0.2, 0.4]])
TARGETS = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])


@pytest.fixture
def make(configure):
    return functools.partial(build_tiny, configure)


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


def test_mixup_blends_signals_and_labels_alike():
    torch.manual_seed(0)
    signals, targets = torch.eye(16)[:, None] * 3.0, torch.eye(16)
    mixed_signals, mixed_targets = mix(0.4, signals, targets)
    assert torch.allclose(mixed_signals[:, 0] / 3, mixed_targets)
    own = mixed_targets.diagonal()
    assert (own >= 0.5).all()  # the larger part is the record's own
    assert (own < 0.999).sum() > 4
    assert torch.allclose(mixed_targets.sum(dim=1), torch.ones(16))


def test_mixup_reaches_the_loss_and_no_evaluation(make):
    classifier = make("resnet1d", "model.mixup=1.0", "frontend/augmentation=none").train()
    batch = ToyRecords(8).__getitems__(range(8))
    millivolts, targets, _ = classifier.augmented(batch)
    assert not torch.equal(targets, batch.targets)
    assert not torch.equal(millivolts, classifier.frontend.to_millivolts(batch.signals))
    classifier.eval()
    classifier._evaluate("val", batch)
    assert torch.equal(classifier._steps["val"][0].kept["targets"], batch.targets)


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
    """What it said of records is blended like labels; one that sees the signals sees them blended."""
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


def _short(root):
    """Settings of a short training on a PTB-XL folder."""
    quiet = ["logger=none", "callbacks.figures=false"]
    return ["data=ptbxl", f"data.root={root}", *quiet, "trainer.max_epochs=1", "hardware.threads=1"]


@pytest.mark.parametrize("model", [pytest.param("effnetv2", marks=pytest.mark.slow), "resnet1d_wang"])
def test_training_may_start_from_a_checkpoint_of_this_project(configure, synthetic_root, tmp_path, model):
    image = [] if model in SIGNAL_MODELS else ["frontend.size=[32,64]"]
    data = _short(synthetic_root)
    settings = [f"model={model}", *TINY[model], *image, *data]
    training.run(configure(*settings, output_dir=tmp_path / "first"))
    checkpoint = tmp_path / "first" / "checkpoints" / "best.ckpt"
    again = configure(*settings, f"model.weights={checkpoint}", output_dir=tmp_path / "again")
    started, first = build_classifier(again.model, again.frontend, n_samples=1000, seed=1), load_classifier(checkpoint)
    for name, value in first.network.state_dict().items():
        assert torch.equal(started.network.state_dict()[name], value), name
    assert training.run(again).status == "ok"
    leaking = configure(
        *settings, f"model.weights={checkpoint}", "data.train_folds=[1,2,3]", "data.val_folds=[8]", output_dir="unused"
    )
    with pytest.raises(ConfigError, match=r"model\.weights=.*fold 8"):
        training.run(leaking)


def test_a_taught_deit_trains_and_scores_each_head(configure, synthetic_root, tmp_path):
    data = _short(synthetic_root)
    recipe = ["model.loss=asymmetric", "model.label_smoothing=0.1", "model.class_weights=true"]
    training.run(configure("model=resnet1d", *TINY["resnet1d"], *recipe, *data, output_dir=tmp_path / "teacher"))
    checkpoint = tmp_path / "teacher" / "checkpoints" / "best.ckpt"
    weights = load_classifier(checkpoint).loss.positive_weights_C
    assert not torch.equal(weights, torch.ones(5))  # of the training split
    taught = ["model.teacher_sees=record", "model.hard_share=0.5", f"model.teacher={checkpoint}", "frontend=strips"]
    shape = [*TINY["deit"], "frontend.size=[192,128]"]
    cfg = configure("model=deit", *shape, *taught, *data, output_dir=tmp_path / "deit")
    result = training.run(cfg)
    assert result.timing["teacher_s"] > 0
    heads = [result.metrics["test"][f"auroc_macro_{head}"] for head in ("class_head", "distillation_head")]
    assert all(0 < score < 1 for score in heads)
    deit, datamodule = (
        load_classifier(tmp_path / "deit" / "checkpoints" / "best.ckpt"),
        build_datamodule(cfg.data, 0),
    )
    datamodule.load(("test",))
    (batch,) = datamodule.test_dataloader()
    with torch.inference_mode():
        logits = deit.network.head(deit.network.forward_features(deit.frontend(batch.signals))[:, 0])
    own = superclass_metrics(logits.double().sigmoid(), batch.targets, deit.classes, deit.thresholds)["auroc_macro"]
    assert heads[0] == pytest.approx(float(own), abs=1e-6) != heads[1]


def test_one_batch_is_not_all_of_them():
    one, other = ({"trainer": {"limit_train_batches": limit}} for limit in (1, 1.0))
    assert differing(one, other) == ["trainer.limit_train_batches"]
    assert not differing(one, {"trainer": {"limit_train_batches": 1, "limit_val_batches": None}})
