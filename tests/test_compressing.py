"""Every option of `conf/compression/`, from a trained checkpoint to measured files."""

import json

import numpy as np
import pytest
import torch
from tiny import ROOT, TINY

from ecg_lightning import compressing, training
from ecg_lightning.checkpoints import load_classifier
from ecg_lightning.compression.variant import to_millivolts
from ecg_lightning.deployment.metadata import read_metadata
from ecg_lightning.deployment.runtimes import open_runtime
from ecg_lightning.errors import ConfigError, HardwareUnavailableError
from ecg_lightning.hardware import has_bf16

COMPRESSIONS = sorted(path.stem for path in (ROOT / "conf" / "compression").glob("*.yaml"))
QUICK = [
    *("logger=none", "hardware.precision=32-true", "hardware.threads=1", "compression.fine_tune.epochs=1"),
    *("compression.latency.batches=[1]", "compression.latency.rounds=2", "compression.latency.min_round_s=0"),
    *("compression.n_resamples=100", "trainer.limit_train_batches=3"),
]
STUDENT = ["compression.stages.distill.epochs=1", "compression.stages.distill.student.width=0.125"]
# A family for each in the quick lane; the slow one runs all of all.
FAMILY = {
    "none": "vit",
    "prune": "deit",
    "ptq_dynamic": "vit",
    "ptq": "vit",
    "qat": "resnet18d",
    "qat_fbgemm": "effnetv2",
    "prune_structured": "convnext",
    "distill": "vit",
}


@pytest.fixture(scope="module")
def checkpoint(configure, synthetic_root, tmp_path_factory):
    """A checkpoint of each family, trained for an epoch."""
    made = {}

    def train(model):
        if model not in made:
            folder = tmp_path_factory.mktemp(model)
            data = ["data=ptbxl", f"data.root={synthetic_root}"]
            settings = [*TINY[model], "frontend.size=[32,64]", "trainer.max_epochs=2", "logger=none", *data]
            result = training.run(configure(f"model={model}", *settings, output_dir=folder))
            made[model] = (folder / "checkpoints" / "best.ckpt", result)
        return made[model]

    return train


@pytest.fixture
def compress(checkpoint, configure_compression, tmp_path):
    def run(compression, model, *overrides):
        path, _ = checkpoint(model)
        student = STUDENT if compression.startswith("distill") else []
        cfg = configure_compression(
            f"ckpt_path={path}", f"compression={compression}", *QUICK, *student, *overrides, output_dir=tmp_path
        )
        return compressing.run(cfg, {"compression": compression}), tmp_path

    return run


def check(result, folder, name):
    """What every variant owes its reader."""
    baseline, *made = result.variants
    assert result.status == "ok"
    assert baseline["name"] == "baseline"
    assert baseline["delta"] is None
    for variant in made:
        assert variant["delta"]["verdict"] in ("non-inferior", "inferior", "inconclusive")
        low, high = variant["delta"]["ci95"]["f1_macro"]
        assert low <= variant["delta"]["f1_macro"] <= high
        assert variant["metrics"]["test"]["ci95"]["f1_macro_tuned"][0] <= variant["metrics"]["test"]["f1_macro_tuned"]
    for variant in result.variants:
        size = variant["size"]
        assert 0 < size["compressed_bytes"] <= size["bytes"]
        assert 0 < size["nonzero_fraction"] <= 1
        assert size["macs"] > 0
        assert size["peak_memory_mib"] > 10
        measured = [row for row in variant["runtimes"] if "skipped" not in row]
        assert all(row["p50_ms"] > 0 and row["p95_ms"] >= row["p50_ms"] and row["kernels"] for row in measured)
        assert {row["runtime"] for row in variant["runtimes"]} >= {"torch", "onnxruntime", "openvino"} or variant[
            "stage"
        ] in ("QAT", "PTQ")
        assert all(row["skipped"] for row in variant["runtimes"] if "skipped" in row)
    last = result.variants[-1]
    if last["precision"] == "int8":
        own = next(row for row in last["runtimes"] if row["runtime"] == last["runtime"])
        assert any(kernel["precision"] == "int8" for kernel in own["kernels"])
        weights = folder / "variants" / last["name"] / "model.bin"  # without a tiny OpenVINO model's own text
        n_bytes = (
            weights.stat().st_size if last["stage"] in ("PTQ", "QAT") and weights.exists() else last["size"]["bytes"]
        )
        assert n_bytes < 0.75 * baseline["size"]["bytes"] or name.startswith("distill")
    written = json.loads((folder / "result.json").read_text())
    assert written["variants"][-1]["name"] == last["name"]
    assert (folder / "pareto.png").stat().st_size > 10_000
    for path in written["artifacts"].values():
        assert (folder / path).is_file()


@pytest.mark.parametrize("compression", FAMILY)
def test_compression(compress, compression):
    result, folder = compress(compression, FAMILY[compression])
    check(result, folder, compression)


def test_bf16_only_where_the_processor_has_it(compress, monkeypatch):
    monkeypatch.setattr("ecg_lightning.compression.bf16.has_bf16", lambda accelerator: False)
    with pytest.raises(HardwareUnavailableError, match="does not compute in bfloat16"):
        compress("bf16", "vit")


@pytest.mark.slow
@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor has no bfloat16")
@pytest.mark.parametrize("model", ["vit", "effnetv2"])
def test_bf16(compress, model):
    result, folder = compress("bf16", model)
    check(result, folder, "bf16")
    assert result.variants[1]["size"]["bytes"] < 0.7 * result.variants[0]["size"]["bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vit", "deit", "effnetv2", "convnext", "resnet18d", "resnet1d"])
@pytest.mark.parametrize("compression", [name for name in COMPRESSIONS if name not in ("none", "bf16")])
def test_every_compression_of_every_family(compress, compression, model):
    result, folder = compress(compression, model)
    check(result, folder, compression)


def test_zeros_survive_quantization_aware_training(compress):
    result, folder = compress("prune_qat", "effnetv2")
    prune, quantize = result.variants[1:]
    assert "70.00%" in prune["notes"][0] or "70.0" in prune["notes"][0]
    assert quantize["size"]["nonzero_fraction"] <= prune["size"]["nonzero_fraction"] + 0.01
    assert quantize["size"]["compressed_bytes"] < 0.6 * prune["size"]["compressed_bytes"]
    again = load_classifier(folder / "variants" / "quantize" / "model.ckpt")
    weights = [
        module.weight().int_repr() for module in again.network.modules() if callable(getattr(module, "weight", None))
    ]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert zeros > 0.65


def test_files_describe_themselves_and_give_what_was_scored(compress, checkpoint):
    result, folder = compress("prune", "deit")
    variant = result.variants[1]
    file = folder / "variants" / "prune" / "model.onnx"
    described = read_metadata(file)
    assert described.thresholds == pytest.approx(variant["thresholds"])
    assert described.compression == ("prune",)
    assert described.model == "deit" or described.model == ""
    sums = (folder / "variants" / "prune" / "model.onnx.sha256").read_text().split()
    assert sums[1] == "model.onnx"
    signals = torch.randint(-500, 500, (3, 12, 1000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    loaded = load_classifier(folder / "variants" / "prune" / "model.ckpt")
    with torch.inference_mode():
        expected = loaded(signals).numpy()
    found = open_runtime(file, "onnxruntime").logits(to_millivolts(signals))
    assert np.abs(found - expected).max() < 1e-4


def test_a_chain_of_structural_stages_loads_again(compress):
    """Shapes, activations and int8 modules are all built again from the checkpoint's description."""
    _, folder = compress(
        "act_swap",
        "effnetv2",
        "+schema/stage@compression.stages.thin=prune_structured",
        "+schema/stage@compression.stages.quantize=fx_qat",
    )
    one, other = (load_classifier(folder / "variants" / "quantize" / "model.ckpt") for _ in range(2))
    signals = torch.randint(-500, 500, (2, 12, 1000), dtype=torch.int16)
    with torch.inference_mode():
        assert torch.equal(one(signals), other(signals))


def test_untuned_effect_is_measured_without_training(compress):
    result, _ = compress("prune", "effnetv2", "compression.fine_tune.epochs=0")
    assert result.variants[1]["timing"] == {"fit_s": 0.0, "epochs": 0.0}


def test_nothing_follows_quantization(compress):
    with pytest.raises(ConfigError, match=r"compression.stages.more comes after quantize"):
        compress("qat", "vit", "+schema/stage@compression.stages.more=prune_l1")


def test_int8_kernels_need_a_processor_that_has_them(compress, monkeypatch):
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["qnnpack"], raising=False)
    with pytest.raises(HardwareUnavailableError, match="x86"):
        compress("qat_fbgemm", "vit")


def test_folds_that_the_checkpoint_was_trained_on_are_refused(compress, synthetic_root):
    with pytest.raises(ConfigError, match="was trained on fold 8"):
        compress(
            "none", "vit", "data=ptbxl", f"data.root={synthetic_root}", "data.val_folds=[8]", "data.train_folds=[1]"
        )
