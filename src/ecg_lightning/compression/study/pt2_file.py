"""PyTorch's own .pt2 file of a variant, for programs that trust the files that they load."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ecg_lightning.compression.study.file_metadata import describe_file
from ecg_lightning.compression.study.parity import agree, differences, disagreement, reference_signals
from ecg_lightning.compression.study.score import Array, to_millivolts
from ecg_lightning.compression.study.variant import Variant
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.checksum import write_checksum
from ecg_lightning.deployment.export import DeployedNetwork, export_pt2
from ecg_lightning.errors import ExportError
from ecg_lightning.evaluation.calibration import probabilities
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize

log = logging.getLogger(__name__)


def add_pt2(
    variant: Variant,
    classifier: ECGClassifier,
    folder: Path,
    datamodule: ECGDataModule,
    reference_NC: Array,
    checkpoint_sha256: str,
) -> None:
    """Write `model.pt2` beside a variant's other files, and compare it with PyTorch. If it cannot be written, note why.

    Raises:
        ExportError: the file and PyTorch give different probabilities.
    """
    module = DeployedNetwork(classifier.frontend, reparameterize(classifier.network), classifier.loss)
    about = describe_file(classifier, variant.own, variant.evaluation, checkpoint_sha256)
    try:
        path = export_pt2(module, folder / "model.pt2", len(LEADS), classifier.description["n_samples"], about)
    except ExportError as error:
        variant.notes.append(str(error))
        return
    program = torch.export.load(path).module()  # written here a moment ago
    signals = torch.from_numpy(to_millivolts(reference_signals(datamodule)))
    with torch.inference_mode():
        logits = torch.cat([program(batch)[0] for batch in torch.split(signals, 32)])
    found = probabilities(logits.numpy(), link=classifier.link)
    said = differences(reference_NC, found, datamodule)
    log.info("%s as .pt2 compared with PyTorch: probabilities differ by at most %.2g", variant.name, said["max"])
    if not agree(reference_NC, found, "fp32"):
        raise ExportError(f"{path} {disagreement(said, len(found), 'fp32')}")
    write_checksum(path)
    variant.files.append(path)
