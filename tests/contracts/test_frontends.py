"""Every option of conf/frontend/ gives what its schema and its `network_input` say, and can be exported."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny import ROOT, schema_of_option

from ecg_lightning.checkpoints.building import build_frontend
from ecg_lightning.components.setting import kind, setting
from ecg_lightning.config.validation import validate
from ecg_lightning.errors import ConfigError
from ecg_lightning.frontend.schema import FrontendConfig

NAMES = sorted(path.stem for path in (ROOT / "conf" / "frontend").glob("*.yaml"))
MODELS = {"signal": "resnet1d_wang", "image": "resnet10t"}


@pytest.mark.parametrize("name", NAMES)
def test_a_front_end_gives_the_shape_that_it_names(configure, name):
    gives = schema_of_option("frontend", name).gives
    cfg = configure(f"model={MODELS[gives]}", f"frontend={name}")
    frontend = build_frontend(cfg.frontend, n_samples=1000).eval()
    signals = torch.randn(2, 12, 1000)
    assert frontend(signals).shape[1:] == frontend.network_input.shape
    assert len(frontend.network_input.shape) == {"signal": 2, "image": 3}[gives]
    exported = torch.export.export(frontend, (signals,)).module()
    assert torch.equal(exported(signals), frontend(signals))


@dataclass
class BandsConfig(FrontendConfig):
    """A front end of another package. Its rule needs the network's patches."""

    gives: ClassVar[str] = "image"
    target: ClassVar[str] = "package.bands.Bands"
    kind: str = kind("bands")
    rows: int = setting(16, "rows of a band", min=1)

    def check(self, patch_size):
        if self.rows % patch_size:
            raise ConfigError(f"frontend.rows={self.rows}: must be a multiple of model.patch_size={patch_size}")


@pytest.mark.parametrize(
    ("model", "rows", "refused"), [("vit", 16, False), ("vit", 12, True), ("resnet10t", 12, False)]
)
def test_a_front_end_has_rules_of_its_own(model, rows, refused):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=[f"model={model}", "paths.output_dir=unused"])
    cfg.frontend = OmegaConf.structured(BandsConfig(rows=rows))
    if (model, rows) == ("vit", 12):
        with pytest.raises(ConfigError, match=r"^frontend\.rows=12: must be a multiple of model\.patch_size=8$"):
            validate(cfg)
    else:
        validate(cfg)
