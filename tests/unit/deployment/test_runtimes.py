"""Every runtime opens what it should, says what it ran, and refuses the rest in one sentence."""

import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from deployed import export_tiny, outputs, signals, tiny_classifier

from ecg_lightning.deployment import extras
from ecg_lightning.deployment.measuring import benchmark as deployment_benchmark
from ecg_lightning.deployment.measuring.benchmark import benchmark
from ecg_lightning.deployment.measuring.latency import measure, peak_memory_mib, summarise
from ecg_lightning.deployment.runtimes import opening as runtimes
from ecg_lightning.deployment.runtimes.onnx_runtime import ONNXRuntime
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import counted, sizes_of
from ecg_lightning.deployment.runtimes.torch_runtime import TorchRuntime
from ecg_lightning.errors import ConfigError, HardwareUnavailableError, MissingPackageError, ModelFileError
from ecg_lightning.hardware.processor import processor_has_bf16

pytest.importorskip("openvino")
needs_bf16 = pytest.mark.skipif(not processor_has_bf16(), reason="the processor has no bfloat16")


@pytest.fixture(scope="module")
def exported(configure, tmp_path_factory):
    return export_tiny(configure, tmp_path_factory.mktemp("exported"))


def _counts(kernels, precision):
    return sum(kernel["count"] for kernel in kernels if kernel["precision"] == precision)


def test_float_kernels_are_listed(exported):
    module, file, xml = exported
    # Each of the two blocks has four linear layers; then there are the head, the patches and the front end.
    for opened in (open_runtime(file, "onnxruntime"), open_runtime(xml, "openvino"), open_runtime(file, "openvino")):
        assert _counts(opened.kernels(), "fp32") >= 2 * 4 + 2
        assert _counts(opened.kernels(), "bf16") == 0
    opened = open_runtime(xml, "openvino")
    assert {"op": "Attention", "precision": "fp32", "count": 2} in opened.kernels()
    kernels = TorchRuntime(module, 1000, "fp32", threads=1).kernels()
    assert {"op": "aten::addmm", "precision": "fp32", "count": 9} in kernels


@needs_bf16
def test_bf16_is_what_really_runs(exported):
    module, _, xml = exported
    assert _counts(open_runtime(xml, "openvino", "bf16").kernels(), "bf16") >= 10
    assert _counts(open_runtime(xml, "openvino", "fp32").kernels(), "bf16") == 0
    opened = TorchRuntime(module, 1000, "bf16", threads=1)
    assert _counts(opened.kernels(), "bf16") >= 10
    expected = outputs(module, signals())[0]
    assert np.abs(opened.logits(signals()) - expected).max() < 0.05
    assert np.abs(open_runtime(xml, "openvino", "bf16").logits(signals()) - expected).max() < 0.05


def test_a_static_batch_gives_the_same(exported):
    module, _, xml = exported
    opened = open_runtime(xml, "openvino", batch=3)
    assert np.abs(opened.logits(signals(3)) - outputs(module, signals(3))[0]).max() < 1e-4


def test_results_are_kept_when_the_next_batch_runs(exported):
    module, file, xml = exported
    for opened in (open_runtime(file, "onnxruntime"), open_runtime(xml, "openvino")):
        first = opened.logits(signals(2))
        opened.logits(-signals(2))
        assert np.abs(first - outputs(module, signals(2))[0]).max() < 1e-4


def test_torch_opens_a_checkpoint(configure, monkeypatch, tmp_path):
    classifier = tiny_classifier(configure, "vit")
    classifier.description = {"n_samples": 1000}
    monkeypatch.setattr("ecg_lightning.checkpoints.loading.load_classifier", lambda path: classifier)
    (tmp_path / "best.ckpt").touch()
    opened = open_runtime(tmp_path / "best.ckpt", "torch")
    with torch.no_grad():
        assert np.allclose(opened.logits(signals()), classifier(torch.from_numpy(signals())).numpy())
    with pytest.raises(ModelFileError, match="no operation that this runtime computes in int8"):
        open_runtime(tmp_path / "best.ckpt", "torch", "int8")


def test_what_cannot_be_is_one_sentence(exported, tmp_path, monkeypatch):
    _, file, xml = exported
    with pytest.raises(ConfigError, match="ONNX Runtime has no bf16 kernels on the CPU"):
        open_runtime(file, "onnxruntime", "bf16")
    with pytest.raises(ConfigError, match="runtime tensorrt: allowed are"):
        open_runtime(file, "tensorrt")
    with pytest.raises(ConfigError, match="precision fp8: only the CUDA runtimes support it"):
        open_runtime(file, "openvino", "fp8")
    with pytest.raises(ModelFileError, match=r"onnxruntime opens only \.onnx files; use openvino"):
        open_runtime(xml, "onnxruntime")
    with pytest.raises(ModelFileError, match="no operation that this runtime computes in int8"):
        open_runtime(xml, "openvino", "int8")
    with pytest.raises(ModelFileError, match=r"no\.onnx is not there"):
        open_runtime(tmp_path / "no.onnx", "openvino")
    (tmp_path / "model.pt2").touch()
    with pytest.raises(ModelFileError, match="can run code"):
        open_runtime(tmp_path / "model.pt2", "torch")
    monkeypatch.setattr(runtimes, "processor_has_bf16", lambda: False)
    with pytest.raises(HardwareUnavailableError, match="no bfloat16"):
        open_runtime(xml, "openvino", "bf16")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_damaged_files(exported, runtime, content, tmp_path, capfd):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported[1].read_bytes()[:-500] if content is None else content)
    with pytest.raises(ModelFileError, match=r"model\.onnx (is damaged|takes)"):
        open_runtime(path, runtime)
    if runtime == "onnxruntime":  # OpenVINO tries its other frontends, and one of them complains from C++
        assert capfd.readouterr() == ("", "")


def test_damaged_or_missing_weights(exported, tmp_path):
    path = tmp_path / "model.xml"
    path.write_bytes(exported[2].read_bytes())
    with pytest.raises(ModelFileError, match=r"model\.bin is not there"):
        open_runtime(path, "openvino")
    path.with_suffix(".bin").write_bytes(b"short")
    with pytest.raises(ModelFileError, match=r"model\.xml is damaged"):
        open_runtime(path, "openvino")


@pytest.mark.filterwarnings("ignore")
def test_foreign_inputs_are_named(tmp_path):
    torch.onnx.export(torch.nn.Linear(4, 2), (torch.randn(1, 4),), tmp_path / "other.onnx", dynamo=True, verbose=False)
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(ModelFileError, match="expected millivolts of shape"):
            open_runtime(tmp_path / "other.onnx", runtime)


def test_missing_package_names_the_extra(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"onnxruntime is not installed. .*\.\[compress\]"):
        open_runtime(exported[1], "onnxruntime")


def test_signals_survive_models_that_were_opened_and_closed(exported):
    """In a process of its own: what this guards against is a crash of the interpreter."""
    program = """
import gc, pathlib, signal, subprocess, sys
from ecg_lightning.deployment.runtimes.opening import open_runtime

seen = []
signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
first, second = (open_runtime(pathlib.Path(sys.argv[1]), "openvino") for _ in range(2))
del first
gc.collect()
del second
gc.collect()
subprocess.run(["true"], check=True)
assert seen
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(exported[1])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_openvino_reports_to_nobody():
    program = "import sys; from ecg_lightning.deployment.extras import import_extra; import_extra('openvino')\n"
    program += "from openvino.tools.ovc import telemetry_utils\n"
    program += "print(telemetry_utils.tm.__name__, sys.modules['openvino_telemetry'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None", "False"]
    assert isinstance(extras.import_extra("openvino"), types.ModuleType)


def test_measure_takes_turns_in_changing_order_and_does_not_time_their_first_call():
    calls = []
    cases = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = measure(cases, rounds=6, warmup=1, min_round_s=0)
    assert calls[:3] == ["a", "b", "c"]
    turns = ["".join(calls[first : first + 6 : 2]) for first in range(3, len(calls), 6)]
    assert len(turns) == 6
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len({*turns}) > 2
    assert calls[3::2] == calls[4::2]  # each turn: once untimed, once timed
    assert {name: latency.n for name, latency in found.items()} == {"a": 6, "b": 6, "c": 6}


def test_latency_of_known_times():
    latency = summarise([[0.001 * number for number in range(1, 101)]])
    assert (latency.p50_ms, latency.p95_ms, latency.n) == (pytest.approx(50.5), pytest.approx(95), 100)
    assert latency.samples_per_s(32) == pytest.approx(32 / 0.0505)


def test_a_fast_case_is_not_judged_by_quiet_moments_alone():
    """A machine that is half as fast in two rounds of three, turns of 50 ms: pooled calls would give a ratio of 16."""
    fast = summarise([[0.005] * 10, [0.010] * 5, [0.010] * 5])
    slow = summarise([[0.060], [0.120], [0.120]])
    assert slow.p50_ms / fast.p50_ms == pytest.approx(12)
    assert (fast.p95_ms, slow.p95_ms, fast.n) == (10, 120, 20)


def test_peak_memory_is_of_a_fresh_process(exported):
    _, file, _ = exported
    assert 20 < peak_memory_mib(file, "onnxruntime") < 300  # this process, with PyTorch, has more
    with pytest.raises(ModelFileError, match=r"was not measured: .*ONNX Runtime has no bf16"):
        peak_memory_mib(file, "onnxruntime", "bf16")


def test_benchmark_opens_every_file_in_every_runtime(exported):
    _, file, xml = exported
    result = benchmark([file, xml], batches=[1, 2], threads=1, rounds=2, warmup=1, min_round_s=0)
    precisions = ["fp32", "bf16"] if processor_has_bf16() else ["fp32"]
    expected = {("model.onnx", "onnxruntime", "fp32")}
    expected |= {(path.name, "openvino", precision) for path in (file, xml) for precision in precisions}
    found = {(row["file"], row["runtime"], row["precision"]) for row in result["rows"]}
    assert found == expected
    assert len(result["rows"]) == 2 * len(expected)
    for row in result["rows"]:
        assert row["n"] == 2
        assert row["samples_per_s"] == pytest.approx(1000 * row["batch"] / row["p50_ms"])
        assert row["kernels"]
        assert 0 < row["compressed_bytes"] < row["bytes"]
        assert row["peak_memory_mib"] > 10
    assert sizes_of(xml)["bytes"] == xml.stat().st_size + xml.with_suffix(".bin").stat().st_size
    assert result["host"]["cores"] >= 1
    with pytest.raises(ModelFileError, match=r"notes\.txt is not there"):
        benchmark([file.with_name("notes.txt")])


def test_one_failing_runtime_ends_no_benchmark(exported, monkeypatch):
    _, file, _ = exported
    refused, failed = ModelFileError("not in ONNX Runtime"), ModelFileError("no memory was measured")

    def opened(path, runtime, *settings):
        if runtime == "onnxruntime":
            raise refused
        return open_runtime(path, runtime, *settings)

    def unmeasured(*_):
        raise failed

    monkeypatch.setattr(deployment_benchmark, "open_runtime", opened)
    monkeypatch.setattr(deployment_benchmark, "peak_memory_mib", unmeasured)
    result = benchmark([file], threads=1, rounds=1, warmup=1, min_round_s=0)
    assert {row["runtime"] for row in result["rows"]} == {"openvino"}
    assert {row["peak_memory_mib"] for row in result["rows"]} == {None}
    assert {"not in ONNX Runtime", "no memory was measured"} <= {*result["skipped"]}
    monkeypatch.setattr(deployment_benchmark, "open_runtime", lambda *_: opened(file, "onnxruntime"))
    with pytest.raises(ModelFileError, match="not in ONNX Runtime"):
        benchmark([file])


@pytest.mark.parametrize(("in_int8", "called"), [(3, False), (8, True)])
def test_a_file_computed_mostly_in_float_is_not_called_int8(exported, monkeypatch, in_int8, called):
    _, file, _ = exported
    kernels = counted([("Conv", "int8")] * in_int8 + [("Conv", "fp32")] * (32 - in_int8))
    monkeypatch.setattr(ONNXRuntime, "kernels", lambda self: kernels)
    result = benchmark([file], threads=1, rounds=1, warmup=1, min_round_s=0)
    found = {row["precision"] for row in result["rows"] if row["runtime"] == "onnxruntime"}
    assert found == ({"int8"} if called else {"fp32"})
    assert any("computes only 3 of 32" in reason for reason in result["skipped"]) != called


def _foreign(path, output, rank_2=True, target=(7, 5)):
    """A file that takes millivolts and reshapes them."""
    onnx = extras.import_extra("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    shape = ["batch", 5] if rank_2 else ["batch"]
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["millivolts", "shape"], [output])],
        "foreign",
        [helper.make_tensor_value_info("millivolts", kinds.FLOAT, ["batch", 12, 1000])],
        [helper.make_tensor_value_info(output, kinds.FLOAT, shape)],
        [helper.make_tensor("shape", kinds.INT64, [len(target)], target)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_files_that_give_something_else_are_refused(tmp_path, runtime):
    with pytest.raises(ModelFileError, match=r"has the first output foo of shape .*, expected logits"):
        open_runtime(_foreign(tmp_path / "foo.onnx", "foo", target=(-1, 5)), runtime)
    with pytest.raises(ModelFileError, match=r"has the first output logits of shape \(\S+,\)"):
        open_runtime(_foreign(tmp_path / "flat.onnx", "logits", rank_2=False, target=(-1,)), runtime)


def test_graphs_that_fail_when_they_run_are_one_sentence(tmp_path):
    broken = open_runtime(_foreign(tmp_path / "broken.onnx", "logits"), "onnxruntime")
    with pytest.raises(ModelFileError, match="cannot be run by ONNX Runtime"):
        broken.logits(np.zeros((1, 12, 1000), np.float32))
