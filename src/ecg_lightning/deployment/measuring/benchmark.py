"""Comparison of exported files: time, throughput, kernels and bytes of each, in every runtime that opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecg_lightning.deployment.measuring.latency import measure, peak_memory_mib
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import SUFFIXES, Runtime, barely_int8, files_of, sizes_of
from ecg_lightning.errors import ConfigError, HardwareUnavailableError, MissingPackageError, ModelFileError
from ecg_lightning.hardware.processor import available_cores, describe_processor
from ecg_lightning.system.memory_limit import limited_memory


def benchmark(
    paths: Sequence[Path],
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    rounds: int = 20,
    warmup: int = 3,
    min_round_s: float = 0.05,
) -> dict[str, Any]:
    """Return measurements of files on the processor, in interleaved rounds in one process.

    Each file is opened by every installed runtime that reads it: in fp32, and in bf16 if the processor has it. A
    quantized file is opened in int8 alone if the runtime computes it in int8.

    Args:
        paths: .onnx, .xml or .ckpt files.
        batches: numbers of records in a call.
        threads: number of threads of a call; all cores by default.
        rounds: see `latency.measure`.
        warmup: see `latency.measure`.
        min_round_s: see `latency.measure`.

    Returns:
        `host`, `threads`, `rounds`, `skipped` (texts), and `rows`: file, runtime, precision, batch, threads, bytes,
        compressed_bytes (by zlib), peak_memory_mib (see `latency.peak_memory_mib`; None if it failed), p50_ms, p95_ms,
        n, samples_per_s and kernels of each case.

    Raises:
        ModelFileError: a file is not there, or no runtime opens it.
        MissingPackageError: no runtime that opens a file is installed.
    """
    for path in paths:
        _check_is_file(path)
    threads = threads or available_cores()
    skipped: list[str] = []
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], object]] = {}
    random = np.random.default_rng(0)
    for path, name in distinct_names(paths).items():
        for row, call in _cases(path, batches, threads, random, skipped):
            case = f"{path} {row['runtime']} {row['precision']} {row['batch']}"
            rows[case], calls[case] = {"file": name, **row}, call
    for case, latency in measure(calls, rounds, warmup, min_round_s).items():
        rows[case] |= {
            "p50_ms": latency.p50_ms,
            "p95_ms": latency.p95_ms,
            "n": latency.n,
            "samples_per_s": latency.samples_per_s(rows[case]["batch"]),
        }
    return {
        "host": describe_processor(),
        "threads": threads,
        "rounds": rounds,
        "skipped": list(dict.fromkeys(skipped)),
        "rows": list(rows.values()),
    }


def _cases(
    path: Path, batches: Sequence[int], threads: int, random: np.random.Generator, skipped: list[str]
) -> Iterator[tuple[dict[str, Any], Callable[[], object]]]:
    """Yield the row of each batch size and runtime of a file, without its time, and the call to be timed."""
    sizes: dict[str, int] = {}
    peaks: dict[tuple[str, str], float | None] = {}  # by runtime and precision
    for batch in batches:
        for opened in _open_all(path, threads, batch, skipped):
            signals = random.normal(scale=0.3, size=(batch, 12, opened.n_samples)).astype(np.float32)
            if opened.name in ("onnxruntime", "openvino"):
                with limited_memory(files_of(path), batch, threads):  # before the calls that are timed
                    opened.logits(signals)
            sizes = sizes or sizes_of(path)
            way = (opened.name, opened.precision)
            if way not in peaks:
                peaks[way] = _peak_memory_mib(path, way, skipped)
            row = {
                "runtime": opened.name,
                "precision": opened.precision,
                "batch": batch,
                "threads": threads,
                **sizes,
                "peak_memory_mib": peaks[way],
                "kernels": opened.kernels(),
            }
            yield row, partial(opened.logits, signals)


def _check_is_file(path: Path) -> None:
    """Refuse a folder, and name the files in it that can be measured.

    Raises:
        ModelFileError: the path is a folder.
    """
    if path.is_dir():
        exported = sorted(one for suffix in ("onnx", "xml") for one in path.rglob(f"*.{suffix}"))
        found = exported or sorted(path.rglob("best.ckpt"))
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        way = (
            f"Name the files in it: {' '.join(map(str, found[:4]))}{more}"
            if found
            else "Name an exported file or a checkpoint; this folder holds neither"
        )
        raise ModelFileError(f"{path} is a folder. {way}")


def distinct_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name of each file with as many of its folders as the names need to differ."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = {path: "/".join(path.parts[-depth:]) for path in paths}
        if len({*names.values()}) == len(names):
            return names
    return {path: str(path) for path in paths}


def _peak_memory_mib(path: Path, way: tuple[str, str], skipped: list[str]) -> float | None:
    try:
        return peak_memory_mib(path, *way)
    except ModelFileError as error:  # one figure is missing, and no other depends on it
        skipped.append(str(error))
        return None


def _open_all(path: Path, threads: int, batch: int, skipped: list[str]) -> Iterator[Runtime]:
    runtimes = [name for name, suffixes in SUFFIXES.items() if path.suffix in suffixes]
    if not runtimes:
        open_runtime(path, "openvino")  # raises the reason
    refused: list[MissingPackageError | ModelFileError] = []
    n_opened = 0
    for runtime in runtimes:
        try:
            for opened in _open_in(runtime, path, threads, batch, skipped):
                n_opened += 1
                yield opened
        except (MissingPackageError, ModelFileError) as error:
            skipped.append(str(error))
            refused.append(error)
    if not n_opened and refused:
        raise refused[0]


def _open_in(runtime: str, path: Path, threads: int, batch: int, skipped: list[str]) -> Iterator[Runtime]:
    """Yield the opened file in int8 alone if that works, since another precision would run the same kernels."""
    for precision in ("int8", "bf16", "fp32"):
        if (runtime, precision) == ("onnxruntime", "bf16"):
            continue  # ONNX Runtime has no bf16 here
        try:
            opened = open_runtime(path, runtime, precision, threads, batch)
        except (ConfigError, HardwareUnavailableError) as error:
            skipped.append(str(error))
            continue
        except ModelFileError:
            if precision == "int8":
                continue  # not quantized or not readable: the next precision reports why
            raise
        if precision == "int8" and (reason := barely_int8(opened)):
            skipped.append(f"{path}: {reason}")
            continue
        yield opened
        if precision == "int8":
            return
