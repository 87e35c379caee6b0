"""What a deployed file says about itself: classes, thresholds, calibration, input, and where it comes from."""

from __future__ import annotations

import json
import os
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ecg_lightning import __version__
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.errors import ModelFileError
from ecg_lightning.evaluation.uncertainty import ALPHA

KEY = "ecg_lightning"
FORMAT = 1
LINKS = ("sigmoid", "softmax")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Everything that is needed to use a deployed file, and to know what it is.

    Attributes:
        classes: names of the C classes, in the order of the outputs.
        thresholds: (C,) on calibrated probabilities, link(logits / temperature); a class is positive from there on.
        output_thresholds: (C,) the same for the file's own output `probabilities`, which are not calibrated.
        temperature: logits are divided by it before the link.
        sampling_rate: Hz.
        n_samples: samples a lead.
        label_rule: how the training labels were made.
        link: from logits to probabilities, `sigmoid` or `softmax`.
        checkpoint_sha256: of the checkpoint that it was exported from.
        model: name of the architecture.
        precision: that thresholds and temperature were chosen in: `fp32`, `bf16` or `int8`.
        runtime: that they were chosen in: `onnxruntime` or `openvino`.
        int8_products: whether the processor that they were chosen on sums products of int8 exactly (see `processor`);
            None where that is not known.
        conformal: (C, 2) on calibrated probabilities: from which on a class is plausible, and up to which its absence
            is; empty in files of earlier versions.
        alpha: share of the records that each of these bounds may miss.
        compression: names of the stages that it went through.
        data_licence: licence of the training data.
        leads: the order of the input's leads.
        units: of the input.
        format: version of this description.
        version: of the package that wrote it.
    """

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    output_thresholds: tuple[float, ...]
    temperature: float
    sampling_rate: int
    n_samples: int
    label_rule: str
    link: str
    checkpoint_sha256: str
    model: str
    precision: str
    runtime: str
    int8_products: bool | None = None
    conformal: tuple[tuple[float, ...], ...] = ()
    alpha: float = ALPHA
    compression: tuple[str, ...] = ()
    data_licence: str = ""
    leads: tuple[str, ...] = LEADS
    units: str = "mV"
    format: int = FORMAT
    version: str = __version__


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Put `metadata` into an .onnx or .xml file; the weights are not touched.

    Raises:
        ModelFileError: the file is neither, or cannot be read.
    """
    text = json.dumps(asdict(metadata))
    if path.suffix == ".onnx":
        model = _load_onnx(path)
        kept = {entry.key: entry.value for entry in model.metadata_props}
        import_extra("onnx").helper.set_model_props(model, {**kept, KEY: text})
        _replace(path, model.SerializeToString())
    else:
        root = _load_xml(path)
        info = root.find("rt_info")
        if info is None:
            info = ET.SubElement(root, "rt_info")
        for parent in (info, *info.findall("framework")):  # there OpenVINO keeps an .onnx file's own description
            for old in parent.findall(KEY):
                parent.remove(old)
        ET.SubElement(info, KEY, value=text)
        _replace(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def read_metadata(path: Path) -> Metadata:
    """What `write_metadata` put into a file.

    Raises:
        ModelFileError: the file is not there, damaged, of another program, or of another version of this one.
    """
    if path.suffix == ".onnx":
        text = next((entry.value for entry in _load_onnx(path).metadata_props if entry.key == KEY), None)
    else:
        element = _load_xml(path).find(f"rt_info/{KEY}")
        text = None if element is None else element.get("value")
    if text is None:
        raise ModelFileError(
            f"{path} says nothing about its classes and input: it was not exported by ecg_lightning, which is needed "
            "to predict with it"
        )
    try:
        return parse(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFileError(
            f"{path}: its description is damaged or of another version of ecg_lightning ({error}); export it again"
        ) from None


def parse(values: Any) -> Metadata:
    """Check a description read from a file, which may come from a stranger.

    Raises:
        ValueError, TypeError, KeyError: what does not fit.
    """
    if not isinstance(values, dict):
        raise TypeError("it is not a table")
    if values.get("format") != FORMAT:
        raise ValueError(f"format {values.get('format')!r}, this version ({__version__}) reads {FORMAT}")
    values = {"int8_products": None, "conformal": [], "alpha": ALPHA, **values}  # which the first files did not say
    names = [field.name for field in fields(Metadata)]
    if set(values) != set(names):
        raise ValueError(f"missing or unknown: {', '.join(sorted(set(values) ^ set(names)))}")
    found = Metadata(
        classes=_texts(values["classes"], "classes"),
        thresholds=_numbers(values["thresholds"], "thresholds"),
        output_thresholds=_numbers(values["output_thresholds"], "output_thresholds"),
        temperature=_number(values["temperature"], "temperature"),
        sampling_rate=_count(values["sampling_rate"], "sampling_rate"),
        n_samples=_count(values["n_samples"], "n_samples"),
        label_rule=_text(values["label_rule"], "label_rule"),
        link=_text(values["link"], "link"),
        checkpoint_sha256=_text(values["checkpoint_sha256"], "checkpoint_sha256"),
        model=_text(values["model"], "model"),
        precision=_text(values["precision"], "precision"),
        runtime=_text(values["runtime"], "runtime"),
        int8_products=_flag(values["int8_products"], "int8_products"),
        conformal=_pairs(values["conformal"], "conformal"),
        alpha=_number(values["alpha"], "alpha"),
        compression=_texts(values["compression"], "compression"),
        data_licence=_text(values["data_licence"], "data_licence"),
        leads=_texts(values["leads"], "leads"),
        units=_text(values["units"], "units"),
        version=_text(values["version"], "version"),
    )
    if found.link not in LINKS:
        raise ValueError(f"link {found.link!r} is none of {', '.join(LINKS)}")
    if found.leads != LEADS or found.units != "mV":
        raise ValueError(f"its input is {len(found.leads)} leads in {found.units}, expected {', '.join(LEADS)} in mV")
    for thresholds in (found.thresholds, found.output_thresholds):
        if not found.classes or len(thresholds) != len(found.classes):
            raise ValueError(f"{len(thresholds)} thresholds for {len(found.classes)} classes")
    if found.conformal and len(found.conformal) != len(found.classes):
        raise ValueError(f"{len(found.conformal)} conformal bounds for {len(found.classes)} classes")
    if not found.temperature > 0:
        raise ValueError(f"temperature {found.temperature} is not above 0")
    return found


def _load_onnx(path: Path) -> Any:
    onnx = import_extra("onnx")
    _check_there(path)
    try:
        # Weights outside the file are not looked for: this project writes none.
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's DecodeError, which is not importable under one name in all its versions
        raise ModelFileError(f"{path} is damaged or no ONNX model; export it again") from None
    if not model.graph.node:
        raise ModelFileError(f"{path} is damaged or no ONNX model: it holds no operation; export it again")
    return model


def _load_xml(path: Path) -> ET.Element:
    if path.suffix != ".xml":
        raise ModelFileError(f"{path} is no model that can be opened here; name an .onnx or an OpenVINO .xml file")
    _check_there(path)
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged or no OpenVINO model ({error}); export it again") from None
    if root.tag != "net":
        raise ModelFileError(f"{path} is no OpenVINO model: it holds <{root.tag[:40]}>, expected <net>")
    return root


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise ModelFileError(f"{path} is not there; name an exported .onnx or .xml file")
    if not os.access(path, os.R_OK):
        raise ModelFileError(f"{path} cannot be read; check its permissions")


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(path.stat().st_mode & 0o777)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r:.40}, expected a text")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{name} is {value!r:.40}, expected a list")
    return tuple(_text(item, name) for item in value)


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{name} is {value!r:.40}, expected a list")
    return tuple(_number(item, name) for item in value)


def _pairs(value: Any, name: str) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list):
        raise TypeError(f"{name} is {value!r:.40}, expected a list")
    pairs = tuple(_numbers(pair, name) for pair in value)
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{name} holds {value!r:.40}, expected pairs of numbers")
    return pairs


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise TypeError(f"{name} holds {value!r:.40}, expected a finite number")
    return float(value)


def _flag(value: Any, name: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.40}, expected true, false or null")
    return value


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TypeError(f"{name} is {value!r:.40}, expected a whole number above 0")
    return value
