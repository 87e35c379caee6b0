"""The CUDA runtime: its arithmetic on a processor, everything else on a device."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from deployed import assert_missing_samples_give_nan, export_tiny
from tiny import TINY

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.checkpoints.loading import save_classifier
from ecg_lightning.deployment.float_files import export_float
from ecg_lightning.deployment.runtimes.cuda_runtime import CudaRuntime, _kind
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.errors import HardwareUnavailableError


@pytest.fixture
def classifier(configure):
    cfg = configure("model=vit", *TINY["vit"], "model.dim=64", "model.mlp_dim=128", "frontend.size=[32,64]")
    made = build_classifier(cfg.model, cfg.frontend, n_samples=1000, seed=0).eval()
    folds = {"train": [1], "val": [9], "test": [10]}
    made.description = {"format": 1, "choices": {}, "seed": 0, "folds": folds}
    made.description |= {"model": asdict(cfg.model), "frontend": asdict(cfg.frontend)}
    made.description |= {"classes": list(made.classes), "sampling_rate": 100, "n_samples": 1000}
    made.description |= {"batch_size": 32, "label_rule": "benchmark"}
    return made


@pytest.fixture
def record():
    return np.random.default_rng(0).normal(0, 0.3, (2, 12, 1000)).astype(np.float32)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02), ("int8", 0.05)])
def test_arithmetic_on_a_processor(classifier, record, precision, tolerance):
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(record)).numpy()
    runtime = CudaRuntime(classifier, "cuda-eager", precision, device="cpu")
    assert np.abs(runtime.logits(record) - expected).max() < tolerance
    assert_missing_samples_give_nan(runtime)


def test_a_model_for_a_device_is_a_file_to_deploy_too(classifier, tmp_path):
    *_, last = export_float(classifier, tmp_path, "cuda")
    assert (last.path, last.runtime) == (tmp_path / "model.onnx", "onnxruntime")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_device_it_says_so(classifier, tmp_path):
    path = save_classifier(classifier, tmp_path / "model.ckpt")
    with pytest.raises(HardwareUnavailableError, match="no CUDA device"):
        open_runtime(path, "cuda-graphs", "bf16")


@pytest.mark.parametrize(
    ("kernel", "precision"),
    [
        ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT", "bf16"),
        ("nvjet_qqtst_128x128_128x6_2x1_v_bz_TNN", "fp8"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "bf16"),
        ("cutlass_80_simt_sgemm_128x64_8x5_tn_align1", "fp32"),
        ("sm80_xmma_gemm_i8i8_i8i32_f32_tn_n", "int8"),
        ("triton_tem_fused_addmm_3", "unknown"),
    ],
)
def test_a_kernels_precision_is_its_names_or_unknown(kernel, precision):
    assert _kind(kernel)[1] == precision


def test_a_session_that_fell_back_to_the_processor_is_no_device(monkeypatch, configure, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    _, onnx, _ = export_tiny(configure, tmp_path)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(HardwareUnavailableError, match="cannot load its CUDAExecutionProvider and uses"):
        open_runtime(onnx, "cuda-onnxruntime")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "fp8", "2:4"])
@pytest.mark.parametrize("runtime", ["cuda-eager", "cuda-compile", "cuda-graphs"])
def test_every_way_runs_on_a_device(classifier, record, tmp_path, runtime, precision):
    path = save_classifier(classifier, tmp_path / "model.ckpt")
    opened = open_runtime(path, runtime, precision)
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(record)).numpy()
    assert np.abs(opened.logits(record) - expected).max() < (0.5 if precision == "2:4" else 0.1)
    assert opened.kernels()
