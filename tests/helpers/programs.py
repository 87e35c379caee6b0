"""The programs, each in a process of its own."""

import subprocess
import sys

from tiny import ROOT

FROZEN_KEYS = [
    "data.root",
    "data.batch_size",
    "data.sampling_rate",
    "trainer.max_epochs",
    "model.pretrained",
    "model.weights",
    "model.teacher",
    "model.optimizer.lr",
    "model.optimizer.weight_decay",
    "model.dropout",
    "frontend.size",
    "data.label_rule",
    "hardware.threads",
    "hardware.precision",
    "seed",
    "train",
    "test",
    "ckpt_path",
    "task_name",
]
"""Settings whose names users type, which stay."""


def start(*arguments, cwd=ROOT, program=("train.py",)):
    return subprocess.run(
        [sys.executable, *program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
