"""Metadata of a deployed file: classes, thresholds, calibration, input and origin."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment import bounds
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.deployment.model_file import check_structure, read_description
from ecg_lightning.deployment.runtimes.runtime import CUDA_SUFFIXES, PRECISIONS, SUFFIXES
from ecg_lightning.errors import ModelFileError
from ecg_lightning.evaluation.choices import CALIBRATED, RAW, Choices
from ecg_lightning.evaluation.conformal import ALPHA
from ecg_lightning.system.disk import write_whole
from ecg_lightning.version import __version__

KEY = "ecg_lightning"
FORMAT = 1
_CHOSEN = ("classes", "thresholds", "output_thresholds", "temperature", "link", "conformal", "n_validation", "platt")
"""The fields of a file that hold the choices."""
_LATER: dict[str, Any] = {"int8_products": None, "conformal": [], "alpha": ALPHA, "n_validation": None, "platt": []}
"""Fields that the first files lack."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Metadata:
    """All metadata that a user of a deployed file needs, and its origin.

    Attributes:
        choices: choices of the validation fold, for the logits of this file. Their classes are in the order of the
            outputs. Their raw thresholds are those on the file's own output `probabilities`.
        sampling_rate: Hz.
        n_samples: samples a lead.
        label_rule: rule that made the training labels.
        checkpoint_sha256: SHA-256 of the exported checkpoint.
        model: name of the architecture.
        precision: precision in which thresholds and temperature were chosen: `fp32`, `bf16` or `int8`.
        runtime: runtime in which they were chosen: `onnxruntime` or `openvino`.
        int8_products: whether the processor on which they were chosen sums products of int8 exactly (see `processor`);
            None if that is not known.
        alpha: share of the records that each conformal bound may miss.
        compression: names of the compression stages.
        data_licence: licences of all data that the model was trained and fine-tuned on.
        leads: order of the input's leads.
        units: units of the input.
        format: version of this description.
        version: version of the package that wrote the file.
    """

    choices: Choices
    sampling_rate: int
    n_samples: int
    label_rule: str
    checkpoint_sha256: str
    model: str
    precision: str
    runtime: str
    int8_products: bool | None = None
    alpha: float = ALPHA
    compression: tuple[str, ...] = ()
    data_licence: str = ""
    leads: tuple[str, ...] = LEADS
    units: str = "mV"
    format: int = FORMAT
    version: str = __version__

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the C classes, in the order of the outputs."""
        return self.choices.classes

    def as_dict(self) -> dict[str, Any]:
        """Return the plain values that a file holds. Format 1 lists the choices in the order of the classes.

        `thresholds` are on calibrated probabilities, `output_thresholds` on the raw ones of the file's output.
        `conformal` and `platt` are pairs, and empty where they are not known.
        """
        made = self.choices
        chosen = {
            "classes": list(made.classes),
            "thresholds": made.thresholds.tolist(),
            "output_thresholds": made.raw_thresholds.tolist(),
            "temperature": made.temperature,
            "link": made.link,
            "conformal": [] if made.bounds is None else np.stack(made.bounds, axis=1).tolist(),
            "n_validation": made.n_records,
            "platt": [] if made.platt_lines is None else made.platt_lines.tolist(),
        }
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "choices"}
        return chosen | {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Write `metadata` into an .onnx or .xml file. The weights are not changed.

    Raises:
        ModelFileError: the file is neither, or cannot be read.
    """
    text = json.dumps(metadata.as_dict())
    if path.suffix == ".onnx":
        check_structure(path)
        model = import_extra("onnx").load(path, load_external_data=False)  # this project writes no external weights
        kept = {entry.key: entry.value for entry in model.metadata_props}
        import_extra("onnx").helper.set_model_props(model, {**kept, KEY: text})
        _replace(path, model.SerializeToString())
    else:
        check_structure(path)
        root = ET.parse(path).getroot()
        info = root.find("rt_info")
        if info is None:
            info = ET.SubElement(root, "rt_info")
        for parent in (info, *info.findall("framework")):  # OpenVINO keeps an .onnx file's description there
            for old in parent.findall(KEY):
                parent.remove(old)
        ET.SubElement(info, KEY, value=text)
        _replace(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def read_metadata(path: Path) -> Metadata:
    """Return the metadata that `write_metadata` wrote into a file.

    Raises:
        ModelFileError: the file is not there, is damaged, or is from another program or another version of this one.
    """
    text = read_description(path, KEY)
    if text is None:
        raise ModelFileError(
            f"{path} does not describe its classes and input, so it was not exported by ecg_lightning. Export a "
            "checkpoint with ecg_lightning, and name that file"
        )
    try:
        return parse(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(
            f"{path}: its description is damaged, or was written by another version of ecg_lightning ({error}); "
            "export it again"
        ) from None


def parse(values: Any) -> Metadata:
    """Return the checked metadata of a description from a file, which may come from a stranger.

    Raises:
        ValueError, TypeError: a value does not fit; see `bounds` and `Choices.from_dict`.
    """
    if not isinstance(values, dict):
        raise TypeError("it is not a table")
    if values.get("format") != FORMAT:
        raise ValueError(f"format {values.get('format')!r:.40}, this version ({__version__}) reads {FORMAT}")
    values = {**_LATER, **values}
    names = {*_CHOSEN, *(field.name for field in fields(Metadata) if field.name != "choices")}
    if set(values) != names:
        raise ValueError(f"fields are missing or unknown: {', '.join(sorted(set(values) ^ names)):.200}")
    sampling_rate = bounds.count(values["sampling_rate"], "sampling_rate", *bounds.SAMPLING_RATES)
    longest = min(bounds.MAX_SAMPLES, bounds.MAX_DURATION_S * sampling_rate)
    found = Metadata(
        choices=_choices_in(values),
        sampling_rate=sampling_rate,
        n_samples=bounds.count(values["n_samples"], "n_samples", 1, longest),
        label_rule=bounds.text(values["label_rule"], "label_rule"),
        checkpoint_sha256=bounds.text(values["checkpoint_sha256"], "checkpoint_sha256"),
        model=bounds.text(values["model"], "model"),
        precision=bounds.one_of(values["precision"], "precision", PRECISIONS),
        runtime=bounds.one_of(values["runtime"], "runtime", (*SUFFIXES, *CUDA_SUFFIXES)),
        int8_products=bounds.flag(values["int8_products"], "int8_products"),
        alpha=bounds.number(values["alpha"], "alpha", 0, 1),
        compression=bounds.texts(values["compression"], "compression"),
        data_licence=bounds.text(values["data_licence"], "data_licence", bounds.MAX_LICENCES),
        leads=bounds.texts(values["leads"], "leads"),
        units=bounds.text(values["units"], "units"),
        version=bounds.text(values["version"], "version"),
    )
    if found.leads != LEADS or found.units != "mV":
        raise ValueError(f"its input is {len(found.leads)} leads in {found.units}, expected {', '.join(LEADS)} in mV")
    return found


def _choices_in(values: dict[str, Any]) -> Choices:
    """Return the choices in the values of format 1."""
    classes = bounds.class_names(values["classes"], "classes")

    def by_class(name: str) -> dict[str, Any]:
        return dict(zip(classes, bounds.items(values[name], name, len(classes)), strict=True))

    known = [name for name in ("conformal", "platt") if values[name] != []]
    return Choices.from_dict(
        {
            "link": values["link"],
            "n_records": values["n_validation"],
            "temperature": values["temperature"],
            "thresholds": {CALIBRATED: by_class("thresholds"), RAW: by_class("output_thresholds")},
            **{name: by_class(name) for name in known},
        },
        classes,
    )


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode & 0o777
    write_whole(path, content)
    path.chmod(mode)
