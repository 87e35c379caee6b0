"""The README says only what is so: its keys, options, files and example run."""

import re

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


def test_the_python_example_runs(synthetic_root):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(example.replace('"DIR"', repr(str(synthetic_root))), names)
    assert names["batch"].signals.shape[1:] == (12, 1000)
    assert names["batch"].targets.shape[1] == 5


def test_every_recipe_and_debug_option_exists():
    for group, option in re.findall(r"`(experiment|debug|hparams_search|model)=(\w+)`", README):
        assert (ROOT / "conf" / group / f"{option}.yaml").is_file()
