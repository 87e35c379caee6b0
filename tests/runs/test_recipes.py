"""Trainings that start from another model: from its weights, or with a teacher."""

import pytest
import torch
from tiny import SIGNAL_MODELS, TINY

from ecg_lightning.checkpoints.building import build_classifier, build_datamodule
from ecg_lightning.checkpoints.loading import load_classifier
from ecg_lightning.errors import ConfigError
from ecg_lightning.evaluation.metrics import superclass_metrics
from ecg_lightning.training import run as training


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
