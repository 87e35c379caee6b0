"""Where the repository is, and models small enough for a test."""

import re
from pathlib import Path

import torch

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.components.registry import options

ROOT = Path(__file__).parents[2]
TINY = {
    "vit": ["model.dim=32", "model.depth=2", "model.heads=2", "model.mlp_dim=64"],
    "deit": ["model.dim=48", "model.depth=2", "model.heads=3"],
    "deit_base": ["model.dim=48", "model.depth=2", "model.heads=3"],
    "effnetv2": ["model.width=0.25", "model.depth=0.1"],
    "convnext": ["model.channels=[8,16,32,64]", "model.blocks=[1,1,1,1]"],
    "resnet18d": ["model.width=0.125"],
    "resnet10t": ["model.width=0.125"],
    "repvgg_a0": ["model.width=0.125"],
    "resnet1d": ["model.channels=[8,16,32]", "model.blocks=[1,2,1]"],
    "resnet1d_wang": ["model.channels=16"],
    "xresnet1d18": ["model.width=0.25"],
    "xresnet1d50": ["model.width=0.125"],
    "xresnet1d101": ["model.width=0.125"],
    "inception1d": ["model.filters=8", "model.bottleneck=8"],
    "lstm": ["model.hidden=16"],
    "lstm_bidir": ["model.hidden=16"],
    "s4d": ["model.channels=16", "model.depth=2"],
    "vit1d": ["model.dim=32", "model.depth=2", "model.heads=2"],
}
TIMM_MODELS = ("beit_base", "effnet_b0", "inception_v3", "swin_tiny", "vit_base")
"""Ready choices of `model=timm`, which tests/contracts/test_timm.py tests."""
OTHERS = ("custom", "ensemble", "timm", *TIMM_MODELS)
"""Options of the group `model` whose network is made by the user, by their members, or by timm."""
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml") if path.stem not in OTHERS)


def schema_of_option(group, option):
    """The schema of an option of a group, which may inherit another option."""
    text = (ROOT / "conf" / group / f"{option}.yaml").read_text()
    named = re.search(rf"- /schema/{group}/(\w+)@", text)
    if named:
        return options(group)[named[1]]
    return schema_of_option(group, re.search(r"^  - (\w+)$", text, re.MULTILINE)[1])


SIGNAL_MODELS = {model for model in MODELS if schema_of_option("model", model).takes == "signal"}
"""Models that take the signal itself; all others take an image."""


def build_tiny(configure, model, *overrides, teacher=None, tiny=True, n_samples=1000):
    """A classifier of a composed configuration; with `tiny=False` in its full size."""
    torch.manual_seed(0)
    size = [] if model in SIGNAL_MODELS else ["frontend.size=64"]
    cfg = configure(f"model={model}", *(TINY.get(model, []) if tiny else []), *size, *overrides)
    return build_classifier(cfg.model, cfg.frontend, n_samples=n_samples, seed=0, teacher=teacher)
