"""The model card of a run: one page of Markdown from its `result.json` and `config.yaml`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ecg_lightning.data.identity import PTBXL
from ecg_lightning.data.source import OWN
from ecg_lightning.data.wfdb import DURATION_S
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.reports.evaluation_tables import (
    calibration_section,
    conformal_section,
    interval_of,
    score_sections,
    subgroup_section,
)
from ecg_lightning.reports.markdown import paragraph, to_markdown
from ecg_lightning.reports.section import Cell, Column, Section, Table
from ecg_lightning.reports.variants import variant_rows, variants_section
from ecg_lightning.results.results import is_figure
from ecg_lightning.text import counted, duration

MODEL_CARD = "model_card.md"

_RULES = {
    "benchmark": "every code counts, whatever its likelihood",
    "ge50": "codes of a likelihood of at least 50 count",
    "eq100": "codes of a likelihood of 100 count",
}

_LABELS = {
    "superdiagnostic": "superclasses of diagnostic statements",
    "subdiagnostic": "subclasses of diagnostic statements",
    "diagnostic": "diagnostic statements",
    "form": "statements about the form of the waves",
    "rhythm": "statements about the rhythm",
    "all": "statements about diagnosis, form and rhythm",
}


def model_card(result: Mapping[str, Any], config: Mapping[str, Any], first: Sequence[str] = ()) -> str:
    """Return the model card of a run as Markdown.

    Args:
        result: content of `result.json`.
        config: content of `config.yaml`.
        first: sentences below the title.
    """
    choices = result["choices"]
    is_compressed = any(variant["runtimes"] for variant in result["variants"])
    how = f", compressed ({choices['compression']})" if is_compressed else ""
    title = f"# Model card: {choices.get('model', 'model')}{how}"
    opening = [*first, _headline_sentence(result), "For research only: not a medical device, not for diagnosis."]
    sections = [
        _facts(result, config),
        *_score_sections(result),
        *_variant_sections(result),
        *([_pictures(result)] if any(name.startswith("figures/") for name in result["artifacts"]) else []),
        _limits(result, config),
        _training(result, config),
    ]
    return "\n\n".join([title, *(paragraph(text) for text in opening if text), to_markdown(sections)])


def _headline_sentence(result: Mapping[str, Any]) -> str:
    split = next((name for name in ("test", "val") if name in result["evaluation"]), None)
    if split is None:
        return _scores_sentence(result)
    found = result["evaluation"][split]
    auroc, f1 = (interval_of(found["scores"]["macro"][metric]) for metric in ("auroc", "f1"))
    return (
        f"On the {split} split (N = {found['n_records']:,}) it reaches a macro AUROC of {_with_interval(auroc)} and a "
        f"macro F1 of {_with_interval(f1)}; brackets hold 95 % intervals over patients."
    )


def _scores_sentence(result: Mapping[str, Any]) -> str:
    """Return a sentence with the scores of a model that predicts no classes and has no intervals."""
    split = next((name for name in ("test", "val") if isinstance(result["metrics"].get(name), Mapping)), None)
    if split is None or "probabilities" in result["metrics"][split]:
        return "This run scored no records."
    scores = ", ".join(f"{name} {value:.3f}" for name, value in result["metrics"][split].items() if is_figure(value))
    return f"On the {split} split (N = {result['data'].get(f'n_{split}')}) its scores are: {scores}."


def _facts(result: Mapping[str, Any], config: Mapping[str, Any]) -> Section:
    data, settings = result["data"], config.get("data") or {}
    size = result["variants"][-1]["size"] if result["variants"] else {}
    counts = ", ".join(f"{split} {data[f'n_{split}']:,}" for split in ("train", "val", "test") if f"n_{split}" in data)
    folds = {split: settings.get(f"{split}_folds") for split in ("train", "val", "test")}
    of_folds = "; ".join(f"{split} {', '.join(map(str, numbers))}" for split, numbers in folds.items() if numbers)
    classes = list(next(iter(result["evaluation"].values()))["positives"]) if result["evaluation"] else []
    is_trained = bool(result["timing"].get("fit_s"))  # a compression without fine-tuning trains nothing
    rows: list[list[Cell]] = [
        ["data", _data_name(data)],
        ["licences of all its data", "; ".join(data["licences"]) if "licences" in data else None],
        ["records", counts or None],
        ["folds", of_folds or None],
        ["records left out as missing or bad", f"{data['n_left_out']:,}" if "n_left_out" in data else None],
        ["task and classes", f"{data.get('task', 'unknown')}: {', '.join(classes)}" if classes else data.get("task")],
        ["label rule", _rule(data.get("label_rule"))],
        ["input", _input(settings, result)],
        ["parameters", f"{size['parameters']:,}" if size.get("parameters") else None],
        ["seed", str(result["seed"])],
        ["epochs trained", _number(result["timing"].get("epochs")) if is_trained else None],
        ["epoch of the checkpoint", _number(result["timing"].get("best_epoch"))],
        ["time of the training", duration(result["timing"]["fit_s"]) if is_trained else None],
        ["machine", _machine(result["host"])],
    ]
    known = [row for row in rows if row[1] is not None]
    return Section("facts", "Facts", Table((Column("", "fact"), Column("", "value")), known))


def _score_sections(result: Mapping[str, Any]) -> list[Section]:
    sections: list[Section] = []
    for split in ("test", "val"):
        found = result["evaluation"].get(split)
        if not found:
            continue
        sections += score_sections(found, f"Scores of each class, {split} split")
        sections.append(calibration_section(found))
        if found["conformal"]:
            sections.append(conformal_section(found))
        if "subgroups" in found:
            sections.append(subgroup_section(found))
        break
    return sections


def _variant_sections(result: Mapping[str, Any]) -> list[Section]:
    rows = variant_rows(result)
    return [variants_section(rows, "Variants")] if rows else []


def _pictures(result: Mapping[str, Any]) -> Section:
    shown = {name: path for name, path in result["artifacts"].items() if name.startswith("figures/")}
    lines = [f"![{name.partition('/')[2].replace('_', ' ')}]({path})" for name, path in shown.items()]
    return Section("figures", "Figures", notes=lines)


def _limits(result: Mapping[str, Any], config: Mapping[str, Any]) -> Section:
    split = next((name for name in ("test", "val") if name in result["evaluation"]), None)
    found = result["evaluation"].get(split) or {}
    limits = [_about_labels(result["data"], _seconds(config.get("data") or {}))]
    if split == "val":
        limits.append(
            "The test folds were not scored. The validation fold chose the thresholds, so its scores are optimistic."
        )
    rare = [name for name, count in found.get("positives", {}).items() if count < 20]
    if rare:
        limits.append(f"Fewer than 20 positive records in the {split} split: {', '.join(rare)}.")
    if (n_tried := config.get("n_tried", 1)) and n_tried > 1:
        limits.append(f"The configuration was chosen among {n_tried}.")
    limits.append(f"One training with seed {result['seed']}: the intervals cover patients, not seeds.")
    limits += [f"{note[0].upper()}{note[1:]}." if not note.endswith(".") else note for note in result["notes"] if note]
    return Section("limits", "Limits", notes=[f"- {limit}" for limit in limits])


def _about_labels(data: Mapping[str, Any], seconds: float) -> str:
    labels = _LABELS.get(data.get("task", ""), "labels")
    if data.get("version") == "synthetic":
        return (
            f"The records are synthetic, and so are their {labels}: the scores have no medical meaning, and no "
            "recording of a patient was tested."
        )
    whose = "PTB-XL's" if data.get("dataset", PTBXL) == PTBXL else "the data's own"
    return (
        f"The labels are {whose} {labels} of 12-lead ECGs of {seconds:g} s. Other devices, patients and labels were "
        "not tested."
    )


def _training(result: Mapping[str, Any], config: Mapping[str, Any]) -> Section:
    main = "train" if "train" in config else "compress"
    command = " ".join(["ecg-lightning", main, *map(shlex.quote, result["overrides"])])
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    notes = [
        f"Command: `{command}`",
        f"Configuration: `config.yaml`, SHA-256 {str(result['config_hash'])[:12]}…; code revision {result['git']}.",
        f"Versions: {versions}.",
    ]
    return Section("training", "Training", notes=notes)


def _data_name(data: Mapping[str, Any]) -> str:
    version = data.get("version")
    if version == "synthetic":
        return "synthetic ECGs in PTB-XL's layout"
    if data.get("dataset", PTBXL) != PTBXL:
        return str(data["dataset"])
    part = "a part of PTB-XL" if version in (None, "unknown") else f"PTB-XL {version}"
    return f"{part} (Wagner et al. 2020, CC BY 4.0)"


def _rule(name: str | None) -> str | None:
    return f"{name}: {_RULES[name]}" if name in _RULES else None if name == OWN else name


def _input(settings: Mapping[str, Any], result: Mapping[str, Any]) -> str | None:
    rate = settings.get("sampling_rate")
    frontend = result["choices"].get("frontend")
    return f"12 leads, {_seconds(settings):g} s, {rate} Hz, as {frontend}" if rate and frontend else None


def _seconds(settings: Mapping[str, Any]) -> float:
    """Return the length of a record in seconds, from a run's `data` settings."""
    seconds = settings.get("duration_s")
    return seconds if isinstance(seconds, int | float) else DURATION_S


def _machine(host: Mapping[str, Any]) -> str | None:
    if not host:
        return None
    threads = host.get("threads")
    of_threads = f", {counted(threads, 'thread')}" if threads else ""
    return f"{host.get('gpu') or host.get('cpu')}{of_threads}, {host.get('precision')}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _with_interval(score: Interval) -> str:
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
