"""The versions of `result.json`. A file of an earlier version is converted to the present layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SCHEMA = 2


def upgraded(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result of schema 1 or 2 in the layout of schema 2.

    In schema 1, a training's scores and thresholds came from raw probabilities, and a compression's from calibrated
    ones. A training's size counted the bytes of its tensors, and not those of a file.

    Args:
        result: the content of `result.json`, perhaps from elsewhere. It is changed in place.

    Raises:
        ValueError: the result has another schema.
    """
    schema = result.get("schema", 1)
    if schema == SCHEMA:
        return result
    if schema != 1:
        raise ValueError(f"its schema is {schema!r:.40}, this version reads 1 and {SCHEMA}")
    variants = _dicts(result.get("variants"))
    is_compressed = any("temperature" in variant for variant in variants)
    kind = "calibrated" if is_compressed else "raw"
    thresholds, evaluations = _dict(result.pop("thresholds", None)), _dicts(result.get("evaluation"))
    n_val = _dict(result.get("data")).get("n_val")
    chosen = [_dict(one.pop("chosen", None)) for one in evaluations]
    result["chosen"] = _chosen(next(filter(None, chosen), {}), {kind: thresholds} if thresholds else {}, n_val)
    for evaluation, old in zip(evaluations, chosen, strict=True):
        evaluation["probabilities"] = "calibrated" if old else "raw"
    for metrics in _metrics(result):
        _upgrade_metrics(metrics, kind)
    for variant in variants:
        for metrics in _metrics(variant):
            _upgrade_metrics(metrics, kind)
        if is_compressed:
            own = _list(variant.pop("thresholds", None))
            by_class = dict(zip(thresholds, own, strict=True)) if len(thresholds) == len(own) else {}
            variant["chosen"] = {"temperature": variant.pop("temperature", None), "thresholds": {kind: by_class}}
        else:
            for name in ("bytes", "compressed_bytes"):
                _dict(variant.get("size")).pop(name, None)
        for row in (variant, *_dicts(variant.get("runtimes"))):
            delta = _dict(row.get("delta"))
            for table in (delta, _dict(delta.get("ci95"))):
                _rename(table, "f1_macro", "f1_macro_tuned")
    result["schema"] = SCHEMA
    return result


def _chosen(old: dict[str, Any], thresholds: dict[str, Any], n_val: Any) -> dict[str, Any]:
    """Return `Choices.as_dict` as far as schema 1 knows it. A compression's result lacks the raw thresholds."""
    if not old:
        return {"thresholds": thresholds} if thresholds else {}
    known = {
        "link": "sigmoid" if "platt" in old else "softmax",
        "n_records": n_val,
        "temperature": old.get("temperature"),
        "thresholds": {**thresholds, "calibrated": old.get("thresholds")},
    }
    return known | {name: old[name] for name in ("conformal", "platt") if name in old}


def _upgrade_metrics(metrics: dict[str, Any], kind: str) -> None:
    metrics["probabilities"] = kind
    _rename(metrics, "ece", "ece_calibrated")
    _rename(metrics, "ece_uncalibrated", "ece_raw")


def _metrics(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from _dicts(holder.get("metrics"))


def _rename(table: dict[str, Any], old: str, new: str) -> None:
    if old in table:
        table[new] = table.pop(old)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    """Return the tables in a list or in a table's values."""
    items = value.values() if isinstance(value, dict) else _list(value)
    return [one for one in items if isinstance(one, dict)]
