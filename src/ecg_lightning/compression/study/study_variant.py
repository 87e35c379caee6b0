"""The study of one variant: exported, compared with PyTorch, scored, and its files described."""

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
        settings: of the run.
        prepared: with the data and the checkpoint's digest.
        applied: the model to deploy.
        before: the variant that it was made of; None of the model as trained.

    Raises:
        ExportError: a file computes something else than the model does.
        UnsupportedModelError: no runtime here takes the model.
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
    variant.size |= sizes_of(variant.own.path)  # with what they say about themselves
    if asked.pt2:
        add_pt2(variant, classifier, folder, datamodule, reference, prepared.sha256)
    return variant
