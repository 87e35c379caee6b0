"""Metadata of a deployed file: classes, thresholds, calibration, input and origin."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment import bounds
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.deployment.model_file import check_structure, read_description
from ecg_lightning.deployment.runtimes.runtime import CUDA_SUFFIXES, PRECISIONS, SUFFIXES
from ecg_lightning.errors import ModelFileError
from ecg_lightning.evaluation.conformal import ALPHA
from ecg_lightning.system.disk import write_whole
from ecg_lightning.version import __version__

if TYPE_CHECKING:
    from ecg_lightning.evaluation.choices import Choices

KEY = "ecg_lightning"
FORMAT = 1
LINKS = ("sigmoid", "softmax")
_TEMPERATURES = (0.01, 100.0)
"""Smallest and largest temperature. `calibration.fit_temperature` gives e⁻³ to e³."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """All metadata that a user of a deployed file needs, and its origin.

    Attributes:
        classes: names of the C classes, in the order of the outputs.
        thresholds: (C,) thresholds on calibrated probabilities, link(logits / temperature). A class is positive from
            its threshold on.
        output_thresholds: (C,) thresholds on the file's own output `probabilities`, which are not calibrated.
        temperature: divisor of the logits before the link.
        sampling_rate: Hz.
        n_samples: samples a lead.
        label_rule: rule that made the training labels.
        link: function from logits to probabilities, `sigmoid` or `softmax`.
        checkpoint_sha256: SHA-256 of the exported checkpoint.
        model: name of the architecture.
        precision: precision in which thresholds and temperature were chosen: `fp32`, `bf16` or `int8`.
        runtime: runtime in which they were chosen: `onnxruntime` or `openvino`.
        int8_products: whether the processor on which they were chosen sums products of int8 exactly (see `processor`);
            None if that is not known.
        conformal: (C, 2) bounds on calibrated probabilities. From the first on, a class is plausible; up to the second,
            its absence is plausible. Empty in files of earlier versions.
        alpha: share of the records that each of these bounds may miss.
        compression: names of the compression stages.
        n_validation: number of records of the validation fold that chose thresholds, temperature, lines and bounds;
            None without such a fold, and in files of earlier versions.
        platt: (C, 2) slope and offset for each class's logits, another calibration; empty for a softmax, and in files
            of earlier versions.
        data_licence: licence of the training data.
        leads: order of the input's leads.
        units: units of the input.
        format: version of this description.
        version: version of the package that wrote the file.
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
    n_validation: int | None = None
    platt: tuple[tuple[float, ...], ...] = ()
    compression: tuple[str, ...] = ()
    data_licence: str = ""
    leads: tuple[str, ...] = LEADS
    units: str = "mV"
    format: int = FORMAT
    version: str = __version__


def chosen_fields(choices: Choices) -> dict[str, Any]:
    """Return the fields of `Metadata` that the validation fold chose. Without such a fold nothing is calibrated."""
    raw = tuple(choices.raw_thresholds.tolist())
    fields = {"classes": choices.classes, "link": choices.link, "output_thresholds": raw}
    if not choices.is_calibrated:
        return fields | {"thresholds": raw, "temperature": 1.0}
    platt = () if choices.platt_lines is None else tuple(map(tuple, choices.platt_lines.tolist()))
    return fields | {
        "thresholds": tuple(choices.thresholds.tolist()),
        "temperature": choices.temperature,
        "conformal": tuple(zip(*(bound_C.tolist() for bound_C in choices.bounds), strict=True)),
        "platt": platt,
        "n_validation": choices.n_records,
    }


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Write `metadata` into an .onnx or .xml file. The weights are not changed.

    Raises:
        ModelFileError: the file is neither, or cannot be read.
    """
    text = json.dumps(asdict(metadata))
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
        ValueError, TypeError: a value does not fit; see `bounds`.
    """
    if not isinstance(values, dict):
        raise TypeError("it is not a table")
    if values.get("format") != FORMAT:
        raise ValueError(f"format {values.get('format')!r:.40}, this version ({__version__}) reads {FORMAT}")
    later: dict[str, Any] = {"int8_products": None, "conformal": [], "alpha": ALPHA, "n_validation": None, "platt": []}
    values = {**later, **values}  # missing in the first files
    names = [field.name for field in fields(Metadata)]
    if set(values) != set(names):
        raise ValueError(f"fields are missing or unknown: {', '.join(sorted(set(values) ^ set(names))):.200}")
    sampling_rate = bounds.count(values["sampling_rate"], "sampling_rate", *bounds.SAMPLING_RATES)
    longest = min(bounds.MAX_SAMPLES, bounds.MAX_DURATION_S * sampling_rate)
    found = Metadata(
        classes=bounds.class_names(values["classes"], "classes"),
        thresholds=bounds.numbers(values["thresholds"], "thresholds", 0, 1),
        output_thresholds=bounds.numbers(values["output_thresholds"], "output_thresholds", 0, 1),
        temperature=bounds.number(values["temperature"], "temperature", *_TEMPERATURES),
        sampling_rate=sampling_rate,
        n_samples=bounds.count(values["n_samples"], "n_samples", 1, longest),
        label_rule=bounds.text(values["label_rule"], "label_rule"),
        link=bounds.one_of(values["link"], "link", LINKS),
        checkpoint_sha256=bounds.text(values["checkpoint_sha256"], "checkpoint_sha256"),
        model=bounds.text(values["model"], "model"),
        precision=bounds.one_of(values["precision"], "precision", PRECISIONS),
        runtime=bounds.one_of(values["runtime"], "runtime", (*SUFFIXES, *CUDA_SUFFIXES)),
        int8_products=bounds.flag(values["int8_products"], "int8_products"),
        conformal=bounds.pairs(values["conformal"], "conformal", 0, 1),
        alpha=bounds.number(values["alpha"], "alpha", 0, 1),
        n_validation=None
        if values["n_validation"] is None
        else bounds.count(values["n_validation"], "n_validation", 1, bounds.MAX_RECORDS),
        platt=bounds.pairs(values["platt"], "platt", -bounds.LARGEST_LINE, bounds.LARGEST_LINE),
        compression=bounds.texts(values["compression"], "compression"),
        data_licence=bounds.text(values["data_licence"], "data_licence"),
        leads=bounds.texts(values["leads"], "leads"),
        units=bounds.text(values["units"], "units"),
        version=bounds.text(values["version"], "version"),
    )
    if found.leads != LEADS or found.units != "mV":
        raise ValueError(f"its input is {len(found.leads)} leads in {found.units}, expected {', '.join(LEADS)} in mV")
    for thresholds in (found.thresholds, found.output_thresholds):
        if not found.classes or len(thresholds) != len(found.classes):
            raise ValueError(f"{len(thresholds)} thresholds for {len(found.classes)} classes")
    for name, rows in (("conformal bounds", found.conformal), ("Platt lines", found.platt)):
        if rows and len(rows) != len(found.classes):
            raise ValueError(f"{len(rows)} {name} for {len(found.classes)} classes")
    return found


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode & 0o777
    write_whole(path, content)
    path.chmod(mode)
