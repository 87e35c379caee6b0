"""The README says only what is so: its keys, options, files and example run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from test_config import FROZEN_KEYS
from tiny import ROOT

README = (ROOT / "README.md").read_text()


def test_every_frozen_key_is_listed():
    assert [key for key in FROZEN_KEYS if f"`{key}`" not in README] == []


def test_every_file_that_it_links_is_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize(("program", "line"), sorted(set(re.findall(r"python (train|compress)\.py ([^\n`]*)", README))))
def test_every_command_composes(configure, configure_compression, program, line, synthetic_root):
    composed = {"train": configure, "compress": configure_compression}[program]
    overrides = [word for word in line.split() if word not in ("-m", "…", "--help")]
    overrides = [word.replace("DIR", str(synthetic_root)) for word in overrides if not word.startswith("hydra.")]
    for override in overrides:
        key, _, values = override.partition("=")
        for value in values.split(","):
            others = [other for other in overrides if other != override and "," not in other]
            OmegaConf.to_yaml(composed(*others, f"{key}={value}"))


@pytest.mark.slow
def test_every_command_runs(synthetic_root, tmp_path):
    run, compressed = tmp_path / "run", tmp_path / "compressed"
    short = ["trainer.limit_train_batches=2", "hardware.threads=1"]
    quick = ["compression.fine_tune.epochs=1", "compression.latency.batches=[1]", "compression.latency.rounds=1"]
    lines = re.findall(r"^(?:python (?:train|compress)\.py|ecg-lightning) [^`\n]*", README, re.MULTILINE)
    lines += re.findall(r"`(python train\.py [^`]*)`", README)
    settings = f"data=ptbxl data.root={synthetic_root} model=deit"
    lines = [line.replace("…", settings).replace("hydra.run.dir=DIR", f"hydra.run.dir={run}") for line in lines]
    assert len(lines) == len({*lines}) >= 12
    for number, line in enumerate(sorted(lines, key=_when)):
        root = compressed if "variants" in line else run
        words = shlex.split(
            line.replace("DIR", str(synthetic_root))
            .replace("OTHER_RUN", str(compressed))
            .replace("RUN", str(root))
            .replace("NAME", "quantize")
        )
        command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        if "--help" not in words and words[0] == "python":
            many = "-m" in words or any("hparams_search" in word for word in words)
            one = compressed if "compress.py" in words else f"{tmp_path}/{number}" if "train=false" in words else run
            folder = f"hydra.sweep.dir={tmp_path}/{number}" if many else f"hydra.run.dir={one}"
            command += [*short, *([] if any("hydra.run" in word for word in words) else [folder])]
            if "train.py" in words:  # a checkpoint that is evaluated brings its own image size
                command += ["trainer.max_epochs=1", *([] if "train=false" in words else ["frontend.size=32"])]
            command += quick if any("compression=" in word for word in words) else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        for checkpoint in tmp_path.glob("[0-9]*/*/checkpoints/*.ckpt"):
            checkpoint.unlink()  # of full-size models


def _when(line):
    """After what it needs: a run, then what was compressed."""
    return ("ckpt_path=" in line) + ("compress.py" in line) + 3 * ("variants" in line or "OTHER_RUN" in line)


def test_the_python_example_runs(synthetic_root):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(example.replace('"DIR"', repr(str(synthetic_root))), names)
    assert names["batch"].signals.shape[1:] == (12, 1000)
    assert names["batch"].targets.shape[1] == 5


def test_every_recipe_and_debug_option_exists():
    for group, option in re.findall(r"`(experiment|debug|hparams_search|model)=(\w+)`", README):
        assert (ROOT / "conf" / group / f"{option}.yaml").is_file()
