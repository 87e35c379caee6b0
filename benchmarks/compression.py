"""What int8, bfloat16, structured pruning and students give in speed and size at 224 × 224, in OpenVINO.

    python benchmarks/compression.py --output benchmarks/results/compression.json

Random weights and no training: speed and bytes depend on the architecture alone (of L1 pruning's compressed bytes, on
the initialisation, too); docs/results/logbook/2026-11-26-compression.md has what each step costs in F1. One thread,
batch 1, all files interleaved.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import composed, report

from ecg_lightning.checkpoints.building import build_classifier, build_datamodule
from ecg_lightning.compression.act_swap import ActSwap
from ecg_lightning.compression.bf16 import BF16
from ecg_lightning.compression.prune_l1 import PruneL1
from ecg_lightning.compression.prune_structured import PruneStructured
from ecg_lightning.compression.qat import QAT
from ecg_lightning.compression.schema import ActSwapConfig, BF16Config, PruneL1Config, PruneStructuredConfig, QATConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.config.schema import plain
from ecg_lightning.deployment.deployment import Deployment
from ecg_lightning.deployment.measuring.latency import measure
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import by_precision, files_of
from ecg_lightning.hardware.device import has_bf16
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.structure import plain_classifier


@dataclass
class NoFit:
    """In the place of the fine-tuning."""

    epochs: int = 0

    def __call__(self, classifier: ECGClassifier, *_: Any, **__: Any) -> ECGClassifier:
        return classifier.eval()


@dataclass
class File:
    model: str
    way: str
    deployment: Deployment
    n_bytes: int
    zipped: int


def build(model: str) -> tuple[ECGClassifier, StageContext]:
    cfg = composed(f"model={model}", "frontend.size=224", "frontend.channels=3", "data.n_records=300")
    datamodule = build_datamodule(plain(cfg.data), seed=0)
    datamodule.load(("train",))
    classifier = build_classifier(plain(cfg.model), plain(cfg.frontend), n_samples=datamodule.n_samples, seed=0)
    classifier.frontend.fit_normalization(datamodule.datasets["train"].mean_and_std)
    classifier.description = {
        "format": 1,
        "model": plain(cfg.model),
        "frontend": plain(cfg.frontend),
        "choices": {},
        "seed": 0,
        "classes": list(classifier.classes),
        "n_samples": datamodule.n_samples,
        "sampling_rate": 100,
        "batch_size": 32,
        "label_rule": "benchmark",
        "folds": {},
        "stages": [],
    }
    plain_one = plain_classifier(classifier)
    return plain_one, StageContext(datamodule, "cpu", plain_one, NoFit())  # type: ignore[arg-type]


def export(model: str, way: str, stages: Sequence[CompressionStage], folder: Path) -> list[File]:
    classifier, context = build(model)
    exporting = CompressionStage()
    for stage in stages:
        classifier = plain_classifier(stage.apply(copy.deepcopy(classifier), context))
        exporting = stage
    files = []
    own = folder / f"{model}-{way}".replace(" ", "_")
    own.mkdir()
    for one in exporting.export(classifier, own, context):
        if one.runtime == "openvino" and one.path is not None:
            contents = [path.read_bytes() for path in files_of(one.path)]
            zipped = sum(len(zlib.compress(content, 6)) for content in contents)
            files.append(File(model, f"{way} {one.precision}".strip(), one, sum(map(len, contents)), zipped))
    return files


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--models", nargs="*", default=["effnetv2", "convnext", "deit", "vit"])
    arguments = parser.parse_args()
    half = PruneStructured(PruneStructuredConfig(amount=0.5, round_to=32))
    ways: dict[str, list[tuple[str, list[CompressionStage]]]] = {
        model: [
            ("", []),
            ("QAT", [QAT(QATConfig())]),
            ("ReLU6 QAT", [ActSwap(ActSwapConfig(activation="relu6")), QAT(QATConfig())]),
            ("structured 50 %", [half]),
            ("L1 70 %", [PruneL1(PruneL1Config(amount=0.7))]),
            ("L1 70 % QAT", [PruneL1(PruneL1Config(amount=0.7)), QAT(QATConfig())]),
        ]
        for model in arguments.models
    }
    ways["resnet18d"] = [("student", []), ("student, structured 50 % QAT", [half, QAT(QATConfig())])]
    ways["effnetv2"] = [
        *ways.get("effnetv2", [("", [])]),
        ("ReLU6, structured 50 % QAT", [ActSwap(ActSwapConfig(activation="relu6")), half, QAT(QATConfig())]),
    ]
    if has_bf16("cpu"):
        for model in ways:
            ways[model].insert(1, ("16 bits", [BF16(BF16Config())]))
    with tempfile.TemporaryDirectory() as name:
        files = [
            file
            for model, its in ways.items()
            for way, stages in its
            for file in export(model, way, stages, Path(name))
        ]
        record = np.random.default_rng(0).normal(0, 0.3, (1, 12, 1000)).astype(np.float32)
        opened = {}
        for file in files:
            assert file.deployment.path is not None
            one = file.deployment
            opened[f"{file.model} {file.way}"] = open_runtime(one.path, one.runtime, one.precision, 1, 1)
        timed = measure({key: lambda run=run: run.logits(record) for key, run in opened.items()}, arguments.rounds)
    rows = []
    for file in files:
        base = timed[f"{file.model} fp32" if file.model != "resnet18d" else "effnetv2 fp32"].p50_ms
        reference = next(
            f for f in files if f.way == "fp32" and f.model == (file.model if file.model != "resnet18d" else "effnetv2")
        )
        bf16 = timed.get(f"{file.model if file.model != 'resnet18d' else 'effnetv2'} bf16")
        key = f"{file.model} {file.way}"
        counts = by_precision(opened[key].kernels())
        rows.append(
            {
                "model": file.model,
                "way": file.way,
                "p50_ms": timed[key].p50_ms,
                "p95_ms": timed[key].p95_ms,
                "times_fp32": base / timed[key].p50_ms,
                "times_bf16": bf16.p50_ms / timed[key].p50_ms if bf16 else None,
                "megabytes": file.n_bytes / 1e6,
                "zipped_share": file.zipped / reference.n_bytes,
                "times_smaller": reference.n_bytes / file.n_bytes,
                "int8_products": counts.get("int8", 0),
                "products": sum(counts.values()),
            }
        )
    torch.set_num_threads(1)
    report("compression", rows, arguments.output)


if __name__ == "__main__":
    main()
