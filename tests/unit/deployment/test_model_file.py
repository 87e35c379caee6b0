"""A stranger's model file is refused before it takes memory or time, in one sentence."""

import json
import resource
import shutil
import time
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from deployed import describe
from tiny import ROOT
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.deployment import model_file
from ecg_lightning.deployment.checksum import check_checksum
from ecg_lightning.deployment.metadata import KEY, read_metadata, write_metadata
from ecg_lightning.deployment.predictor import Predictor
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import sizes_of
from ecg_lightning.errors import ModelFileError
from ecg_lightning.system import memory_limit

onnx = pytest.importorskip("onnx")
pytest.importorskip("openvino")
EXPORTED = ROOT / "tests" / "fixtures_6647fd0" / "exported"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(params=[".onnx", ".xml"])
def path(request, tmp_path):
    """A good file, without a checksum."""
    for suffix in {request.param, ".bin"}:
        shutil.copyfile(EXPORTED / f"model{suffix}", tmp_path / f"model{suffix}")
    return tmp_path / f"model{request.param}"


@pytest.fixture
def quick():
    """Neither much time nor much memory."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def _describe_by(path, text):
    """Put any text where the description stands."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {KEY: text})
        path.write_bytes(model.SerializeToString())
    else:
        tree = ElementTree.parse(path)
        tree.find(f"rt_info/{KEY}").set("value", text)
        tree.write(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sampling_rate": 10**9}, "sampling_rate is 1000000000, expected a whole number from 50 to 20,000"),
        ({"sampling_rate": 10**400}, "sampling_rate"),
        ({"n_samples": 2 * 10**9}, "n_samples is 2000000000"),
        ({"n_samples": 60_001}, "from 1 to 60,000"),
        ({"n_samples": True}, "n_samples"),
        ({"classes": ["A", "A", "B", "C", "D"]}, "a repeated or an empty name"),
        ({"classes": ["A", "", "B", "C", "D"]}, "an empty name"),
        ({"classes": [], "thresholds": [], "output_thresholds": [], "conformal": []}, "holds no name"),
        ({"classes": ["\x1b]0;gotcha\x07", "A", "B", "C", "D"]}, "control characters"),
        ({"classes": ["A" * 65, "B", "C", "D", "E"]}, "65 characters"),
        ({"classes": [str(number) for number in range(1001)]}, "1,001 values"),
        (
            {"thresholds": [0.5, 0.5, 0.5, 0.5, 1.5]},
            r"thresholds.calibrated is .* 1.5\], not 5 numbers from 0 to 1",
        ),
        ({"thresholds": [float("nan")] * 5}, r"calibrated is \[nan"),
        ({"output_thresholds": [-0.1] * 5}, r"thresholds.raw is \[-0.1"),
        ({"temperature": float("inf")}, r"temperature is \[inf\], not 1 numbers from 0.01 to 100"),
        ({"temperature": 1e-300}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"conformal": [[0.1, float("inf")]] * 5}, r"conformal is \[0.1, inf"),
        ({"conformal": [[0.1, 0.9]]}, "conformal holds 1 values for 5 classes"),
        ({"conformal": [[0.1]] * 5}, "does not hold two numbers for each class"),
        ({"conformal": 1}, "conformal is 1, expected a list"),
        ({"platt": [[1, 1e13]] * 5}, "platt is"),
        ({"platt": [[1, 0]] * 5, "link": "softmax"}, "the classes of a softmax are not independent"),
        ({"n_validation": 10**10}, "n_records is 10000000000"),
        ({"temperature": 0.0}, "temperature"),
        ({"thresholds": [0.5]}, "thresholds holds 1 values for 5 classes"),
        ({"output_thresholds": []}, "output_thresholds holds 0 values for 5 classes"),
        ({"link": "eval"}, "link is 'eval'"),
        ({"sampling_rate": "100"}, "sampling_rate"),
        ({"leads": ["I"]}, "1 leads"),
        ({"format": 2}, "format 2, this version"),
        ({"alpha": 2}, "alpha"),
        ({"model": "x" * 1001}, "1,001 characters"),
        ({"data_licence": "\x1b[2J"}, "control characters"),
        ({"runtime": "\x1b[2J"}, "runtime"),
        ({"precision": "float"}, "precision"),
        ({"format": DEEP}, "format"),
    ],
)
def test_descriptions_have_bounds(change, match, tmp_path, quick):
    path = tmp_path / "model.onnx"
    shutil.copyfile(EXPORTED / "model.onnx", path)
    _describe_by(path, json.dumps({**describe().as_dict(), **change}))
    with pytest.raises(ModelFileError, match=match) as refused:
        read_metadata(path)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 50_000, "1" * 5000, "[1e999]", "\x1b", "", "x" * (2**20 + 1)])
def test_descriptions_that_are_none_are_refused(path, text, quick):
    if path.suffix == ".xml" and text == "\x1b":
        pytest.skip("XML has no control characters")
    _describe_by(path, text)
    with pytest.raises(ModelFileError, match=r"(damaged|says nothing)"):
        read_metadata(path)


@pytest.mark.parametrize("size", [600 * 2**20, 3 * 2**30])
@pytest.mark.parametrize("begin", [0, None])
def test_large_files_are_refused_before_they_are_read(path, size, begin, quick):
    """Files with holes: long, but nothing on the disk. One begins as a good file does."""
    with path.open("r+b") as file:
        file.truncate(begin)
        file.truncate(size)
    for refuse in (read_metadata, lambda path: open_runtime(path, "openvino")):
        with pytest.raises(ModelFileError, match=r"(damaged or no|more than any exported model)"):
            refuse(path)


def test_weights_that_the_model_has_none_of_are_refused(tmp_path, quick):
    for suffix in (".xml", ".bin"):
        shutil.copyfile(EXPORTED / f"model{suffix}", tmp_path / f"model{suffix}")
    with (tmp_path / "model.bin").open("r+b") as file:
        file.truncate(600 * 2**20)
    with pytest.raises(ModelFileError, match=r"bytes of weights, but model.bin holds 629,145,600"):
        read_metadata(tmp_path / "model.xml")
    with (tmp_path / "model.bin").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ModelFileError, match="more than any exported model"):
        read_metadata(tmp_path / "model.xml")


@pytest.mark.parametrize(
    "content",
    [
        "<net>" * 100_000,
        '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><net>&b;</net>',
        '<!DOCTYPE net SYSTEM "file:///etc/passwd"><net/>',
        '<net><layers><layer><data offset="0" size="x"/></layer></layers></net>',
        f'<net><layers><layer><data offset="0" size="{"9" * 5000}"/></layer></layers></net>',
    ],
)
def test_xml_that_is_no_model_is_refused(tmp_path, content, quick):
    (tmp_path / "model.xml").write_text(content)
    for refuse in (read_metadata, lambda path: open_runtime(path, "openvino")):
        with pytest.raises(ModelFileError, match="damaged or not an OpenVINO model"):
            refuse(tmp_path / "model.xml")


def test_more_operations_than_any_model_has_are_refused(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(model_file, "_MAX_FIELDS", 100_000)
    (tmp_path / "model.onnx").write_bytes(b"\x3a\x80\x89\x7a" + b"\x0a\x00" * 1_000_000)
    with pytest.raises(ModelFileError, match="damaged or no ONNX model"):
        read_metadata(tmp_path / "model.onnx")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "shape", [("batch", 12, 2 * 10**9), ("batch", 12, 2**40), (2**40, 12, 1000), (2, 12, 1000), ()]
)
def test_inputs_of_any_size_are_refused_before_anything_is_allocated(tmp_path, runtime, shape, quick):
    path = tmp_path / "model.onnx"
    model = onnx.load(EXPORTED / "model.onnx")
    del model.graph.input[:], model.graph.value_info[:]
    model.graph.input.append(onnx.helper.make_tensor_value_info("millivolts", onnx.TensorProto.FLOAT, shape))
    onnx.save(model, path)
    with pytest.raises(ModelFileError):
        open_runtime(path, runtime)
    done = CliRunner().invoke(app, ["benchmark", str(path)])
    assert done.exit_code == 3
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit)


def test_checksum_files_are_read_to_two_lines(tmp_path, quick):
    path = tmp_path / "model.onnx"
    shutil.copyfile(EXPORTED / "model.onnx", path)
    with path.with_name("model.onnx.sha256").open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(ModelFileError, match="is not the file that was exported"):
        check_checksum(path)


def test_sizes_are_of_the_bytes_on_the_disk(path):
    contents = [file.read_bytes() for file in sorted(path.parent.iterdir()) if file.suffix in (path.suffix, ".bin")]
    contents = contents if path.suffix == ".xml" else [path.read_bytes()]
    expected = {"bytes": sum(map(len, contents)), "compressed_bytes": sum(len(zlib.compress(one)) for one in contents)}
    assert sizes_of(path) == expected


def test_good_files_are_still_read(path):
    write_metadata(path, describe(model="resnet1d"))
    assert read_metadata(path).as_dict() == describe(model="resnet1d").as_dict()
    signals = np.zeros((3, 12, 1000), np.float32)
    assert open_runtime(path, "openvino").logits(signals).shape == (3, 5)


def _grow(path, *nodes, **shapes):
    """Add operations to a good file whose last result, `grown`, is summed and added to the logits."""
    model = onnx.load(EXPORTED / "model.onnx")
    (head,) = [node for node in model.graph.node if "logits" in node.output]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["own" if name == "logits" else name for name in names]
    assert "own" in head.output
    summed = onnx.helper.make_node("ReduceSum", ["grown"], ["sum"], keepdims=0)
    model.graph.node.extend([*nodes, summed, onnx.helper.make_node("Add", ["own", "sum"], ["logits"])])
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(shape), name) for name, shape in shapes.items()
    )
    path.write_bytes(model.SerializeToString())


def _largest(name="first"):
    return onnx.helper.make_node("ReduceMax", ["millivolts"], [name], keepdims=0)


@pytest.mark.skipif(not memory_limit._STATUS.is_file(), reason="the system cannot limit a process's data")
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["constant", "repeated", "outer product"])
def test_graphs_that_ask_for_memory_get_none(tmp_path, runtime, kind, quick):
    node, path = onnx.helper.make_node, tmp_path / "model.onnx"
    if kind == "constant":
        _grow(path, node("ConstantOfShape", ["shape"], ["grown"]), shape=[2**31])
    elif kind == "repeated":
        _grow(path, _largest(), node("Expand", ["first", "shape"], ["grown"]), shape=[2**31])
    else:
        sides = [node("Expand", ["first", name], [f"of_{name}"]) for name in ("row", "column")]
        product = node("Mul", ["of_row", "of_column"], ["grown"])
        _grow(path, _largest(), *sides, product, row=[1, 50_000], column=[50_000, 1])
    write_metadata(path, describe())
    with pytest.raises(ModelFileError, match="needs more memory than any exported model"):
        Predictor(path, runtime, threads=1)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_graphs_that_may_run_for_ever_are_refused(path, quick):
    if path.suffix == ".onnx":
        model = onnx.load(path)
        model.graph.node.append(onnx.helper.make_node("Loop", ["n", ""], ["x"]))
        path.write_bytes(model.SerializeToString())
    else:
        path.write_text(path.read_text().replace('type="Convolution"', 'type="TensorIterator"', 1))
    with pytest.raises(ModelFileError, match=r"it holds the operation (Loop|TensorIterator)"):
        open_runtime(path, "openvino")
