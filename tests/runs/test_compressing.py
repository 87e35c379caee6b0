"""Every option of `conf/compression/`, from a trained checkpoint to measured files."""

import itertools
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stages import ToyRecords
from tiny import ROOT, SIGNAL_MODELS, TINY, build_tiny

from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.commands import evaluations
from ecg_lightning.compression import first_training, fx, stage_fit
from ecg_lightning.compression import run as compressing
from ecg_lightning.compression.checkpoint_data import data_settings
from ecg_lightning.compression.prune_l1 import PruneL1
from ecg_lightning.compression.schema import FxQATConfig
from ecg_lightning.compression.study import deploy, parity
from ecg_lightning.compression.study.score import to_millivolts
from ecg_lightning.compression.study.size import count_macs
from ecg_lightning.compression.tools.pt2e import freeze_statistics, prepare_pt2e
from ecg_lightning.data.schema import PTBXLConfig
from ecg_lightning.deployment.checksum import check_checksum
from ecg_lightning.deployment.metadata import KEY, parse, read_metadata
from ecg_lightning.deployment.runtimes.onnx_runtime import ONNXRuntime
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.openvino_runtime import OpenVINORuntime
from ecg_lightning.errors import (
    ConfigError,
    ExportError,
    HardwareUnavailableError,
    ModelFileError,
    TrainingDivergedError,
    UnsupportedModelError,
)
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import read_predictions
from ecg_lightning.hardware.device import has_bf16
from ecg_lightning.learning.optimization import learning_rate_factor, make_optimizer
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.results.results import UnfinishedError
from ecg_lightning.training import run as training

COMPRESSIONS = sorted({path.stem for path in (ROOT / "conf" / "compression").glob("*.yaml")} - {"off"})
QUICK = [
    *(
        "logger=none",
        "callbacks.figures=false",
        "hardware.precision=32-true",
        "hardware.threads=1",
        "compression.fine_tune.epochs=1",
    ),
    *("compression.latency.batches=[1]", "compression.latency.rounds=2", "compression.latency.min_round_s=0"),
    *("compression.n_resamples=100", "trainer.limit_train_batches=3"),
]
# What runs a variant at least; ONNX Runtime computes little of PT2E's files in int8, and FBGEMM's dynamic int8 and
# NNCF's trained graphs have no ONNX.
RUNTIMES = {
    "QAT": {"openvino"},
    "PTQ": {"openvino", "onnxruntime"},
    "FxDynamic": {"torch"},
    "BF16": {"openvino", "torch"},
}
SMALL_STUDENT = {
    "distill": "width=0.125",
    "distill_repvgg": "width=0.125",
    "distill_resnet1d": "channels=[8,16,32,64]",
    "distill_prune_qat": "width=0.125",
}
FAMILIES = ("vit", "deit", "effnetv2", "convnext", "resnet1d")
PAIRS = [*itertools.product(COMPRESSIONS, FAMILIES), ("qat", "resnet18d"), ("ptq_fbgemm", "resnet18d")]
# Models whose weights outweigh the names in their files.
SIZES = TINY | {
    "vit": ["model.dim=96", "model.depth=2", "model.heads=2", "model.mlp_dim=192"],
    "resnet1d_wang": ["model.channels=64"],
    "lstm": ["model.hidden=64"],
}
NOT_SHRUNK_OR_RUN = {
    ("ptq_dynamic", "resnet1d"): "its one linear layer is smaller than what int8 says about itself",
}
OWN_LANE = ("bf16",)  # not every processor has it


@pytest.fixture(scope="module")
def checkpoint(configure, synthetic_root, tmp_path_factory):
    """A checkpoint of each family, trained for an epoch."""
    made = {}

    def train(model):
        if model not in made:
            folder = tmp_path_factory.mktemp(model)
            data = ["data=ptbxl", f"data.root={synthetic_root}"]
            image = [] if model in SIGNAL_MODELS else ["frontend.size=[32,64]"]
            settings = [*SIZES[model], *image, "trainer.max_epochs=2", "logger=none", "callbacks.figures=false", *data]
            result = training.run(configure(f"model={model}", *settings, output_dir=folder), {"model": model})
            made[model] = (folder / "checkpoints" / "best.ckpt", result)
        return made[model]

    return train


@pytest.fixture
def compress(checkpoint, configure_compression, tmp_path):
    def run(compression, model, *overrides):
        path, _ = checkpoint(model)
        student = []
        if small := SMALL_STUDENT.get(compression):
            student = ["compression.stages.distill.epochs=1", f"compression.stages.distill.student.{small}"]
        cfg = configure_compression(
            f"ckpt_path={path}", f"compression={compression}", *QUICK, *student, *overrides, output_dir=tmp_path
        )
        return compressing.run(cfg, {"compression": compression}, overrides), tmp_path

    return run


@pytest.fixture(scope="module")
def pruned(checkpoint, configure_compression, tmp_path_factory):
    """The result of `compression=prune`, which several tests read, and its folder."""
    folder = tmp_path_factory.mktemp("pruned")
    settings = [f"ckpt_path={checkpoint('deit')[0]}", "compression=prune", *QUICK]
    return compressing.run(configure_compression(*settings, output_dir=folder), {"compression": "prune"}), folder


def check(result, folder, name):
    """What every variant owes its reader."""
    baseline, *made = result.variants
    assert result.status == "ok"
    assert baseline["name"] == "baseline"
    assert baseline["delta"] is None
    for one in made:
        assert one["delta"]["verdict"] in ("non-inferior", "inferior", "inconclusive")
        low, high = one["delta"]["ci95"]["f1_macro_tuned"]
        assert low <= one["delta"]["f1_macro_tuned"] <= high
        scores = one["metrics"]["test"]
        assert scores["ci95"]["f1_macro_tuned"][0] <= scores["f1_macro_tuned"] <= scores["ci95"]["f1_macro_tuned"][1]
    for one in result.variants:
        size = one["size"]
        assert 0 < size["compressed_bytes"] <= size["bytes"]
        assert 0 < size["nonzero_fraction"] <= 1
        assert size["macs"] > 0
        assert size["peak_memory_mib"] > 10
        measured = [row for row in one["runtimes"] if "skipped" not in row]
        assert all(row["p50_ms"] > 0 and row["p95_ms"] >= row["p50_ms"] and row["kernels"] for row in measured)
        assert {row["runtime"] for row in measured} >= RUNTIMES.get(one["stage"], {"torch", "onnxruntime", "openvino"})
        assert all(row["skipped"] for row in one["runtimes"] if "skipped" in row)
    last = result.variants[-1]
    for before, one in itertools.pairwise(result.variants):
        check_claim(one, before)
    if last["precision"] == "int8":
        own = next(row for row in last["runtimes"] if row["runtime"] == last["runtime"])
        assert any(kernel["precision"] == "int8" for kernel in own["kernels"])
        weights = folder / "variants" / last["name"] / "model.bin"  # without a tiny OpenVINO model's own text
        n_bytes = weights.stat().st_size if weights.exists() else last["size"]["bytes"]
        claimed = 1 if last["stage"] == "FxDynamic" else 0.75  # of a convolutional network, its head alone
        assert n_bytes < claimed * baseline["size"]["bytes"] or name.startswith("distill")
    written = json.loads((folder / "result.json").read_text())
    assert written["variants"][-1]["name"] == last["name"]
    assert (folder / "pareto.png").stat().st_size > 10_000
    for path in written["artifacts"].values():
        assert (folder / path).is_file()


def check_claim(one, before):
    """What a stage promises of size, against what it started from."""
    size, before = one["size"], before["size"]
    if one["stage"] == "PruneL1":
        assert size["compressed_bytes"] < 0.95 * before["compressed_bytes"]
        assert size["bytes"] == pytest.approx(before["bytes"], rel=0.05)  # zeros alone make no file smaller
    elif one["stage"] == "PruneStructured":
        assert size["parameters"] < before["parameters"]
        assert size["macs"] < before["macs"]


def check_files(folder, one):
    """A variant's files are whole, and what a checkpoint is built into again computes what the others do."""
    files = sorted((folder / "variants" / one["name"]).iterdir())  # of ptq also ONNX Runtime's own
    sums = {path.name for path in files if path.suffix == ".sha256"}
    signals = ToyRecords(8).signals
    found = {}
    for path in files:
        if path.suffix not in (".ckpt", ".onnx", ".xml"):
            continue
        assert f"{path.name}.sha256" in sums
        check_checksum(path)
        described = read_checkpoint(path)["ecg_lightning"]["deployed"] if path.suffix == ".ckpt" else None
        about = parse(described) if described else read_metadata(path)
        opened = open_runtime(path, about.runtime, about.precision)
        found[path.name] = opened.logits(to_millivolts(signals))
        assert len(about.choices.thresholds) == len(about.classes) == found[path.name].shape[1]
    first, *others = found.values()
    for other in others if one["stage"] != "PTQ" else []:  # whose tools make two models
        assert np.abs(other - first).mean() < 0.1 * max(0.1, first.std())


@pytest.mark.slow
@pytest.mark.parametrize(("compression", "model"), PAIRS)
def test_every_compression_of_every_family(compress, compression, model):
    if (compression, model) in NOT_SHRUNK_OR_RUN:
        pytest.skip(NOT_SHRUNK_OR_RUN[compression, model])
    result, folder = compress(compression, model)
    check(result, folder, compression)
    for one in result.variants:
        check_files(folder, one)


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
    weights = folder / "variants" / "bf16" / "model.bin"  # without a tiny model's own text
    assert weights.stat().st_size < 0.7 * result.variants[0]["size"]["bytes"]


@pytest.mark.slow
def test_zeros_survive_quantization_aware_training(compress):
    result, folder = compress("prune_qat", "effnetv2")
    prune, quantize = result.variants[1:]
    assert any(note.startswith("70.00%") for note in prune["notes"])
    assert quantize["size"]["nonzero_fraction"] <= prune["size"]["nonzero_fraction"] + 0.01
    assert quantize["size"]["compressed_bytes"] < 0.6 * prune["size"]["compressed_bytes"]
    again = load_classifier(folder / "variants" / "quantize" / "model.ckpt")
    weights = [
        module.weight().int_repr() for module in again.network.modules() if callable(getattr(module, "weight", None))
    ]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert zeros > 0.65


def test_variants_are_evaluated_and_compared_like_runs(pruned):
    result, folder = pruned
    baseline, variant = (folder / "variants" / name for name in ("baseline", "prune"))
    _, row = evaluations.compare_runs([baseline, variant], "test", 100)
    delta = result.variants[1]["delta"]
    assert row["f1_change"].value == pytest.approx(delta["f1_macro_tuned"])
    assert row["auroc_change"].value == pytest.approx(delta["auroc_macro"])
    for run in (variant, folder):  # the last variant's are the run's
        found = evaluations.evaluate_run(run, "test", None, 100)
        assert found["subgroups"]
        assert found["scores"]["macro"]["f1"][0] == pytest.approx(result.metrics["test"]["f1_macro_tuned"])
    macro = result.evaluation["test"]["scores"]["macro"]
    assert macro["f1"][0] == pytest.approx(result.metrics["test"]["f1_macro_tuned"])


def test_files_describe_themselves_and_give_what_was_scored(pruned):
    result, folder = pruned
    check(result, folder, "prune")
    for one in result.variants:
        check_files(folder, one)
    (variant,) = result.variants[1:]
    file = folder / "variants" / "prune" / "model.onnx"
    described = read_metadata(file)
    own, in_checkpoint = variant["chosen"], read_checkpoint(file.with_suffix(".ckpt"))["ecg_lightning"]
    assert in_checkpoint["chosen"].keys() == own.keys()  # of what PyTorch predicts
    assert in_checkpoint["chosen"]["temperature"] == in_checkpoint["deployed"]["temperature"]
    assert described.choices.as_dict() == own
    assert own != result.variants[0]["chosen"]  # each variant has its own
    predicted = read_predictions(file.parent / "predictions.csv")
    assert np.allclose(described.choices.bounds, Choices.fit(predicted["val"]).bounds)
    assert described.compression == ("PruneL1",)
    assert described.model == "deit"
    sums = (folder / "variants" / "prune" / "model.onnx.sha256").read_text().split()
    assert sums[1] == "model.onnx"
    signals = torch.randint(-500, 500, (3, 12, 1000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    loaded = load_classifier(folder / "variants" / "prune" / "model.ckpt")
    with torch.inference_mode():
        expected = loaded(signals).numpy()
    found = open_runtime(file, "onnxruntime").logits(to_millivolts(signals))
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.slow
def test_a_chain_of_structural_stages_loads_again(compress):
    """Shapes, activations and int8 modules are all built again from the checkpoint's description."""
    result, folder = compress(
        "act_swap",
        "effnetv2",
        "+schema/stage@compression.stages.thin=prune_structured",
        "+schema/stage@compression.stages.quantize=fx_qat",
    )
    for one in result.variants:
        check_files(folder, one)  # against the exported files, which hold what was trained
    kinds = {type(module).__name__ for module in load_classifier(folder / "variants" / "thin" / "model.ckpt").modules()}
    assert "ReLU6" in kinds
    assert "SiLU" not in kinds


@pytest.mark.slow
def test_untuned_effect_is_measured_without_training(compress):
    result, _ = compress("prune", "resnet18d", "compression.fine_tune.epochs=0")
    assert result.variants[1]["timing"] == {"fit_s": 0.0, "epochs": 0.0}


def test_what_was_finished_before_ctrl_c_is_kept(compress, monkeypatch):
    def stopped(self, classifier, context):
        raise KeyboardInterrupt

    monkeypatch.setattr(PruneL1, "apply", stopped)
    with pytest.raises(UnfinishedError) as stop:
        compress("prune", "deit")
    assert isinstance(stop.value.cause, KeyboardInterrupt)
    result = stop.value.result
    assert [one["name"] for one in result.variants] == ["baseline"]
    assert result.variants[0]["metrics"]["test"]["f1_macro_tuned"] > 0
    assert "baseline/model.onnx" in result.artifacts
    # The uncompressed model's scores are not those of what was asked for.
    assert (result.score, result.metrics, result.evaluation, result.chosen) == (None, {}, {}, {})


def test_a_stage_that_fails_after_the_training_leaves_no_finished_run(configure, synthetic_root, tmp_path, monkeypatch):
    """What was finished is measured, and the folder does not pass for a run that needs nothing more."""

    def broken(self, classifier, context):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(PruneL1, "apply", broken)
    settings = ["model=vit", *SIZES["vit"], "frontend.size=[32,64]", "trainer.max_epochs=1", *QUICK]
    data = ["data=ptbxl", f"data.root={synthetic_root}"]
    cfg = configure(*settings, *data, "compression=prune", output_dir=tmp_path)
    with pytest.raises(UnfinishedError) as stop:
        compressing.run_after_training(cfg, {"model": "vit"})
    result = stop.value.result
    (baseline,) = result.variants
    assert any(row.get("p50_ms") for row in baseline["runtimes"])
    assert baseline["timing"]["epochs"] == 1  # of the training
    assert result.score is None
    assert not result.metrics
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "predictions.csv").exists()
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def test_a_training_that_diverged_is_not_repeated_in_every_cell(configure, tmp_path, monkeypatch):
    started = []

    def diverge(*_, **__):
        started.append(1)
        raise TrainingDivergedError("the training loss is nan")

    monkeypatch.setattr(first_training, "train", diverge)
    for compression in ("prune", "bf16"):
        with pytest.raises(TrainingDivergedError, match="is nan"):
            first_training.train_first(configure(f"compression={compression}"), {}, [], tmp_path)
    assert len(started) == 1
    with pytest.raises(TrainingDivergedError):
        first_training.train_first(configure("seed=1"), {}, [], tmp_path)
    assert len(started) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "compression"),
    [
        *(
            ("resnet1d_wang", compression)
            for compression in ("ptq", "qat", "qat_fbgemm", "distill", "prune_structured")
        ),
        ("lstm", "ptq_dynamic"),
        *(("repvgg_a0", compression) for compression in ("prune", "qat_fbgemm")),
    ],
)
def test_windows_recurrences_and_branches_are_compressed_too(compress, compression, model):
    result, folder = compress(compression, model)
    check(result, folder, compression)
    for one in result.variants:
        check_files(folder, one)


@pytest.mark.slow
def test_what_no_runtime_computes_in_int8_is_refused(compress, monkeypatch):
    """As OpenVINO leaves a recurrent layer in float; whether the head is, too, depends on the processor."""
    monkeypatch.setattr(
        deploy, "barely_int8", lambda runtime, n: f"{runtime.name} computes only 0 of 3 products in int8"
    )
    with pytest.raises(UnfinishedError) as stop:
        compress("ptq", "lstm")
    assert isinstance(stop.value.cause, UnsupportedModelError)
    assert "openvino: openvino computes only 0 of 3 products in int8" in str(stop.value.cause)


def test_attention_counts_as_products():
    class Attention(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    assert count_macs(Attention(), torch.zeros(1, 3, 129, 64)) == 2 * 3 * 129 * 129 * 64


@pytest.mark.parametrize("both_ways", [False, True])
def test_recurrent_layers_count_their_matrices_at_every_step(both_ways):
    layers = torch.nn.LSTM(12, 16, num_layers=2, bidirectional=both_ways)
    weights = sum(weight.numel() for weight in layers.parameters() if weight.dim() == 2)
    assert count_macs(layers, torch.zeros(250, 1, 12)) == 250 * weights


def test_fourier_transforms_are_not_counted_as_nothing():
    class Transform(torch.nn.Module):
        def forward(self, x):
            return torch.fft.irfft(torch.fft.rfft(x))

    assert count_macs(Transform(), torch.zeros(1, 12, 250)) is None


@pytest.mark.slow
def test_pt2_files_on_request(compress):
    result, folder = compress("none", "deit", "compression.pt2=true", "compression.latency.rounds=1")
    path = folder / result.artifacts["baseline/model.pt2"]
    signals = torch.randint(-500, 500, (3, 12, 1000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    extra = {KEY: ""}
    logits, _ = torch.export.load(path, extra_files=extra).module()(torch.from_numpy(to_millivolts(signals)))
    about = parse(json.loads(extra[KEY]))
    assert about.as_dict() == read_metadata(path.with_suffix(".onnx")).as_dict()
    assert read_checkpoint(path.with_suffix(".ckpt"))["ecg_lightning"]["deployed"]["temperature"] > 0
    expected = open_runtime(path.with_suffix(".onnx"), "onnxruntime").logits(to_millivolts(signals))
    assert np.abs(logits.detach().numpy() - expected).max() < 1e-4
    assert path.with_name("model.pt2.sha256").read_text().split()[1] == "model.pt2"


@pytest.mark.slow
def test_pt2_files_of_pt2e_need_torchao_alone(compress):
    """Its operators are torchao's; the process that wrote the file has them already."""
    result, folder = compress(
        "qat", "resnet1d", "compression.pt2=true", "compression.fine_tune.epochs=0", "compression.latency.rounds=1"
    )
    path = folder / result.artifacts["quantize/model.pt2"]
    code = (
        "import sys, torch, torchao.quantization.pt2e\n"
        "print(torch.export.load(sys.argv[1]).module()(torch.zeros(3, 12, 1000))[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "torch.Size([3, 5])", done.stderr


def test_a_stage_chooses_its_epoch_by_its_own_metric(configure, configure_compression, tmp_path):
    """Not by the training's, F1 at 0.5, which would choose by a calibration that is redone after the stage."""
    for whole in (configure("compression=prune"), configure_compression("ckpt_path=unused.ckpt", "compression=prune")):
        own = stage_fit.StageFit(whole, {}, None, None, tmp_path)._settings_of(3)
        assert own.monitor == own.callbacks.early_stopping.monitor == "val/auroc_macro"
        assert own.trainer.max_epochs == 3
        assert own.paths.output_dir == str(tmp_path)
    assert configure("compression=prune").monitor == "val/f1_macro"


def test_a_fine_tuning_has_the_recipe_that_is_set(configure, tmp_path):
    classifier, teacher = (build_tiny(configure, "resnet1d") for _ in range(2))
    recipe = [
        *("compression.fine_tune.lr=0.002", "compression.fine_tune.weight_decay=0.2", "compression.fine_tune.warmup=1"),
        *("compression.fine_tune.alpha=0.25", "compression.fine_tune.temperature=2"),
        "compression.fine_tune.monitor=val/f1_macro",
    ]
    fit = stage_fit.StageFit(configure("compression=prune", *recipe), {}, None, teacher, tmp_path)
    assert fit._settings_of(1).monitor == "val/f1_macro"
    for own_rate, rate in ((None, 0.002), (0.001, 0.001)):
        fit._prepare(classifier, own_rate)
        optimizer = make_optimizer(classifier, classifier.settings.optimizer)
        assert {group["lr"] for group in optimizer.param_groups} == {rate}
        assert {group["weight_decay"] for group in optimizer.param_groups} == {0.2, 0.0}
        factors = [learning_rate_factor(step, 10, classifier.settings.scheduler) for step in range(10)]
        assert factors == sorted(factors)  # it rises to the end
        assert (classifier.distillation.alpha, classifier.distillation.temperature) == (0.25, 2)
        classifier.distillation = None  # as after a fit


@pytest.mark.parametrize(("setting", "during"), [("null", 1), ("2", 2)])
def test_a_stage_is_trained_with_the_faster_threads_alone(
    configure, synthetic_root, monkeypatch, tmp_path, setting, during
):
    """Measured once for all fits of a stage; what follows, such as the timing of its files, has those of before."""
    chosen = []
    monkeypatch.setattr(stage_fit, "choose_threads", lambda *given: chosen.append(given) or (1, None))
    monkeypatch.setattr(stage_fit, "records_of_an_epoch", lambda *_: 10)
    fit = stage_fit.StageFit(configure(f"hardware.threads={setting}"), {}, None, None, tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(2):
            with fit._faster_threads(None, "32-true", 3):
                assert torch.get_num_threads() == during
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [given[3] for given in chosen] == ([30] if during == 1 else [])


@pytest.mark.slow
def test_a_fit_that_only_harms_gives_back_its_start(compress, monkeypatch):
    monkeypatch.setattr(stage_fit, "_best_score", lambda trainer: -1.0)
    result, _ = compress("prune", "resnet18d")
    untuned, _ = compress("prune", "resnet18d", "compression.fine_tune.epochs=0")
    assert any("fine-tuning did not improve the network" in note for note in result.variants[1]["notes"])
    assert result.variants[1]["metrics"]["val"] == untuned.variants[1]["metrics"]["val"]


@pytest.mark.parametrize(
    ("broken", "allowed"),
    [
        (lambda p: p, True),
        (lambda p: p + 1e-5, True),
        (lambda p: np.full_like(p, 0.5), False),
        (lambda p: p[::-1], False),
        (lambda p: p[:, ::-1], False),
        (lambda p: np.concatenate([p[:, :4], np.full_like(p[:, 4:], 0.02)], axis=1), False),
        (lambda p: np.where(np.arange(5) == 2, 0.5, p), False),
        (lambda p: np.full_like(p, np.nan), False),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_file_that_computes_something_else_is_recognised(broken, allowed, precision):
    random = np.random.default_rng(0)
    guesses = np.stack([random.beta(1, 1 + k, 128) for k in range(5)], axis=1)
    guesses[:, 4] *= 0.1  # a rare class
    assert parity.agree(guesses, broken(guesses), precision) == allowed


def test_a_float_file_that_disagrees_is_an_error(compress, monkeypatch):
    logits = ONNXRuntime.logits
    monkeypatch.setattr(ONNXRuntime, "logits", lambda self, signals: logits(self, signals)[:, ::-1])
    with pytest.raises(ExportError, match="baseline: onnxruntime fp32 does not reproduce the trained model"):
        compress("none", "deit")


@pytest.mark.slow
def test_a_float_file_that_a_runtime_cannot_open_is_skipped_and_the_others_go_on(compress, monkeypatch):
    def refuse(self, path, *_):
        raise ModelFileError(f"{path.name} cannot be run by OpenVINO")

    monkeypatch.setattr(OpenVINORuntime, "__init__", refuse)
    result, folder = compress("none", "deit")
    (baseline,) = result.variants
    rows = {row["runtime"]: row for row in baseline["runtimes"]}
    assert rows["openvino"]["skipped"] == "model.onnx cannot be run by OpenVINO"
    assert "model.onnx cannot be run by OpenVINO" in baseline["notes"]
    assert (baseline["runtime"], baseline["precision"]) == ("onnxruntime", "fp32")
    assert rows["onnxruntime"]["p50_ms"] > 0
    assert rows["torch"]["p50_ms"] > 0
    assert (folder / "variants" / "baseline" / "model.onnx").is_file()


@pytest.mark.slow
def test_an_int8_runtime_that_disagrees_is_refused_and_the_others_go_on(compress, monkeypatch):
    logits = ONNXRuntime.logits

    def shifted(self, signals):
        found = logits(self, signals)
        return found + 3 if self.precision == "int8" else found

    monkeypatch.setattr(ONNXRuntime, "logits", shifted)
    result, _ = compress("qat_fbgemm", "resnet18d", "compression.fine_tune.epochs=0")
    rows = {row["runtime"]: row for row in result.variants[1]["runtimes"]}
    assert "does not reproduce the trained model" in rows["onnxruntime"]["skipped"]
    assert rows["openvino"]["p50_ms"] > 0


@pytest.mark.slow
def test_stages_train_in_training_mode_with_the_uncompressed_model_as_teacher(compress, checkpoint, monkeypatch):
    """Normalisation and augmentation are on, and the loss is partly the teacher's."""
    checkpoint("resnet18d")
    seen, trained = [], []
    step = ECGClassifier.loss_and_logits

    def watched(self, batch):
        if self.trainer.training:
            norms = [m for m in self.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            seen.append((all(m.training for m in norms), self.frontend.augmentation.training, self.distillation.alpha))
            assert self.distillation.teacher.training is False
            assert not all(weight.is_contiguous() for weight in self.network.parameters())  # channels_last
            trained.append(self)
        return step(self, batch)

    monkeypatch.setattr(ECGClassifier, "loss_and_logits", watched)
    result, _ = compress("prune", "resnet18d")
    assert seen == [(True, True, 0.5)] * 3
    # Exporters write another graph of weights in that order.
    assert all(weight.is_contiguous() for weight in trained[-1].network.parameters())
    assert result.variants[1]["timing"]["fit_s"] > 0


@pytest.mark.parametrize("prepare", ["fx", "pt2e"])
def test_ranges_come_from_training_records_alone(make_small, prepare):
    """Observers stand still in evaluation, and in the late epochs; batch statistics in the late epochs."""
    network, inputs = make_small
    if prepare == "fx":
        with fx._explained(network):
            prepared = fx.FxQAT(FxQATConfig())._prepare(fx._traced(network), inputs, ())
        observers = fx.Observers()
    else:
        prepared = prepare_pt2e(network, inputs)
        observers = fx.Observers(freeze_statistics)
    module = torch.nn.Module()
    module.network = prepared

    def moved(training: bool, scale: float) -> bool:
        prepared.train(training)
        before = {name: value.clone() for name, value in prepared.state_dict().items() if value.is_floating_point()}
        prepared(inputs * scale)
        return any(
            not torch.equal(before[name], value) for name, value in prepared.state_dict().items() if name in before
        )

    trainer = SimpleNamespace(current_epoch=0, max_epochs=3)
    prepared.train()
    observers.on_train_epoch_start(trainer, module)
    assert moved(True, 2)
    observers.on_validation_start(trainer, module)
    assert not moved(False, 5)
    trainer.current_epoch = 1
    observers.on_train_epoch_start(trainer, module)
    assert moved(True, 8)
    trainer.current_epoch = 2
    prepared.train()
    observers.on_train_epoch_start(trainer, module)
    before = {name: value.clone() for name, value in prepared.state_dict().items() if value.is_floating_point()}
    prepared(inputs * 20)
    assert all(torch.equal(before[name], value) for name, value in prepared.state_dict().items() if name in before)


@pytest.fixture
def make_small():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4 * 64, 5))
    return network, torch.randn(4, 1, 8, 8)


@pytest.mark.slow
def test_an_int8_checkpoint_is_refused_before_anything_is_read(compress, configure_compression, tmp_path):
    _, folder = compress("ptq_dynamic", "vit")
    path = folder / "variants" / "quantize" / "model.ckpt"
    cfg = configure_compression(f"ckpt_path={path}", "compression=prune", *QUICK, output_dir=tmp_path / "again")
    with pytest.raises(ConfigError, match="is already int8"):
        compressing.run(cfg)


def test_nothing_follows_quantization(compress):
    with pytest.raises(ConfigError, match=r"compression.stages.more comes after quantize"):
        compress("qat", "vit", "+schema/stage@compression.stages.more=prune_l1")


def test_int8_kernels_need_a_processor_that_has_them(compress, monkeypatch):
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["qnnpack"], raising=False)
    with pytest.raises(HardwareUnavailableError, match="x86"):
        compress("qat_fbgemm", "vit")


def test_another_folder_keeps_the_folds_of_the_checkpoint(compress, checkpoint, synthetic_root):
    """data=ptbxl brings PTB-XL's own; with them a fold that chose the checkpoint could become its test fold."""
    description = read_checkpoint(checkpoint("vit")[0])["ecg_lightning"]
    own = {"train_folds": [1, 2], "val_folds": [3], "test_folds": [4, 5], "batch_size": 8}
    known = description | {"data": {**description["data"], **own}}
    asked = SimpleNamespace(data=PTBXLConfig(**description["data"] | {"root": "elsewhere"}))
    found = data_settings(asked, known)
    assert found["root"] == "elsewhere"
    assert {name: found[name] for name in own} == own
    asked.data.test_folds = [7]
    named = data_settings(asked, known)
    assert named["test_folds"] == [7]
    assert named["val_folds"] == [3]


def test_folds_that_the_checkpoint_was_trained_on_are_refused(compress, synthetic_root):
    with pytest.raises(ConfigError, match="was trained on fold 8"):
        compress(
            "none", "vit", "data=ptbxl", f"data.root={synthetic_root}", "data.val_folds=[8]", "data.train_folds=[1]"
        )
