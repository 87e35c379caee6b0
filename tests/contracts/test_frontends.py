"""Every option of conf/frontend/ gives what its schema and its `network_input` say, and can be exported."""

import pytest
import torch
from tiny import ROOT, schema_of_option

from ecg_lightning.checkpoints.building import build_frontend

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
