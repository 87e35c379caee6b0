"""A teacher that never saw the records which it teaches: the predictions of cross-validations."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import TINY

from ecg_lightning.checkpoints.building import build_datamodule
from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.commands.evaluations import evaluate_run
from ecg_lightning.errors import ConfigError
from ecg_lightning.evaluation.predictions import Predictions, averaged, read_predictions
from ecg_lightning.evaluation.thresholds import f1_thresholds
from ecg_lightning.learning.held_out import HeldOutTeacher
from ecg_lightning.training import cross_validation
from ecg_lightning.training import run as training
from ecg_lightning.training.teaching import load_teacher

LAST = ["scored_epoch=last", "callbacks.early_stopping=null"]


@pytest.fixture(scope="module")
def cross_validated(configure, synthetic_root, tmp_path_factory):
    """Folders of two cross-validations of a tiny network over the folds 1 to 3."""
    folders = [tmp_path_factory.mktemp("held_out") / f"seed{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        settings = ["cross_validation=[1,2,3]", "data.train_folds=[1,2,3]", "test=false", f"seed={seed}", *LAST]
        cross_validation.run(configure(*_short("resnet1d", synthetic_root), *settings, output_dir=folder))
    return folders


def _short(model, root):
    data = [
        "data=ptbxl",
        f"data.root={root}",
        "logger=none",
        "callbacks.figures=false",
        "trainer.max_epochs=1",
        "hardware.threads=1",
    ]
    return [f"model={model}", *TINY[model], *data]


def test_a_teacher_that_never_saw_what_it_teaches(configure, synthetic_root, tmp_path, cross_validated):
    named = f"model.teacher=[{','.join(map(str, cross_validated))}]"
    settings = [*_short("resnet1d_wang", synthetic_root), named, "model.mixup=0.4", "test=false"]
    cfg = configure(*settings, "model.teacher_sees=record", "data.train_folds=[1,2,3]", output_dir=tmp_path / "taught")
    assert training.run(cfg).status == "ok"
    assert load_classifier(tmp_path / "taught" / "checkpoints" / "best.ckpt").distillation is None

    datamodule = build_datamodule(cfg.data, 0)
    datamodule.load(("train",))
    teacher = load_teacher(cfg.model, datamodule)
    found = dict(
        zip(datamodule.datasets["train"].ecg_ids.tolist(), teacher.logits_of(datamodule.datasets["train"]), strict=True)
    )
    held_out = averaged([read_predictions(folder / "predictions.csv")["val"] for folder in cross_validated])
    expected = f1_thresholds(held_out.probabilities(), held_out.targets_NC)
    assert teacher.thresholds.tolist() == pytest.approx(expected.tolist())  # what a hard teacher decides by
    for fold in (1, 2, 3):  # the mean of the two that did not train on it
        parts = [read_predictions(folder / f"fold{fold}" / "predictions.csv")["val"] for folder in cross_validated]
        for row, ecg_id in enumerate(parts[0].ecg_ids.tolist()):
            mean = np.mean([part.probabilities()[row] for part in parts], axis=0)
            assert found[ecg_id].double().sigmoid().numpy() == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "Set model.teacher_sees=record"),
        (["model.teacher_sees=record", "data.train_folds=[1,2,3,4]"], "each fold of data.train_folds"),
        (["model.teacher_sees=record", "data.train_folds=[1,2]", "data.val_folds=[3]"], "was trained on fold 3"),
        (["model.teacher_sees=record", "data.label_rule=ge50"], "data.label_rule=benchmark"),
    ],
)
def test_held_out_predictions_that_cannot_teach_are_refused(
    configure, synthetic_root, tmp_path, cross_validated, settings, said
):
    folds = [] if any("train_folds" in one for one in settings) else ["data.train_folds=[1,2,3]"]
    cfg = configure(
        *_short("resnet1d", synthetic_root),
        *settings,
        *folds,
        f"model.teacher={cross_validated[0]}",
        output_dir=tmp_path,
    )
    with pytest.raises(ConfigError, match=said):
        training.run(cfg)


def test_what_a_cross_validation_itself_learned_from_must_not_leak(
    configure, synthetic_root, tmp_path, cross_validated
):
    copy = tmp_path / "copy"
    shutil.copytree(cross_validated[0], copy)
    checkpoint = read_checkpoint(path := copy / "fold2" / "checkpoints" / "best.ckpt")
    checkpoint["ecg_lightning"]["learned_from"] = [{"train": [9], "val": [8], "test": [10]}]  # of its first weights
    torch.save(checkpoint, path)
    settings = [*_short("resnet1d", synthetic_root), "model.teacher_sees=record", "data.train_folds=[1,2,3]"]
    cfg = configure(*settings, f"model.teacher={copy}", output_dir=tmp_path / "taught")
    with pytest.raises(ConfigError, match=r"learned from a model .*trained on fold 9, which this run holds out"):
        training.run(cfg)


def test_only_a_cross_validation_teaches_by_its_folder(configure, synthetic_root, tmp_path):
    (tmp_path / "run").mkdir()
    settings = [*_short("resnet1d", synthetic_root), "model.teacher_sees=record"]
    with pytest.raises(ConfigError, match="is not the folder of a finished cross-validation"):
        training.run(configure(*settings, f"model.teacher={tmp_path}/run", output_dir=tmp_path / "a"))
    with pytest.raises(ConfigError, match="a list may only name folders of cross-validations"):
        training.run(configure(*settings, "model.teacher=[a.ckpt,b.ckpt]", output_dir=tmp_path / "a"))
    for wrong in ("5", "[]", "[1]"):
        with pytest.raises(ConfigError, match="name a checkpoint, or folders of cross-validations"):
            configure(*settings, f"model.teacher={wrong}")


def test_epochs_chosen_on_the_held_out_folds_do_not_teach(configure, synthetic_root, tmp_path):
    settings = [*_short("resnet1d", synthetic_root), "data.train_folds=[1,2]", "test=false"]
    cross_validation.run(configure(*settings, "cross_validation=[1,2]", output_dir=tmp_path / "cv"))
    cfg = configure(*settings, f"model.teacher={tmp_path}/cv", "model.teacher_sees=record", output_dir=tmp_path / "a")
    with pytest.raises(ConfigError, match="epochs were chosen on the folds"):
        training.run(cfg)


def _predictions(ecg_ids, patient_ids, logits_NC, link="sigmoid"):
    targets_NC = np.eye(5, dtype=bool)[np.array(ecg_ids) % 5]
    return Predictions(tuple("ABCDE"), link, np.array(ecg_ids), np.array(patient_ids), targets_NC, logits_NC)


def test_records_are_found_by_their_number_in_any_order():
    logits_NC = np.random.default_rng(0).normal(size=(3, 5))
    one = _predictions([7, 8, 9], [1, 2, 3], logits_NC)
    other = _predictions([9, 7, 8], [3, 1, 2], logits_NC[[2, 0, 1]])
    teacher = HeldOutTeacher([one, other], {})
    asked = SimpleNamespace(ecg_ids=np.array([8, 9]), patient_ids=np.array([2, 3]))
    assert teacher.logits_of(asked).numpy() == pytest.approx(logits_NC[1:], abs=1e-5)
    with pytest.raises(ConfigError, match="the cross-validation used other data"):
        teacher.logits_of(SimpleNamespace(ecg_ids=np.array([8, 9]), patient_ids=np.array([2, 4])))
    with pytest.raises(ConfigError, match=r"cannot be combined: .* different records or labels"):
        HeldOutTeacher([one, _predictions([7, 8, 10], [1, 2, 3], logits_NC)], {})


def test_competing_classes_do_not_teach_independent_ones(configure, synthetic_root, tmp_path):
    settings = [*_short("resnet1d", synthetic_root), "data.train_folds=[1,2]", "test=false", *LAST]
    softmax = [*settings, "model.loss=argmax_cross_entropy", "cross_validation=[1,2]"]
    cross_validation.run(configure(*softmax, output_dir=tmp_path / "cv"))
    cfg = configure(*settings, f"model.teacher={tmp_path}/cv", "model.teacher_sees=record", output_dir=tmp_path / "a")
    with pytest.raises(ConfigError, match="a softmax over CD, HYP, MI, NORM, STTC, but this run needs independent"):
        training.run(cfg)


def test_a_cross_validation_over_all_folds_has_a_floor_that_is_held_out(synthetic_root, cross_validated):
    found = evaluate_run(cross_validated[0], "val", synthetic_root, n_resamples=100)
    assert found["subgroups"]
    assert len(found["age_and_sex"]["auroc"]) == 3
    assert "left_out" not in found
