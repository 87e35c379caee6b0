"""Export of trained classifiers to files that map millivolts to logits and probabilities, with the front end inside."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from ecg_lightning.deployment.extras import import_extra, openvino_core
from ecg_lightning.deployment.metadata import KEY, Metadata
from ecg_lightning.deployment.missing import fill_missing, mark_missing
from ecg_lightning.deployment.runtimes.runtime import files_of
from ecg_lightning.errors import ExportError
from ecg_lightning.frontend.frontend import Frontend
from ecg_lightning.learning.losses import ArgmaxCrossEntropy, BinaryCrossEntropy
from ecg_lightning.system.disk import explaining_full, is_full, write_whole

for _name in ("onnx_ir", "onnxscript"):  # both log every step of their work
    logging.getLogger(_name).setLevel(logging.WARNING)

INPUT = "millivolts"
OUTPUTS = ("logits", "probabilities")
BATCH = "batch"  # name of the axis of records
OPSET = 20  # every supported version of ONNX Runtime and OpenVINO reads it
_LAYOUT = f"[{BATCH},leads,samples]"  # OpenVINO has no axis names. It stores `batch` as N, its name for the batch
_BEYOND = 1e30  # larger than any logit
_TORCHSCRIPT_OPSET = 17  # the highest opset of its quantized operators


class DeployedNetwork(nn.Module):
    """A classifier as it is deployed: float32 millivolts to logits and probabilities, without augmentation.

    The front end and the network are put into evaluation mode.

    Args:
        frontend: front end whose normalisation and representation become part of the graph.
        network: the float network, or one that torchao (PT2E), NNCF or torch.ao (FX) quantized.
        loss: loss that turns logits into probabilities: softmax if it is `single_label`, else sigmoid.
    """

    def __init__(self, frontend: Frontend, network: nn.Module, loss: BinaryCrossEntropy | ArgmaxCrossEntropy) -> None:
        super().__init__()
        self.frontend = frontend
        self.network = network
        self.single_label = loss.single_label
        self.training = False  # otherwise TorchScript's exporter leaves all parts in training mode
        frontend.eval()
        with suppress(NotImplementedError):  # exported graphs have no modes
            network.eval()

    def forward(self, millivolts: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, C) logits and (B, C) probabilities of (B, 12, T) millivolts.

        All are float32. A record with missing samples gives NaN.
        """
        filled, complete = fill_missing(millivolts)
        # The clamp changes no value, but OpenVINO makes one kernel of it and the head. Without the clamp it would round
        # the head's output to bfloat16 before `mark_missing`, and records would tie.
        logits_BC = self.network(self.frontend.represent_as_is(filled)).float().clamp(-_BEYOND, _BEYOND)
        probabilities_BC = logits_BC.softmax(dim=1) if self.single_label else logits_BC.sigmoid()
        return mark_missing(logits_BC, complete), mark_missing(probabilities_BC, complete)


def export_onnx(module: DeployedNetwork, path: Path, n_leads: int, n_samples: int) -> Path:
    """Write one self-contained .onnx file with a dynamic batch, through `torch.export`, and return its path.

    PT2E-quantized networks become QuantizeLinear/DequantizeLinear pairs with int8 weights.

    Raises:
        ExportError: the exporter cannot write this network.
        UserError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, convert_to_onnx(module, path, n_leads, n_samples))
    return path


def convert_to_onnx(module: DeployedNetwork, path: Path, n_leads: int, n_samples: int) -> bytes:
    """Return the content of the file that `export_onnx` writes; `path` is for messages.

    Raises:
        ExportError: the exporter cannot write this network.
    """
    import_extra("onnxscript")
    millivolts, batch = _example(n_leads, n_samples)
    with _explained(path, "torch.onnx.export"):
        program = torch.onnx.export(
            _exported(module, millivolts, batch),
            (millivolts,),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        return _tidy(program.model_proto)


def export_onnx_torchscript(module: DeployedNetwork, path: Path, n_leads: int, n_samples: int) -> Path:
    """Write .onnx through TorchScript and return its path.

    This is the only exporter for convolutional networks that torch.ao (FX) quantized.

    Raises:
        ExportError: the exporter cannot write this network.
        UserError: the disk is full.
    """
    onnx = import_extra("onnx")
    millivolts, _ = _example(n_leads, n_samples)
    content = io.BytesIO()
    with (
        _explained(path, "torch.onnx.export(dynamo=False)"),
        # The exporter turns its log on despite `verbose`, and prints the whole graph when it fails.
        patch.object(torch._C, "_jit_set_onnx_log_enabled", lambda on: None),
        torch.no_grad(),
    ):
        torch.onnx.export(
            module,
            (millivolts,),
            cast(Any, content),  # a stream works, although the types exclude it
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: BATCH} for name in (INPUT, *OUTPUTS)},
            opset_version=_TORCHSCRIPT_OPSET,
            dynamo=False,
            verbose=False,
        )
        tidied = _tidy(onnx.load_from_string(content.getvalue()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, tidied)
    return path


def export_openvino(
    source: Path | DeployedNetwork,
    path: Path,
    *,
    compress_to_fp16: bool = False,
    n_leads: int = 12,
    n_samples: int | None = None,
) -> Path:
    """Write an OpenVINO model with a dynamic batch, `path` (.xml) and its weights beside it (.bin); return `path`.

    Args:
        source: an .onnx file, or the module itself, which NNCF may have quantized.
        path: the .xml file.
        compress_to_fp16: whether float weights are stored in half the bytes. The runtime's precision computes with
            them.
        n_leads: number of leads of a module's input.
        n_samples: number of samples of a module's input; needed with a module.

    Raises:
        ExportError: OpenVINO cannot convert the source.
        UserError: the disk is full.
    """
    openvino = import_extra("openvino")
    if path.suffix != ".xml":
        raise ExportError(f"{path}: OpenVINO models are written as .xml; name such a file")
    with replacing_model(path) as written, _explained(path, "OpenVINO"):
        if isinstance(source, Path):
            model = openvino_core().read_model(source)
        else:
            model = _convert(openvino, source, n_leads, n_samples)
        model.get_parameters()[0].set_layout(openvino.Layout(_LAYOUT))
        try:
            openvino.save_model(model, written, compress_to_fp16=compress_to_fp16)
        except RuntimeError as error:
            if "iostream" not in str(error):
                raise
            # The stream's error gives no reason. The folder was just made, so the disk is full.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
    return path


def export_pt2(
    module: DeployedNetwork, path: Path, n_leads: int, n_samples: int, about: Metadata | None = None
) -> Path:
    """Write PyTorch's own .pt2 file and return its path. Only programs that trust the file should load it.

    `torch.export.load` may run code.

    Args:
        module: the network to write.
        path: path of the file.
        n_leads: number of leads of the input.
        n_samples: number of samples of the input.
        about: metadata of the file, stored as JSON in the extra file `metadata.KEY`.

    Raises:
        ExportError: `torch.export` cannot trace this network.
        UserError: the disk is full.
    """
    with _explained(path, "torch.export"):
        program = _exported(module, *_example(n_leads, n_samples))
        program.example_inputs = None  # a batch of signals would be stored
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names files of the exporting machine
        extra = {KEY: json.dumps(about.as_dict())} if about else {}
        content = io.BytesIO()  # on a full disk PyTorch's own writer would end the process
        torch.export.save(program, content, extra_files=extra)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getbuffer())
    return path


def _example(n_leads: int, n_samples: int) -> tuple[Tensor, Any]:
    """Return millivolts to trace with, and their dynamic batch.

    There are two records, because a batch of one would be fixed.
    """
    millivolts = torch.randn(2, n_leads, n_samples, generator=torch.Generator().manual_seed(0))
    return millivolts, torch.export.Dim.DYNAMIC


def _exported(module: DeployedNetwork, millivolts: Tensor, batch: Any) -> torch.export.ExportedProgram:
    for graph in module.modules():
        if isinstance(graph, torch.fx.GraphModule):
            _drop_unused(graph)
    with torch.no_grad():
        return torch.export.export(module, (millivolts,), dynamic_shapes=({0: batch},))


def _drop_unused(graph: torch.fx.GraphModule) -> None:
    """Remove float weights that quantization left behind in a graph. Otherwise they would be written."""
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    called = tuple(f"{node.target}." for node in graph.graph.nodes if node.op == "call_module")
    names = [name for name, _ in graph.named_parameters()] + [name for name, _ in graph.named_buffers()]
    for name in names:
        if name not in used and not name.startswith(called):
            owner, _, leaf = name.rpartition(".")
            delattr(graph.get_submodule(owner), leaf)


def _tidy(model: Any) -> bytes:
    """Return the file's content with the first axis called `batch` and without the Python stack of every operation.

    The stacks are a third of a small file and contain paths. Given a program of `torch.export`, the exporter names the
    axis after an internal symbol, such as `s46`.
    """
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:  # or an expression, such as 2*s46 windows
                size.dim_param = re.sub(rf"\b{re.escape(symbol)}\b", BATCH, size.dim_param)
    content: bytes = model.SerializeToString()
    return content


def _convert(openvino: Any, module: DeployedNetwork, n_leads: int, n_samples: int | None) -> Any:
    if n_samples is None:
        raise ExportError("export_openvino needs n_samples to convert a module. Pass the n_samples of the checkpoint")
    millivolts, _ = _example(n_leads, n_samples)
    with torch.no_grad():
        model = openvino.convert_model(module, example_input=millivolts, input=[-1, n_leads, n_samples])
    model.inputs[0].tensor.set_names({INPUT})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.tensor.set_names({name})
    return model


@contextmanager
def replacing_model(path: Path) -> Iterator[Path]:
    """Yield a path for a new model in a folder beside `path`. On success its files replace those of `path`.

    Raises:
        UserError: the disk is full.
    """
    with explaining_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            temporary = Path(folder) / path.name
            yield temporary
            for source, target in zip(files_of(temporary), files_of(path), strict=True):
                source.replace(target)


@contextmanager
def _explained(path: Path, exporter: str) -> Iterator[None]:
    """Silence an exporter, and turn any error of it into a message of one sentence."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ExportError:
        raise
    except Exception as error:  # exporters raise anything, even classes of their own
        if is_full(error):
            raise
        reason = " ".join(str(error.__cause__ or error).split())[:300] or type(error).__name__
        raise ExportError(
            f"{path} was not written: {exporter} cannot convert this network ({reason}); use another format or runtime"
        ) from error
