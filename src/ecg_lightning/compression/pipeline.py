"""The stages in their order: each one compresses the model that the previous one made."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ecg_lightning.checkpoints.loading import data_option, licences_of
from ecg_lightning.compression.checkpoint_data import data_settings
from ecg_lightning.compression.preparing import Prepared
from ecg_lightning.compression.schema import CompressionSettings
from ecg_lightning.compression.stage import CompressionStage, StageContext, build_stage
from ecg_lightning.compression.stage_fit import StageFit
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.models.structure import plain_classifier
from ecg_lightning.training.leakage import dataset_of, is_other_data, learned_from

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """The model after a stage, or as trained.

    Attributes:
        name: name of the stage, or `baseline`.
        stage: the stage that made the model; None for the model as trained.
        classifier: the model.
        context: context that the stage worked with, and exports with.
        timing: seconds and epochs of the stage's fits.
    """

    name: str
    stage: CompressionStage | None
    classifier: ECGClassifier
    context: StageContext
    timing: dict[str, float]


def apply_stages(settings: CompressionSettings, prepared: Prepared) -> Iterator[Applied]:
    """Yield the model as trained, named `baseline`, and then the model after each stage.

    A stage only starts when the next model is asked for, so the caller can export and score the model before it.
    """
    classifier = plain_classifier(copy.deepcopy(prepared.trained))
    earlier = classifier.description.get("stages", [])
    pruned = any(build_stage(node, "stage").zeroes for node in earlier)
    stages: dict[str, CompressionStage | None] = {"baseline": None, **prepared.stages}
    for name, stage in stages.items():
        torch.set_num_threads(prepared.threads)  # a runtime may have changed it
        if stage is not None:
            log.info("stage %s: %s", name, type(stage).__name__)
            pruned = (pruned or stage.zeroes) and not stage.replaces_model
            classifier.network = reparameterize(classifier.network)  # the deployed network is compressed
        folder = Path(settings.paths.output_dir) / "stages" / name
        data, trained = prepared.datamodule, prepared.trained
        fit = StageFit(settings, prepared.device, data, trained, folder, keep_zeros=pruned)
        given = copy.deepcopy(classifier)
        context = StageContext(data, settings.hardware.accelerator, trained, given, fit, fit.notes)
        if stage is not None:
            classifier = plain_classifier(stage.apply(classifier, context))
            node = asdict(settings.compression.stages[name]) | stage.found
            classifier.description |= described_after(node, classifier.description, settings, prepared)
            classifier.description.pop("chosen", None)  # they belong to the model before this stage
        yield Applied(name, stage, classifier, context, fit.timing)


def described_after(
    node: dict[str, Any], before: dict[str, Any], settings: CompressionSettings, prepared: Prepared
) -> dict[str, Any]:
    """Return the entries that a stage changes in the description of a model: its stages, and the data that it has seen.

    Args:
        node: settings of the stage, and the values that it found.
        before: description of the model before the stage.
        settings: settings of the run.
        prepared: the model as trained, and the data of the fine-tuning.
    """
    datamodule, trained = prepared.datamodule, prepared.trained.description
    folds = {split: list(folds) for split, folds in datamodule.folds.items()}
    seen = [] if is_other_data(trained, datamodule) else trained["folds"]["train"]
    after = {
        "stages": [*before.get("stages", []), node],
        "learned_from": learned_from([trained]),
        "folds": folds | {"train": sorted({*seen, *folds["train"]})},
        "dataset": datamodule.dataset,
    }
    return after | (_data_after(before, settings, prepared) if isinstance(settings.data, DataConfig) else {})


def _data_after(before: dict[str, Any], settings: CompressionSettings, prepared: Prepared) -> dict[str, Any]:
    """Return the settings of the data that a stage has seen, and the licences of all other data before them."""
    datamodule = prepared.datamodule
    data = data_settings(settings, prepared.trained.description)
    if data["root"]:
        data |= datamodule.source.files()
    if data_option(before) != data["kind"] or dataset_of(before) != datamodule.dataset:
        return {"data": data, "licences": licences_of(before)}
    if "licence" in data:  # the same records keep theirs, unless another one is set
        data["licence"] = data["licence"] or before["data"].get("licence", "")
    return {"data": data, "licences": before.get("licences", [])}
