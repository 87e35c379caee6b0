"""The description of an exported file, compared with the JSON in it."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from hypothesis import strategies as st

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.metadata import KEY, Metadata, parse, read_metadata
from ecg_lightning.errors import ModelFileError
from fuzz.lanes import Target, WrongAnswerError
from fuzz.mutation import damaged_bytes, damaged_tree

_GOOD: dict[str, Any] = {
    "classes": ["CD", "HYP", "MI", "NORM", "STTC"],
    "thresholds": [0.5, 0.25, 0.5, 0.75, 0.5],
    "output_thresholds": [0.5, 0.25, 0.5, 0.75, 0.5],
    "temperature": 1.5,
    "sampling_rate": 100,
    "n_samples": 1000,
    "label_rule": "benchmark",
    "link": "sigmoid",
    "checkpoint_sha256": "0" * 64,
    "model": "resnet1d_wang",
    "precision": "fp32",
    "runtime": "onnxruntime",
    "int8_products": None,
    "conformal": [[0.1, 0.9]] * 5,
    "alpha": 0.1,
    "n_validation": 300,
    "platt": [[1.0, 0.0]] * 5,
    "compression": ["Quantize"],
    "data_licence": "CC BY 4.0",
    "leads": list(LEADS),
    "units": "mV",
    "format": 1,
    "version": "0.1.0",
}


def targets(folder: Path) -> list[Target]:
    """Return the targets, with their good files in `folder`."""
    text = json.dumps(_GOOD)
    model = _model(text)
    texts = st.one_of(
        damaged_tree(_GOOD).map(lambda tree: json.dumps(tree)),
        damaged_bytes(text.encode()).map(lambda content: content.decode(errors="replace")),
    )
    files = st.one_of(
        texts.map(lambda one: (".onnx", _model(one))),
        texts.map(lambda one: (".xml", _xml(one))),
        damaged_bytes(model).map(lambda content: (".onnx", content)),
        damaged_bytes(_xml(text)).map(lambda content: (".xml", content)),
    )
    return [
        Target("metadata", texts, _check_metadata),
        Target("exported file", files, partial(_check_file, folder / "model")),
    ]


def _model(text: str) -> bytes:
    node = onnx.helper.make_node("Identity", ["signal"], ["logits"])
    signal, logits = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("batch", 12, 1000))
        for name in ("signal", "logits")
    )
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [signal], [logits]))
    onnx.helper.set_model_props(model, {KEY: text.encode(errors="replace").decode()})
    return bytes(model.SerializeToString())


def _xml(text: str) -> bytes:
    escaped = "".join(f"&#{ord(one)};" if one in "<>&\"'" else one for one in text)
    return f'<net name="m" version="11"><layers/><rt_info><{KEY} value="{escaped}"/></rt_info></net>'.encode()


def _check_metadata(text: str) -> None:
    try:
        found = parse(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:  # the ones that `read_metadata` explains
        raise ModelFileError(str(error)) from None
    _compare(found, text)


def _check_file(path: Path, drawn: tuple[str, bytes]) -> None:
    suffix, content = drawn
    path.with_suffix(suffix).write_bytes(content)
    found = read_metadata(path.with_suffix(suffix))
    if suffix == ".onnx":
        _compare(found, _text_in(content))
    elif found.leads != LEADS or len(found.choices.thresholds) != len(found.classes):
        raise WrongAnswerError("leads or thresholds do not fit")


def _text_in(content: bytes) -> str:
    """The description in an ONNX file, or its bytes where the rest of the file is damaged."""
    try:
        return next(entry.value for entry in onnx.load_from_string(content).metadata_props if entry.key == KEY)
    except Exception:  # protobuf's DecodeError
        text = content.decode(errors="replace")
        start = text.index("{", text.index(KEY))
        return text[start : start + json.JSONDecoder().raw_decode(text[start:])[1]]


def _compare(found: Metadata, text: str) -> None:
    said: dict[str, Any] = json.loads(text)
    read = json.loads(json.dumps(found.as_dict()))
    if differing := [name for name in said if read[name] != said[name]]:
        raise WrongAnswerError(
            f"{differing[0]} is read as {read[differing[0]]!r:.60}, it says {said[differing[0]]!r:.60}"
        )
    pairs = [number for pair in (*read["conformal"], *read["platt"]) for number in pair]
    numbers = [*read["thresholds"], *read["output_thresholds"], read["temperature"], *pairs]
    if not all(map(math.isfinite, numbers)) or not all(0 <= one <= 1 for one in read["thresholds"]):
        raise WrongAnswerError("a threshold that no probability reaches")
    if not 50 <= found.sampling_rate <= 20_000 or found.n_samples > 20_000 * 3600 or len(set(found.classes)) < 1:
        raise WrongAnswerError(f"{found.sampling_rate} Hz, {found.n_samples} samples, classes {found.classes}")
    if len(set(found.classes)) != len(found.classes):
        raise WrongAnswerError("a class that stands twice")
