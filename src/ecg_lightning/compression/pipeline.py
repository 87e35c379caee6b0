"""A trained model through the stages: what each one gives is deployed and evaluated before the next one starts."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ecg_lightning.checkpoints.loading import data_option, load_classifier
from ecg_lightning.compression.distill import Distill
from ecg_lightning.compression.parity import reference_probabilities
from ecg_lightning.compression.pt2_file import add_pt2
from ecg_lightning.compression.schema import CompressionSettings
from ecg_lightning.compression.stage import CompressionStage, StageContext, build_stage
from ecg_lightning.compression.stage_fit import StageFit
from ecg_lightning.compression.variant import Variant, deploy, describe_files, evaluate
from ecg_lightning.data.datamodule import ECGDataModule
from ecg_lightning.data.schema import DataConfig
from ecg_lightning.deployment.checksum import sha256_of
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.convnet import reparameterize
from ecg_lightning.models.structure import plain_classifier
from ecg_lightning.system.long_steps import long_step
from ecg_lightning.training.leakage import is_other_data, learned_from

log = logging.getLogger(__name__)


class Pipeline:
    """Makes the variants of one checkpoint.

    Args:
        settings: the run's configuration.
        device: what `hardware.prepare` gave.
        checkpoint: of the model as trained.
        datamodule: with its splits loaded.
    """

    def __init__(
        self, settings: CompressionSettings, device: Mapping[str, Any], checkpoint: Path, datamodule: ECGDataModule
    ) -> None:
        self.settings = settings
        self.device = device
        self.datamodule = datamodule
        self.trained = load_classifier(checkpoint)
        self.sha256 = sha256_of(checkpoint)
        self.threads = torch.get_num_threads()
        self.folder = Path(settings.paths.output_dir)

    def variants(self, stages: Mapping[str, CompressionStage]) -> Iterator[Variant]:
        """The model as trained, as `baseline`, and then what every stage makes of the one before it."""
        classifier = plain_classifier(copy.deepcopy(self.trained))
        pruned = any(build_stage(node, "stage").zeroes for node in classifier.description.get("stages", []))
        before: Variant | None = None
        for name, stage in {"baseline": None, **stages}.items():
            pruned = (pruned or (stage is not None and stage.zeroes)) and not isinstance(stage, Distill)
            fit = StageFit(
                self.settings,
                self.device,
                self.datamodule,
                self.trained,
                self.folder / "stages" / name,
                keep_zeros=pruned,
            )
            context = StageContext(self.datamodule, self.settings.hardware.accelerator, self.trained, fit, fit.notes)
            torch.set_num_threads(self.threads)  # a runtime may have changed it
            if stage is not None:
                classifier = self._apply(name, stage, classifier, context)
            before = self._finish(name, stage, classifier, context, before)
            before.fine_tuning = fit.timing
            yield before

    def _apply(
        self, name: str, stage: CompressionStage, classifier: ECGClassifier, context: StageContext
    ) -> ECGClassifier:
        log.info("stage %s: %s", name, type(stage).__name__)
        classifier.network = reparameterize(classifier.network)  # what is compressed is what is deployed
        classifier = plain_classifier(stage.apply(classifier, context))
        described = classifier.description
        described.pop("chosen", None)  # they are of the model before this stage
        node = asdict(self.settings.compression.stages[name]) | stage.found
        described["stages"] = [*described.get("stages", []), node]
        folds = {split: list(folds) for split, folds in self.datamodule.folds.items()}
        trained = self.trained.description
        before = [] if is_other_data(trained, self.datamodule) else trained["folds"]["train"]
        described["learned_from"] = learned_from([trained])
        described["folds"] = folds | {"train": sorted({*before, *folds["train"]})}
        described["dataset"] = self.datamodule.dataset
        if data_option(described) != "ptbxl":  # whose licence stays, whatever followed
            described["data"] = (
                asdict(data) if isinstance(data := self.settings.data, DataConfig) else described.get("data", {})
            )
        return classifier

    def _finish(
        self,
        name: str,
        stage: CompressionStage | None,
        classifier: ECGClassifier,
        context: StageContext,
        before: Variant | None,
    ) -> Variant:
        """Export, compare with PyTorch, evaluate, and describe the files."""
        folder = self.folder / "variants" / name
        with long_step(log, f"exporting the files of {name}"):
            variant = deploy(name, stage, classifier, folder, context, before)
        reference = reference_probabilities(classifier, self.datamodule, classifier.link)
        n_records = sum(len(self.datamodule.datasets[split]) for split in ("val", "test"))
        with long_step(log, f"scoring the files of {name} on {n_records:,} records"):
            evaluate(
                variant, classifier, self.datamodule, self.threads, reference, self.settings.compression.n_resamples
            )
        describe_files(variant, classifier, self.sha256)
        if self.settings.compression.pt2:
            add_pt2(variant, classifier, folder, self.datamodule, reference, self.sha256)
        return variant
