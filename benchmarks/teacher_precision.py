"""What bfloat16 does to a teacher that sees the records once: how much faster it is, and how far its targets move.

    python benchmarks/teacher_precision.py RUN/checkpoints/best.ckpt --root DIR

Probabilities and decisions of 512 training records, in fp32 and with bfloat16's products, interleaved.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from _common import composed, interleave, report
from torch.utils.data import Subset

from ecg_lightning.checkpoints.building import build_datamodule
from ecg_lightning.checkpoints.loading import load_classifier
from ecg_lightning.config.schema import plain
from ecg_lightning.learning.distillation import Distillation
from ecg_lightning.learning.schema import TeachingConfig

N_RECORDS = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teachers", nargs="+", help="checkpoints")
    parser.add_argument("--root", required=True, help="PTB-XL's folder")
    parser.add_argument("--output", type=Path, help="also write the rows as JSON")
    asked = parser.parse_args()
    cfg = composed("data=ptbxl", f"data.root={asked.root}")
    datamodule = build_datamodule(plain(cfg.data), cfg.seed)
    datamodule.load(("train",))
    records = Subset(datamodule.datasets["train"], range(N_RECORDS))
    rows = []
    for path in asked.teachers:
        distillation = Distillation(load_classifier(path), TeachingConfig(teacher_sees="record"))

        def taught(bf16: bool, of: Distillation = distillation) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                of.prepare(records, torch.device("cpu"))
            found = of.of_records(torch.arange(N_RECORDS))
            assert found is not None
            return found

        seconds = interleave({"fp32": lambda: taught(False), "bf16": lambda: taught(True)}, repeats=3)
        moved_N2C = (taught(True) - taught(False)).abs()
        rows.append(
            {
                "teacher": type(distillation.teacher).__name__,
                "fp32 records/s": N_RECORDS / seconds["fp32"],
                "bf16/fp32": seconds["fp32"] / seconds["bf16"],
                "largest change of a probability": moved_N2C[:, 0].max().item(),
                "mean change": moved_N2C[:, 0].mean().item(),
                "decisions turned": moved_N2C[:, 1].mean().item(),
            }
        )
    report("teacher_precision", rows, asked.output)


if __name__ == "__main__":
    main()
