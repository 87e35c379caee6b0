"""The metadata in a variant's files, and the SHA-256 beside each file."""

from __future__ import annotations

from pathlib import Path

import torch

from ecg_lightning.checkpoints.loading import licences_of, save_classifier
from ecg_lightning.compression.stage import stages_of
from ecg_lightning.compression.study.variant import Evaluation, Variant
from ecg_lightning.deployment.checksum import write_checksum
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.metadata import Metadata, write_metadata
from ecg_lightning.hardware.processor import processor_has_int8
from ecg_lightning.models.classifier import ECGClassifier


def describe_files(variant: Variant, classifier: ECGClassifier, checkpoint_sha256: str) -> None:
    """Write the metadata into every file of a variant, and its SHA-256 beside it.

    Args:
        variant: the scored variant.
        classifier: classifier that the variant was exported from.
        checkpoint_sha256: SHA-256 of the checkpoint that the stages started from.
    """
    written: set[Path] = set()
    for one, evaluation in variant.evaluations.items():
        path = one.path
        if path is None or path in written:
            continue
        written.add(path)
        about = describe_file(classifier, one, evaluation, checkpoint_sha256)
        if path.suffix == ".ckpt":
            classifier.thresholds.copy_(torch.from_numpy(evaluation.choices.raw_thresholds))
            save_classifier(classifier, path, evaluation.choices, deployed=about.as_dict())
        else:
            write_metadata(path, about)
        write_checksum(path)


def describe_file(
    classifier: ECGClassifier, deployment: Deployment, evaluation: Evaluation, checkpoint_sha256: str
) -> Metadata:
    """Return the metadata of a variant's file.

    Args:
        classifier: classifier that the file was exported from.
        deployment: the scored runtime and precision.
        evaluation: scores of this deployment.
        checkpoint_sha256: SHA-256 of the checkpoint that the stages started from.
    """
    described = classifier.description
    return Metadata(
        choices=evaluation.choices,
        sampling_rate=described["sampling_rate"],
        n_samples=described["n_samples"],
        label_rule=described["label_rule"],
        checkpoint_sha256=checkpoint_sha256,
        model=described["choices"].get("model", ""),
        precision=deployment.precision,
        runtime=deployment.runtime,
        int8_products=processor_has_int8(),
        compression=tuple(stages_of(described)),
        data_licence="; ".join(licences_of(described)),
    )
