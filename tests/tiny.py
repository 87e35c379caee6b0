"""Where the repository is, and settings that make each model small enough for a test."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
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
}
SIGNAL_MODELS = {"resnet1d"}
"""Models that take the signal itself; all others take an image."""
