"""One compression: prepare, apply the stages, study each variant, describe."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecg_lightning.checkpoints.building import build_datamodule
from ecg_lightning.checkpoints.loading import licences_of
from ecg_lightning.compression.describing import describe, describe_unfinished
from ecg_lightning.compression.first_training import train_first
from ecg_lightning.compression.pipeline import apply_stages
from ecg_lightning.compression.preparing import Prepared, build_stages, prepare, take_over
from ecg_lightning.compression.schema import CompressionSettings, TrainConfig
from ecg_lightning.compression.study.measurement import measure_variants
from ecg_lightning.compression.study.study_variant import study_variant
from ecg_lightning.compression.study.variant import Variant
from ecg_lightning.errors import ConfigError
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE
from ecg_lightning.hardware import device as hardware
from ecg_lightning.results.results import RunResult, UnfinishedError
from ecg_lightning.text import counted
from ecg_lightning.training.provenance import begin, describe_run_host


def run(
    settings: CompressionSettings, choices: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> RunResult:
    """Compress a checkpoint by a checked configuration.

    Args:
        settings: the composed configuration.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.

    Returns:
        The result, also written to `paths.output_dir`. Its score is the last variant's tuned macro F1 on the
        validation fold.

    Raises:
        UserError: an error that the user can correct. It is raised before any training if possible.
    """
    device, result = begin(settings.hardware, settings.seed, choices, overrides)
    stages = build_stages(settings)
    datamodule = take_over(settings, result)
    checkpoint = Path(str(settings.ckpt_path)).expanduser()
    return _compress(settings, prepare(settings, device, checkpoint, datamodule, stages, result), result)


def run_after_training(
    settings: TrainConfig,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    shared_dir: Path | None = None,
) -> RunResult:
    """Train a model, then compress it.

    Args:
        settings: the composed configuration.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.
        shared_dir: folder of the trainings that the cells of a sweep share. Cells that differ only in compression or
            hardware train once.

    Returns:
        The result. Its score is the last variant's tuned macro F1 on the validation fold.
    """
    if not (settings.train and settings.test):
        raise ConfigError("a sweep over compressions trains and scores its cells. Keep train=true and test=true")
    device = hardware.prepare(settings.hardware)
    stages = build_stages(settings)
    result, trained = train_first(settings, choices, overrides, shared_dir)
    hardware.prepare(settings.hardware)  # latencies are measured with all threads, whatever the training has chosen
    own = describe_run_host(device)
    if own != result.host:
        result.notes.append(f"trained with {counted(result.host['threads'], 'thread')} in {result.host['precision']}")
    result.host = own
    datamodule = build_datamodule(settings.data, settings.seed)
    checkpoint = trained / "checkpoints" / "best.ckpt"
    return _compress(settings, prepare(settings, device, checkpoint, datamodule, stages, result), result)


def _compress(settings: CompressionSettings, prepared: Prepared, result: RunResult) -> RunResult:
    """Apply the stages one after the other, and study and describe every variant.

    Raises:
        UnfinishedError: the compression was stopped or failed. Its result keeps the finished variants, measured.
    """
    variants: list[Variant] = []
    try:
        for applied in apply_stages(settings, prepared):
            variants.append(study_variant(settings, prepared, applied, variants[-1] if variants else None))
            result.data["licences"] = licences_of(applied.classifier.description)
        measure_variants(variants, prepared.datamodule, settings.compression.latency, prepared.threads)
    except (Exception, KeyboardInterrupt, SystemExit) as stop:  # hours of fine-tuning would be lost
        (Path(settings.paths.output_dir) / PREDICTIONS_FILE).unlink(missing_ok=True)  # the training's predictions
        if not variants:
            raise
        if isinstance(stop, Exception) and not any(variant.runtimes for variant in variants):
            with contextlib.suppress(Exception):  # the error that stopped the run is the one to report
                measure_variants(variants, prepared.datamodule, settings.compression.latency, prepared.threads)
        raise UnfinishedError(describe_unfinished(settings, prepared, variants, result), stop) from stop
    describe(settings, prepared, variants, result)
    return result
