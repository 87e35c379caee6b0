"""The study of one variant: export it, compare it with PyTorch, score it, and describe its files."""

from __future__ import annotations

import logging
from pathlib import Path

from ecg_lightning.compression.pipeline import Applied
from ecg_lightning.compression.preparing import Prepared
from ecg_lightning.compression.schema import CompressionSettings
from ecg_lightning.compression.study.deploy import deploy
from ecg_lightning.compression.study.file_metadata import describe_files
from ecg_lightning.compression.study.parity import reference_probabilities
from ecg_lightning.compression.study.pt2_file import add_pt2
from ecg_lightning.compression.study.score import score
from ecg_lightning.compression.study.size import measure_size
from ecg_lightning.compression.study.variant import Variant
from ecg_lightning.deployment.runtimes.runtime import sizes_of
from ecg_lightning.system.long_steps import long_step

log = logging.getLogger(__name__)


def study_variant(
    settings: CompressionSettings, prepared: Prepared, applied: Applied, before: Variant | None
) -> Variant:
    """Write a variant's files, and score them as they are deployed.

    Args:
        settings: settings of the run.
        prepared: the data, and the digest of the checkpoint.
        applied: the model to deploy.
        before: the previous variant; None for the model as trained.

    Raises:
        ExportError: a file and the model give different probabilities.
        UnsupportedModelError: no runtime on this machine can run the model.
    """
    name, stage, classifier, context = applied.name, applied.stage, applied.classifier, applied.context
    datamodule, asked = prepared.datamodule, settings.compression
    folder = Path(settings.paths.output_dir) / "variants" / name
    with long_step(log, f"exporting the files of {name}"):
        deployments = deploy(name, stage, classifier, folder, context)
    size = measure_size(stage, classifier, context, before.size if before else {})
    variant = Variant(name, stage, deployments, size, fine_tuning=applied.timing, notes=context.notes)
    reference = reference_probabilities(classifier, datamodule, classifier.link)
    n_records = sum(len(datamodule.datasets[split]) for split in ("val", "test"))
    with long_step(log, f"scoring the files of {name} on {n_records:,} records"):
        score(variant, classifier, datamodule, prepared.threads, reference, asked.n_resamples)
    describe_files(variant, classifier, prepared.sha256)
    assert variant.own.path is not None
    variant.size |= sizes_of(variant.own.path)  # including the metadata
    if asked.pt2:
        add_pt2(variant, classifier, folder, datamodule, reference, prepared.sha256)
    return variant
