"""Missing samples give NaN in a plain client of an exported file, whatever runtime and precision it asks for."""

from functools import partial

import numpy as np
import pytest
import torch
from deployed import assert_missing_samples_give_nan, deployed, describe, outputs, signals, tiny_classifier

from ecg_lightning.deployment.export import export_onnx, export_openvino, export_pt2
from ecg_lightning.deployment.extras import import_extra, openvino_core
from ecg_lightning.deployment.metadata import write_metadata
from ecg_lightning.deployment.predictor import Predictor
from ecg_lightning.deployment.runtimes.torch_runtime import TorchRuntime
from ecg_lightning.models.ensemble import EnsembleNetwork

for _package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(_package)


class Client:
    """Both outputs of whatever is called, side by side, as one."""

    def __init__(self, name, call):
        self.name, self.precision, self._call = name, "", call

    def logits(self, millivolts):
        return np.concatenate([np.asarray(output) for output in self._call(millivolts)], axis=1)


@pytest.fixture(scope="module")
def classifier(configure):
    return tiny_classifier(configure, "resnet1d")


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("missing")
    file = export_onnx(deployed(classifier), folder / "model.onnx", 12, 1000)
    write_metadata(file, describe())
    return (
        file,
        export_openvino(file, folder / "model.xml"),
        export_pt2(deployed(classifier), folder / "a.pt2", 12, 1000),
    )


def _client(path, hint, batch=None):
    settings = {"INFERENCE_PRECISION_HINT": hint} if hint else {}
    model = openvino_core().read_model(path)
    if batch:
        model.reshape({model.inputs[0]: [batch, 12, 1000]})
    compiled = openvino_core().compile_model(model, "CPU", settings)
    return Client(f"openvino {hint}", lambda millivolts: compiled(millivolts).values())


@pytest.mark.parametrize("hint", [None, "f32", "bf16", "f16"])
@pytest.mark.parametrize("batch", [None, 4])
def test_openvino_with_any_hint(exported, hint, batch):
    for path in exported[:2]:
        assert_missing_samples_give_nan(_client(path, hint, batch))


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_onnx_runtime_at_any_optimization(exported, level):
    package = import_extra("onnxruntime")
    options = package.SessionOptions()
    options.graph_optimization_level = getattr(package.GraphOptimizationLevel, level)
    session = package.InferenceSession(exported[0], options)
    client = Client(level, lambda millivolts: session.run(None, {"millivolts": millivolts}))
    assert_missing_samples_give_nan(client)


def test_pytorch_with_and_without_a_file(exported, classifier):
    program = torch.export.load(exported[2]).module()

    def call(millivolts):
        with torch.inference_mode():
            return program(torch.from_numpy(millivolts))

    assert_missing_samples_give_nan(Client("pt2", call))
    for precision in ("fp32", "bf16"):
        assert_missing_samples_give_nan(TorchRuntime(classifier, 1000, precision, threads=1))


def test_a_softmax_and_an_ensemble(configure):
    single = tiny_classifier(configure, "resnet1d", "model.loss=argmax_cross_entropy")
    average = tiny_classifier(configure, "resnet1d")
    average.network = EnsembleNetwork([tiny_classifier(configure, "resnet1d"), single])
    for one in (single, average):
        assert_missing_samples_give_nan(Client("torch", partial(outputs, deployed(one))))


def test_no_class_of_a_record_without_an_answer_is_positive(exported):
    predictor = Predictor(exported[0], threads=1)
    assert not predictor.decisions(np.full((1, 5), np.nan)).any()
    assert not predictor.notes[1:]


def test_the_batch_axis_has_its_name(exported):
    graph = import_extra("onnx").load(exported[0]).graph
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [value.name for value in graph.input] == ["millivolts"]
    (parameter,) = openvino_core().read_model(exported[1]).get_parameters()
    assert parameter.get_layout().to_string() == "[N,LEADS,SAMPLES]"


@pytest.mark.parametrize("hint", ["bf16", "f16"])
def test_the_guard_rounds_no_logits(exported, hint):
    """Logits that were rounded to bfloat16 on their way through the guard would tie."""
    settings = {"INFERENCE_PRECISION_HINT": hint}
    compiled = openvino_core().compile_model(exported[1], "CPU", settings)
    logits = np.asarray(compiled(signals(8))[0])
    assert (logits.view(np.uint32) & 0xFFFF).all(axis=1).any()
