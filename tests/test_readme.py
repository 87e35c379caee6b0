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


@pytest.mark.parametrize("line", sorted(set(re.findall(r"python train\.py ([^\n`]*)", README))))
def test_every_command_composes(configure, line, synthetic_root, monkeypatch):
    overrides = [word for word in line.split() if word not in ("-m", "…", "--help")]
    overrides = [word.replace("DIR", str(synthetic_root)) for word in overrides if not word.startswith("hydra.")]
    for override in overrides:
        key, _, values = override.partition("=")
        for value in values.split(","):
            others = [other for other in overrides if other != override and "," not in other]
            OmegaConf.to_yaml(configure(*others, f"{key}={value}"))


@pytest.mark.slow
def test_every_command_runs(synthetic_root, tmp_path):
    run = tmp_path / "run"
    short = ["frontend.size=32", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "hardware.threads=1"]
    lines = re.findall(r"^(?:python train\.py|ecg-lightning) [^`\n]*", README, re.MULTILINE)
    lines += re.findall(r"`(python train\.py [^`]*)`", README)
    settings = f"data=ptbxl data.root={synthetic_root} model=deit"
    lines = [line.replace("…", settings).replace("hydra.run.dir=DIR", f"hydra.run.dir={run}") for line in lines]
    assert len(lines) == len({*lines}) >= 8
    for number, line in enumerate(sorted(lines, key=lambda line: "ckpt_path=" in line)):
        program, *words = shlex.split(line.replace("DIR", str(synthetic_root)).replace("RUN", str(run)))
        command = [str(Path(sys.executable).with_name(program)), *words]
        if "--help" not in words and "train.py" in words:
            many = "-m" in words or any("hparams_search" in word for word in words)
            folder = f"hydra.sweep.dir={tmp_path}/{number}" if many else f"hydra.run.dir={run}"
            if "train=false" in words:
                folder = f"hydra.run.dir={tmp_path}/{number}"
            command += [*short, *([] if any("hydra.run" in word for word in words) else [folder])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        for checkpoint in tmp_path.glob("[0-9]*/*/checkpoints/*.ckpt"):
            checkpoint.unlink()  # of full-size models


def test_the_python_example_runs(synthetic_root):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(example.replace('"DIR"', repr(str(synthetic_root))), names)
    assert names["batch"].signals.shape[1:] == (12, 1000)
    assert names["batch"].targets.shape[1] == 5


def test_every_recipe_and_debug_option_exists():
    for group, option in re.findall(r"`(experiment|debug|hparams_search|model)=(\w+)`", README):
        assert (ROOT / "conf" / group / f"{option}.yaml").is_file()
