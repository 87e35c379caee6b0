"""Latency of every variant in every runtime, interleaved in one run, so that ratios hold on a busy machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ecg_lightning.compression.schema import LatencyConfig
from ecg_lightning.compression.study.score import to_millivolts
from ecg_lightning.compression.study.variant import Variant
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.measuring.latency import measure, peak_memory_mib
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import CUDA_SUFFIXES, Runtime
from ecg_lightning.errors import ModelFileError
from ecg_lightning.evaluation.calibration import probabilities
from ecg_lightning.system.long_steps import long_step

log = logging.getLogger(__name__)

_FLOATS = ("bf16", "fp32")
_APART = 0.25
"""Largest difference of a probability: for a batch of fixed size, a runtime may choose kernels that round otherwise."""


def measure_variants(
    variants: Sequence[Variant], datamodule: ECGDataModule, settings: LatencyConfig, threads: int
) -> None:
    """Fill the variants' `runtimes` with one row for each deployment, batch and number of threads.

    Args:
        variants: scored variants, the uncompressed model first.
        datamodule: data module of the validation records, which are timed.
        settings: settings of the measurement.
        threads: larger number of threads; one thread is always measured.
    """
    records = datamodule.datasets["val"]
    with long_step(log, "measuring the memory of each file"):
        for variant in variants:
            _measure_memory(variant)
    for batch in settings.batches:
        millivolts = to_millivolts(records.__getitems__([index % len(records) for index in range(batch)]).signals)
        for n_threads in sorted({1, threads}):
            with long_step(log, f"latency: batch {batch}, {n_threads} thread{'s' if n_threads > 1 else ''}"):
                _measure(variants, np.ascontiguousarray(millivolts), n_threads, settings)
    for variant in variants:
        variant.runtimes += [
            {"runtime": one.runtime, "precision": one.precision, "skipped": one.skipped}
            for one in variant.deployments
            if one.skipped
        ]


def single_ms(variant: Variant, precision: str | None = None) -> float | None:
    """Return the median milliseconds for one record on one thread; None if they were not measured.

    Without a precision, they are those of the variant's own deployment; else of its fastest one in this precision.
    """
    times = [
        row["p50_ms"]
        for row in variant.runtimes
        if (row.get("batch"), row.get("threads")) == (1, 1)
        and "p50_ms" in row
        and (row["precision"] == precision if precision else (row["runtime"], row["precision"]) == variant.own.runs_in)
    ]
    return min(times, default=None)


def slower_than(variant: Variant, baseline: Variant) -> str | None:
    """Return the precision in which the uncompressed model is faster than the variant; None if it is not.

    It is bfloat16, or float32 if the processor has no bfloat16. A float variant counts in its faster precision. A few
    per cent are noise.
    """
    same_network = all(variant.size.get(key) == baseline.size.get(key) for key in ("parameters", "macs"))
    is_precision_only = variant.stage is not None and variant.stage.is_precision_only
    if variant is baseline or (is_precision_only and same_network):  # it is the same model
        return None
    own = [single_ms(variant, precision) for precision in _FLOATS] if variant.own.precision in _FLOATS else []
    own_ms = min((ms for ms in (*own, single_ms(variant)) if ms), default=None)
    times = {name: single_ms(baseline, name) for name in _FLOATS}
    rival = next((name for name, ms in times.items() if ms), None)
    return rival if rival and own_ms and own_ms > 1.05 * (times[rival] or 0.0) else None


def _measure_memory(variant: Variant) -> None:
    """Add the peak memory of a variant's own file to its size."""
    own = variant.own
    assert own.path is not None
    try:
        variant.size["peak_memory_mib"] = peak_memory_mib(own.path, own.runtime, own.precision)
    except ModelFileError as error:  # a missing figure is better than losing hours of fine-tuning
        variant.size["peak_memory_mib"] = None
        variant.notes.append(str(error))


def _measure(variants: Sequence[Variant], millivolts: np.ndarray, threads: int, settings: LatencyConfig) -> None:
    """Measure every deployment with one batch and number of threads, the deployments taking turns."""
    opened = {}
    for number, variant in enumerate(variants):
        for one in variant.deployments:
            if one.path is None or (threads > 1 and one.runtime in CUDA_SUFFIXES):  # a device has no threads
                continue
            try:
                runtime = open_runtime(one.path, one.runtime, one.precision, threads, len(millivolts))
            except ModelFileError as error:  # the file was opened and scored for any number of records
                variant.runtimes.append(_case(one, millivolts, threads) | {"skipped": str(error)})
                continue
            if _computes_the_same(variant, one, runtime, millivolts, threads):
                opened[f"{number} {one.runtime} {one.precision}"] = (variant, one, runtime)
    cases: dict[str, Callable[[], object]] = {
        key: partial(runtime.logits, millivolts) for key, (_, _, runtime) in opened.items()
    }
    timed = measure(cases, settings.rounds, settings.warmup, settings.min_round_s)
    for key, (variant, one, runtime) in opened.items():
        latency, scores = timed[key], variant.evaluations[one].metrics["test"]
        variant.runtimes.append(
            _case(one, millivolts, threads)
            | {
                "p50_ms": latency.p50_ms,
                "p95_ms": latency.p95_ms,
                "samples_per_s": latency.samples_per_s(len(millivolts)),
                "kernels": runtime.kernels(),
                "file": one.path.name if one.path else None,
                "f1_macro_tuned": scores["f1_macro_tuned"],
                "auroc_macro": scores["auroc_macro"],
                "parity": variant.parity[one],
            }
        )


def _computes_the_same(
    variant: Variant, deployment: Deployment, runtime: Runtime, millivolts: np.ndarray, threads: int
) -> bool:
    """Compare a file that was compiled for a batch with the scored file. If they differ, its row says so."""
    batch, scored = len(millivolts), variant.evaluations[deployment].predictions["val"].logits_NC
    found = runtime.logits(millivolts).astype(np.float64)
    apart = float(np.abs(probabilities(found) - probabilities(scored[np.arange(batch) % len(scored)])).max())
    if apart > _APART:
        reason = f"compiled for batches of {batch}, its probabilities differ from the scored ones by up to {apart:.2f}"
        variant.notes.append(f"{' '.join(deployment.runs_in)}: {reason}")
        variant.runtimes.append(_case(deployment, millivolts, threads) | {"skipped": reason})
    return apart <= _APART


def _case(deployment: Deployment, millivolts: np.ndarray, threads: int) -> dict[str, Any]:
    """Return the entries that identify a row of measurements."""
    named = {"runtime": deployment.runtime, "precision": deployment.precision}
    return named | {"batch": len(millivolts), "threads": threads}
