"""The average of trained models as a model: exact, self-contained, and held to the rules of a teacher."""

import numpy as np
import pytest
import torch
from tiny import TINY

from ecg_lightning.checkpoints.loading import load_classifier
from ecg_lightning.deployment.float_files import export_float
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.errors import ConfigError
from ecg_lightning.evaluation.predictions import averaged, read_predictions
from ecg_lightning.training import run as training


@pytest.fixture(scope="module")
def run(configure, synthetic_root):
    def start(folder, model, *overrides):
        size = ["frontend.size=[32,64]"] if model in ("vit", "deit") else []
        small = [
            "trainer.max_epochs=1",
            "hardware.precision=32-true",
            "logger=none",
            "callbacks.figures=false",
            *TINY.get(model, []),
            *size,
        ]
        data = ["data=ptbxl", f"data.root={synthetic_root}"]
        return training.run(configure(*data, f"model={model}", *small, *overrides, output_dir=folder))

    return start


@pytest.fixture(scope="module")
def members(run, tmp_path_factory):
    """Checkpoints of a model on images and of one on windows of signals."""
    paths = []
    for model in ("vit", "resnet1d_wang"):
        folder = tmp_path_factory.mktemp(model)
        run(folder, model)
        paths.append(folder / "checkpoints" / "best.ckpt")
    return paths


def test_probabilities_are_the_members_mean(run, members, tmp_path):
    copies = []
    for path in members:
        copies.append(tmp_path / f"{path.parts[-3]}.ckpt")
        copies[-1].write_bytes(path.read_bytes())
    result = run(tmp_path / "run", "ensemble", f"model.members=[{','.join(map(str, copies))}]")
    assert result.status == "ok"
    ledger = (tmp_path / "test_scored.csv").read_text()  # beside the copies: each was scored once more
    assert [ledger.count(copy.name) for copy in copies] == [1, 1]
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    run(tmp_path / "again", "vit", "train=false", f"ckpt_path={checkpoint}")
    assert [(tmp_path / "test_scored.csv").read_text().count(copy.name) for copy in copies] == [2, 2]
    assert result.score == result.metrics["val"]["f1_macro"]
    for copy in copies:
        copy.unlink()  # the ensemble's checkpoint needs no other file
    ensemble = load_classifier(tmp_path / "run" / "checkpoints" / "best.ckpt")
    signals = torch.randint(-500, 500, (3, 12, 1000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mean = torch.stack([load_classifier(path).predict_probabilities(signals) for path in members]).mean(dim=0)
        assert torch.allclose(ensemble.predict_probabilities(signals), mean, atol=1e-6)
        assert torch.allclose(ensemble.train().predict_probabilities(signals), mean, atol=1e-6)
    assert not torch.equal(ensemble.thresholds, torch.full((5,), 0.5, dtype=torch.float64))
    predicted = read_predictions(tmp_path / "run" / "predictions.csv")
    assert set(predicted) == {"val", "test"}
    singles = [read_predictions(path.parents[1] / "predictions.csv")["val"] for path in members]
    assert np.allclose(predicted["val"].spreads_NC, np.std([one.probabilities() for one in singles], axis=0), atol=1e-6)
    assert np.allclose(predicted["val"].logits_NC, averaged(singles).logits_NC, atol=1e-4)
    assert result.evaluation["test"]["abstention"].keys() == {"distance", "agreement"}
    (onnx,) = {one.path for one in export_float(ensemble.eval(), tmp_path) if one.runtime == "onnxruntime"}
    logits = open_runtime(onnx, "onnxruntime").logits((signals.numpy() * 1e-3).astype(np.float32))
    assert np.allclose(1 / (1 + np.exp(-logits)), mean.numpy(), atol=1e-5)


def test_an_ensemble_teaches(run, members, tmp_path):
    run(tmp_path / "ensemble", "ensemble", f"model.members=[{','.join(map(str, members))}]")
    teacher = tmp_path / "ensemble" / "checkpoints" / "best.ckpt"
    assert run(tmp_path / "deit", "deit", f"model.teacher={teacher}").status == "ok"


def test_members_that_do_not_fit_are_refused(run, members, tmp_path):
    with pytest.raises(ConfigError, match=r"model\.members=\[\]: there is nothing to average"):
        run(tmp_path, "ensemble")
    with pytest.raises(ConfigError, match=r"is named 2 times. Name each member once"):
        run(tmp_path, "ensemble", f"model.members=[{members[0]},{members[1]},{members[0]}]")
    with pytest.raises(ConfigError, match=r"model\.members=.*was trained on fold 8"):
        run(
            tmp_path, "ensemble", f"model.members=[{members[0]}]",
            "data.train_folds=[1,2,3,4,5,6,7]", "data.val_folds=[8]",
        )  # fmt: skip
    with pytest.raises(ConfigError, match="reads the signal in mV"):  # each member normalises
        run(tmp_path, "ensemble", f"model.members=[{members[0]}]", "frontend=signal")
    with pytest.raises(ConfigError, match=r"trained with data\.label_rule=benchmark, but this run has ge50"):
        run(tmp_path, "ensemble", f"model.members=[{members[0]}]", "data.label_rule=ge50")


def test_windows_at_test_are_the_ensembles_to_choose(run, members, tmp_path):
    on_images, on_windows = members
    checkpoint, aggregates = tmp_path / "run" / "checkpoints" / "best.ckpt", {}
    for aggregate in ("max", "mean"):
        settings = [f"model.members=[{on_windows}]", "model.stride_s=2.5", f"model.aggregate={aggregate}"]
        run(tmp_path / "run", "ensemble", *settings)
        aggregates[aggregate] = load_classifier(checkpoint)
    signals = torch.randint(-500, 500, (3, 12, 1000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    alone = load_classifier(on_windows)
    with torch.inference_mode():
        windows = alone.frontend(signals).unfold(2, 250, 250).permute(2, 0, 1, 3)
        expected = torch.stack([alone.network.network(one).sigmoid() for one in windows])
        for aggregate, found in (("max", expected.amax(dim=0)), ("mean", expected.mean(dim=0))):
            assert torch.allclose(aggregates[aggregate].predict_probabilities(signals), found.double(), atol=1e-6)
    with pytest.raises(ConfigError, match="the member ViT reads the whole record"):
        run(tmp_path / "images", "ensemble", f"model.members=[{on_images}]", "model.aggregate=max")


@pytest.mark.slow
def test_mc_dropout_averages_passes_that_differ(run, tmp_path):
    folder = tmp_path / "dropping"
    run(folder, "resnet1d_wang", "model.dropout=0.1")
    path = folder / "checkpoints" / "best.ckpt"
    result = run(tmp_path / "mc", "ensemble", f"model.members=[{path}]", "model.mc_dropout=8")
    again = run(tmp_path / "again", "ensemble", f"model.members=[{path}]", "model.mc_dropout=8")
    assert result.metrics == again.metrics  # the seed draws the passes, too
    loaded = load_classifier(tmp_path / "mc" / "checkpoints" / "best.ckpt")
    signals = torch.randint(-500, 500, (3, 12, 1000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    norms = [module for module in loaded.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    with torch.inference_mode():
        one, other = (loaded.predict_probabilities(signals) for _ in range(2))
        without = load_classifier(path).predict_probabilities(signals)
    assert not torch.equal(one, other)
    assert (one - without).abs().max() < 0.3
    run(tmp_path / "steady", "resnet1d", "model.dropout=0")
    steady = tmp_path / "steady" / "checkpoints" / "best.ckpt"
    with pytest.raises(ConfigError, match="all passes of ResNet1d are equal"):
        run(tmp_path / "none", "ensemble", f"model.members=[{steady}]", "model.mc_dropout=8")
