"""The table of variants: original, pruned, quantized and others, with the measurements of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ecg_lightning.deployment.runtimes.runtime import by_precision
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.reports.section import Cell, Column, Section, Table

PARETO_FILE = "pareto.png"
VARIANT_COLUMNS = (
    *("run", "model", "checkpoint", "compression", "hardware", "seed", "variant", "runtime", "precision"),
    *("f1", "f1_change", "f1_low", "f1_high", "verdict", "auroc", "auroc_change"),
    *("megabytes", "zipped_megabytes", "nonzero_fraction", "parameters", "macs", "peak_memory_mib"),
    *("ms", "times_fp32", "times_bf16", "int8_share", "slower_than", "n_test"),
)

RUNTIME_COLUMNS = (
    *("run", "model", "checkpoint", "compression", "hardware", "seed", "variant"),
    *("runtime", "precision", "batch", "threads"),
    *("p50_ms", "p95_ms", "samples_per_s", "f1", "f1_change", "verdict", "auroc", "int8_share", "skipped"),
)


def runtime_rows(result: Mapping[str, Any], run: str = "") -> list[dict[str, Any]]:
    """Return flat rows of `RUNTIME_COLUMNS`: every variant in every runtime, precision, batch and number of threads.

    Raises:
        DataError: the variants have another layout than this version writes.
    """
    with _of_this_layout(run):
        return _runtime_rows(result, run)


def _runtime_rows(result: Mapping[str, Any], run: str) -> list[dict[str, Any]]:
    rows = []
    for variant in result["variants"]:
        for measured in variant["runtimes"]:
            delta = measured.get("delta")
            copied = ("runtime", "precision", "batch", "threads", "p50_ms", "p95_ms", "samples_per_s", "skipped")
            rows.append(
                {
                    **_chosen(result, run, variant),
                    **{name: measured.get(name) for name in copied},
                    "f1": measured.get("f1_macro_tuned"),
                    "f1_change": delta and delta["f1_macro_tuned"],
                    "verdict": delta and delta["verdict"],
                    "auroc": measured.get("auroc_macro"),
                    "int8_share": _int8_share(measured) if "kernels" in measured else None,
                }
            )
    return rows


def variant_rows(result: Mapping[str, Any], run: str = "") -> list[dict[str, Any]]:
    """Return flat rows of `VARIANT_COLUMNS`: each measured variant of a result as it is deployed, and in bfloat16.

    Raises:
        DataError: the variants have another layout than this version writes.
    """
    with _of_this_layout(run):
        return _variant_rows(result, run)


@contextmanager
def _of_this_layout(run: str) -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"the result of the run {run or 'here'} holds variants of another layout ({error!r}); "
            "remove it, or run it again"
        ) from None


def _variant_rows(result: Mapping[str, Any], run: str) -> list[dict[str, Any]]:
    measured = [variant for variant in result["variants"] if variant["runtimes"]]
    if not measured:
        return []
    own = _timed(measured[0], "fp32")
    bf16 = _timed(measured[0], "bf16")
    return [
        _row(result, run, variant, deployed, own, bf16)
        for variant in measured
        for deployed in (
            _timed(variant, variant["precision"], variant["runtime"]),
            _timed(variant, "bf16") if variant["precision"] == "fp32" else None,
        )
        if deployed
    ]


def without_repeats(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without repeats of an uncompressed model.

    All cells of a sweep that compress the same training begin with the same uncompressed model.
    """
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for row in rows:
        same = tuple(row[name] for name in ("checkpoint", "hardware", "variant", "precision", "f1", "megabytes"))
        if row["variant"] != "baseline" or same not in seen:
            kept.append(row)
        seen.add(same)
    return kept


def variants_section(rows: Sequence[Mapping[str, Any]], title: str) -> Section:
    """Return the table of the variants, and the remarks that its figures need.

    Args:
        rows: rows from `variant_rows`.
        title: title of the table.
    """
    distinct = Counter(model for model, _ in {(row["model"], row["checkpoint"]) for row in rows})
    cells: list[list[Cell]] = []
    for row in rows:
        model = row["model"] if distinct[row["model"]] == 1 else f"{row['model']} {row['checkpoint'][:6]}"
        named = (f"{variant_name(row)} {row['precision']}", row["runtime"], *([model] if len(distinct) > 1 else []))
        change = None if row["f1_change"] is None else Interval(row["f1_change"], row["f1_low"], row["f1_high"])
        own = {**row, "f1_change": change}
        cells.append([*named, *(own[column.name] for column in _COLUMNS)])
    counts = ", ".join(f"{n:,}" for n in sorted({row["n_test"] for row in rows}))
    legend = (
        f"Test F1: macro, N = {counts} records, computed by the deployed file, with thresholds and calibration of the "
        "validation fold. Δ: difference to the uncompressed model, with the 95 % interval of a paired bootstrap by "
        "patient. Non-inferior: the whole interval lies above −compression.margin. ms: median time of a record, batch "
        "1, one thread. ×fp32, ×bf16: speed relative to the uncompressed model. int8: products that ran in int8, of "
        "all. ≠0: weights that are not zero."
    )
    notes = []
    for precision in ("bf16", "fp32"):
        slow = [f"{row['model']} {variant_name(row)}" for row in rows if row["slower_than"] == precision]
        if slow:
            notes.append(
                f"SLOWER than the uncompressed model in {precision}, which needs no compression: {', '.join(slow)}"
            )
    of_models = [Column("model", "model")] if len(distinct) > 1 else []
    columns = (Column("variant", "variant"), Column("runs in", "runtime", optional=1), *of_models, *_COLUMNS)
    return Section("variants", title, Table(columns, cells), notes=notes, legend=legend)


def recommended(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the row of the variant to deploy, or None if the uncompressed model is the better choice.

    It is the fastest non-inferior variant that is not slower than the uncompressed model. If all are slower, it is the
    smallest variant that is smaller than the uncompressed model.

    Args:
        rows: rows of one result, from `variant_rows`.
    """
    own: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        own.setdefault(row["variant"], row)  # the first row of a variant is its own precision
    uncompressed, *others = own.values()
    good = [row for row in others if row["verdict"] == "non-inferior"]
    fast = [row for row in good if not row["slower_than"] and row["ms"] < uncompressed["ms"]]
    small = [row for row in good if row["megabytes"] < uncompressed["megabytes"]]
    if fast:
        return min(fast, key=lambda row: (float(row["ms"]), float(row["megabytes"])))
    return min(small, key=lambda row: float(row["megabytes"]), default=None)


def variant_name(row: Mapping[str, Any]) -> str:
    """Return `uncompressed`, or the compression with the name of its last stage."""
    if row["variant"] == "baseline":
        return "uncompressed"
    whole, stage = row["compression"], row["variant"]
    return whole if stage == whole or not whole else f"{whole} › {stage}"


def _row(
    result: Mapping[str, Any],
    run: str,
    variant: Mapping[str, Any],
    deployed: Mapping[str, Any],
    fp32: Mapping[str, Any] | None,
    bf16: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the row of a variant in one deployment. `fp32` and `bf16` are the uncompressed model's fastest runs."""
    size, delta, milliseconds = variant["size"], deployed["delta"], deployed["p50_ms"]
    own = deployed["precision"] == variant["precision"]
    return {
        **_chosen(result, run, variant),
        "runtime": deployed["runtime"],
        "precision": deployed["precision"],
        "f1": deployed["f1_macro_tuned"],
        "f1_change": delta and delta["f1_macro_tuned"],
        "f1_low": delta and delta["ci95"]["f1_macro_tuned"][0],
        "f1_high": delta and delta["ci95"]["f1_macro_tuned"][1],
        "verdict": delta and delta["verdict"],
        "auroc": deployed["auroc_macro"],
        "auroc_change": delta and delta["auroc_macro"],
        "megabytes": size["bytes"] / 1e6,
        "zipped_megabytes": size["compressed_bytes"] / 1e6,
        **{name: size.get(name) for name in ("nonzero_fraction", "parameters", "macs")},
        "peak_memory_mib": size.get("peak_memory_mib") if own else None,  # measured in its own precision
        "ms": milliseconds,
        "times_fp32": fp32["p50_ms"] / milliseconds if fp32 else None,
        "times_bf16": bf16["p50_ms"] / milliseconds if bf16 else None,
        "int8_share": _int8_share(deployed),
        "slower_than": variant["slower_than"] if own else None,
        "n_test": result["data"]["n_test"],
    }


def _chosen(result: Mapping[str, Any], run: str, variant: Mapping[str, Any]) -> dict[str, Any]:
    choices = {name: result["choices"].get(name, "") for name in ("model", "compression", "hardware")}
    checkpoint = variant.get("checkpoint", "")  # missing in the first results
    return {"run": run, **choices, "checkpoint": checkpoint, "seed": result["seed"], "variant": variant["name"]}


def _timed(variant: Mapping[str, Any], precision: str, runtime: str | None = None) -> Mapping[str, Any] | None:
    """Return the row of batch 1 on one thread in this precision, of the fastest runtime if none is named."""
    rows = [
        row
        for row in variant["runtimes"]
        if (row["precision"], row.get("batch"), row.get("threads")) == (precision, 1, 1)
        and runtime in (None, row["runtime"])
        and "p50_ms" in row
    ]
    return min(rows, key=lambda row: float(row["p50_ms"]), default=None)


def _int8_share(deployed: Mapping[str, Any]) -> str:
    """Return how many of the products really ran in int8, as `int8/all`."""
    counts = by_precision(deployed["kernels"])
    return f"{counts.get('int8', 0)}/{sum(counts.values())}"


_COLUMNS = (
    Column("test F1", "f1", ".3f"),
    Column("Δ F1", "f1_change", "+.3f"),
    Column("verdict", "verdict"),
    Column("MB", "megabytes", ".2f"),
    Column("ms", "ms", ".2f"),
    Column("AUROC", "auroc", ".3f", optional=2),
    Column("×bf16", "times_bf16", ".2f", optional=2),
    Column("int8", "int8_share", "s", optional=2),
    Column("×fp32", "times_fp32", ".2f", optional=1),
    Column("zip MB", "zipped_megabytes", ".2f", optional=3),
    Column("≠0", "nonzero_fraction", ".0%", optional=3),
)
