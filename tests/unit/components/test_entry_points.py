"""Components that installed packages offer by entry points: they are used where the user trusts the package."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tiny import ROOT

from ecg_lightning.checkpoints.building import build, build_classifier, build_frontend, build_restorable
from ecg_lightning.checkpoints.io import save_checkpoint
from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.components import entry_points, registry
from ecg_lightning.errors import CheckpointError, ConfigError, ForeignCodeError
from ecg_lightning.models.classifier import ECGClassifier

ENTRY_POINTS = """
[ecg_lightning.models]
plain = plug_ecg.schema:PlainConfig
vit = plug_ecg.schema:PlainConfig
renamed = plug_ecg.schema:PlainConfig
broken = plug_ecg.broken:Config
no_schema = plug_ecg.schema:NUMBER
os_system = os:system
elsewhere = plug_ecg.schema:ElsewhereConfig
[ecg_lightning.frontends]
doubled = plug_ecg.schema:DoubledConfig
[ecg_lightning.stages]
halve = plug_ecg.schema:HalveConfig
"""
SCHEMA = '''
from dataclasses import dataclass
from typing import ClassVar

from ecg_lightning.compression.schema import StageConfig
from ecg_lightning.frontend.schema import FrontendConfig
from ecg_lightning.models.schema import SignalNetworkConfig
from ecg_lightning.components.setting import kind, setting

NUMBER = 3


@dataclass
class PlainConfig(SignalNetworkConfig):
    """A linear layer on the mean of each lead."""

    target: ClassVar[str] = "plug_ecg.network.Plain"
    kind: str = kind("plain")
    bias: bool = setting(True, "whether the layer has a bias")


@dataclass
class ElsewhereConfig(SignalNetworkConfig):
    target: ClassVar[str] = "other_package.network.Plain"
    kind: str = kind("elsewhere")


@dataclass
class DoubledConfig(FrontendConfig):
    """The signal, twice as large."""

    target: ClassVar[str] = "plug_ecg.network.Doubled"
    kind: str = kind("doubled")


@dataclass
class HalveConfig(StageConfig):
    """All weights, half as large."""

    target: ClassVar[str] = "plug_ecg.network.Halve"
    kind: str = kind("halve")
'''
NETWORK = """
import torch
from torch import nn

from ecg_lightning.compression.stage import CompressionStage
from ecg_lightning.frontend.signal import SignalFrontend
from ecg_lightning.models.signal_classifier import SignalClassifier


class Network(nn.Module):
    def __init__(self, n_leads, n_classes, bias):
        super().__init__()
        self.head = nn.Linear(n_leads, n_classes, bias)

    def forward(self, signals_BCT):
        return self.head(signals_BCT.mean(dim=2))


class Plain(SignalClassifier):
    @staticmethod
    def make_network(settings, input, n_classes):
        return Network(input.signal[0], n_classes, settings.bias)


class Doubled(SignalFrontend):
    def represent_as_is(self, millivolts_BCT):
        return 2 * super().represent_as_is(millivolts_BCT)


class Halve(CompressionStage):
    def apply(self, classifier, context):
        with torch.no_grad():
            for parameter in classifier.network.parameters():
                parameter.mul_(0.5)
        return classifier
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with an installed package."""
    folder = tmp_path_factory.mktemp("site")
    for name, content in {
        "plug_ecg/__init__.py": "",
        "plug_ecg/schema.py": SCHEMA,
        "plug_ecg/network.py": NETWORK,
        "plug_ecg/broken.py": "1 / 0",
        "plug_ecg-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: plug-ecg\nVersion: 1.0\n",
        "plug_ecg-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def installed(package, monkeypatch):
    """The package as a new process finds it; call the fixture to trust it."""

    def forget():
        registry.options.cache_clear()
        entry_points._declared.cache_clear()
        for name in [one for one in sys.modules if one.startswith("plug_ecg")]:
            del sys.modules[name]

    def trust():
        monkeypatch.setenv("ECG_LIGHTNING_TRUST", "plug_ecg")
        registry.options.cache_clear()

    forget()
    monkeypatch.syspath_prepend(package)
    yield trust
    forget()


def build_plain(**settings):
    node = {"kind": "plain", **settings}
    return build_classifier(node, {"kind": "doubled"}, n_samples=1000, seed=0)


def test_an_installed_package_is_not_imported_before_it_is_trusted(installed, tmp_path):
    content = read_checkpoint(ROOT / "tests" / "fixtures_6647fd0" / "checkpoints" / "last.ckpt")
    content["ecg_lightning"]["model"] = {"kind": "plain"}
    save_checkpoint(content, tmp_path / "x.ckpt")
    said = (
        r"model\.kind=plain: entry point plain=plug_ecg\.schema:PlainConfig would run code of the package plug_ecg, "
        r"which ECG_LIGHTNING_TRUST does not name\. .* run: export ECG_LIGHTNING_TRUST=plug_ecg$"
    )
    with pytest.raises(ForeignCodeError, match=said):
        build_plain()
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: {said}"):
        load_classifier(tmp_path / "x.ckpt")
    assert "plug_ecg" not in sys.modules
    assert "plain" not in registry.options("model")


def test_components_of_a_trusted_package_are_built(installed):
    installed()
    classifier = build_plain(bias=False)
    signals = torch.randn(2, 12, 1000)
    assert type(classifier).__name__ == "Plain"
    assert [name for name, _ in classifier.network.named_parameters()] == ["head.weight"]
    plain = build_frontend({"kind": "signal"}, n_samples=1000)
    assert torch.equal(classifier.frontend(signals), 2 * plain(signals))
    assert type(build_restorable({"kind": "halve"}, "stage")).__name__ == "Halve"
    with pytest.raises(ConfigError, match=r"model\.bias=3: this value is of the wrong type"):
        build_plain(bias=3)
    # Only a schema may name the package's classes, and only its own.
    with pytest.raises(ConfigError, match="this class is not allowed"):
        build({"_target_": "plug_ecg.network.Plain"}, ECGClassifier, "callbacks.extra.x")
    with pytest.raises(ConfigError, match=r"other_package\.network\.Plain: this class is not allowed"):
        build_classifier({"kind": "elsewhere"}, {"kind": "signal"}, n_samples=1000, seed=0)


def test_broken_entry_points_are_left_out_with_a_warning(installed, caplog):
    installed()
    assert set(registry.others("model")) == {"plain", "elsewhere"}
    said = {record.getMessage().partition(" ")[2].partition("=")[0]: record.getMessage() for record in caplog.records}
    for name, reason in {
        "point vit": "this name is taken",
        "point renamed": 'must declare target = "package.module.Class" and kind("renamed") itself',
        "point broken": "plug_ecg.broken cannot be imported (ZeroDivisionError: division by zero; broken.py, line 1)",
        "point no_schema": "this is no dataclass that inherits from ecg_lightning.models.schema.ModelConfig",
    }.items():
        assert reason in said[name]
        assert said[name].endswith(". It is left out")
    with pytest.raises(ConfigError, match=r"model\.kind=broken: entry point broken=.* cannot be imported"):
        registry.schema_of("model", {"kind": "broken"}, "model")
    with pytest.raises(ConfigError, match=r"model\.kind=os_system: .* os is a part of Python"):
        registry.schema_of("model", {"kind": "os_system"}, "model")


@pytest.mark.slow
def test_options_of_a_package_are_chosen_as_any_other(package, synthetic_root, tmp_path):
    def start(program, *settings, trust="plug_ecg"):
        paths = os.pathsep.join([f"{ROOT}/src", str(package)])
        return subprocess.run(
            [sys.executable, program, *settings],
            env={**os.environ, "PYTHONPATH": paths, "ECG_LIGHTNING_TRUST": trust},
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    short = ["hardware.precision=32-true", "hardware.threads=1", "logger=none", "callbacks.figures=false"]
    run = ["data=ptbxl", f"data.root={synthetic_root}", *short, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/run"]
    for option in ("model=plain", "frontend=doubled", "compression=halve"):
        refused = start("train.py", option, *run, trust="")
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"error: {option}: entry point ")
        assert "export ECG_LIGHTNING_TRUST=plug_ecg" in refused.stderr
    listed = start("train.py", "--help").stdout
    assert all(option in listed for option in ("plain", "doubled", "halve"))
    trained = start("train.py", "model=plain", "frontend=doubled", "model.bias=false", *run)
    assert trained.returncode == 0, trained.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["choices"]["model"], result["choices"]["frontend"]) == ("plain", "doubled")
    checkpoint = [f"ckpt_path={tmp_path}/run/checkpoints/best.ckpt", f"hydra.run.dir={tmp_path}/compressed"]
    less = ["compression.latency.batches=[1]", "compression.latency.rounds=1"]
    compressed = start("compress.py", *checkpoint, "compression=halve", *short[:3], *less)
    assert compressed.returncode == 0, compressed.stderr
    assert (tmp_path / "compressed" / "variants" / "halve" / "model.onnx").is_file()
