"""Networks that torchao, torch.ao and NNCF quantized stay int8 in the exported files."""

import numpy as np
import pytest
import torch
from deployed import deployed, describe, outputs, signals, tiny_classifier

from ecg_lightning.deployment.export import DeployedNetwork, export_onnx, export_onnx_torchscript, export_openvino
from ecg_lightning.deployment.metadata import write_metadata
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.errors import ExportError

onnx = pytest.importorskip("onnx")
pytest.importorskip("torchao")
pytestmark = pytest.mark.filterwarnings("ignore")


def _pt2e(classifier):
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    images = classifier.frontend(torch.from_numpy(signals(4)))
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    graph = torch.export.export(classifier.network, (images,), dynamic_shapes=shapes).module()
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(graph, quantizer)
    prepared(images)
    converted = convert_pt2e(prepared)
    move_exported_model_to_eval(converted)
    return converted


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vit", "effnetv2"])
def test_pt2e_networks_keep_int8_weights(configure, model, tmp_path):
    classifier = tiny_classifier(configure, model)
    floats = export_onnx(deployed(classifier), tmp_path / "float.onnx", 12, 1000)
    module = DeployedNetwork(classifier.frontend, _pt2e(classifier), classifier.loss)
    file = export_onnx(module, tmp_path / "int8.onnx", 12, 1000)
    stored = {entry.data_type for entry in onnx.load(file).graph.initializer if np.prod(entry.dims) > 1000}
    assert onnx.TensorProto.INT8 in stored
    assert file.stat().st_size < floats.stat().st_size
    write_metadata(file, describe(precision="int8"))
    xml = export_openvino(file, tmp_path / "int8.xml")
    expected, float_logits = outputs(module, signals())[0], outputs(deployed(classifier), signals())[0]
    for path, runtime in ((file, "onnxruntime"), (file, "openvino"), (xml, "openvino")):
        opened = open_runtime(path, runtime, "int8")
        assert any(kernel["precision"] == "int8" for kernel in opened.kernels())
        found = opened.logits(signals())
        assert np.abs(found - expected).max() < 0.1 * np.ptp(float_logits) + 0.05


@pytest.mark.slow
def test_fx_networks_go_through_torchscript_if_they_are_convolutional(configure, tmp_path, capfd):
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    def quantized(model):
        classifier = tiny_classifier(configure, model)
        images = classifier.frontend(torch.from_numpy(signals(4)))
        prepared = prepare_fx(classifier.network, get_default_qconfig_mapping("x86"), (images,))
        prepared(images)
        return DeployedNetwork(classifier.frontend, convert_fx(prepared), classifier.loss)

    module = quantized("effnetv2")
    file = export_onnx_torchscript(module, tmp_path / "fx.onnx", 12, 1000)
    found = open_runtime(file, "onnxruntime", "int8").logits(signals())
    assert np.abs(found - outputs(module, signals())[0]).max() < 0.05
    with pytest.raises(ExportError, match=r"vit\.onnx was not written: .* cannot convert this network"):
        export_onnx_torchscript(quantized("vit"), tmp_path / "vit.onnx", 12, 1000)
    assert not (tmp_path / "vit.onnx").exists()
    assert capfd.readouterr().out == ""
