"""The effect of a hardware profile on a network."""

import copy

import pytest
import torch
from torch import nn

from ecg_lightning.hardware.device import prepare, to_channels_last


def test_fp32_is_fp32_on_a_device_too(monkeypatch, configure):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    device = prepare(configure("hardware=cuda", "hardware.precision=32-true", "hardware.threads=1").hardware)
    assert (device["accelerator"], device["precision"]) == ("cuda", "32-true")
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("inputs", "kernel_size", "stride", "reordered"),
    [(12, 1, 2, False), (12, 1, 1, True), (12, 3, 2, True), (16, 1, 2, True)],
)
def test_only_what_onednn_trains_safely_becomes_channels_last(inputs, kernel_size, stride, reordered):
    """Trained in that order, the first one ends the process."""
    network = nn.Sequential(
        nn.Conv2d(3, inputs, 3), nn.Conv2d(inputs, 16, kernel_size, stride), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    images = torch.randn(4, 3, 64, 512)
    exported = torch.export.export(copy.deepcopy(network), (images,)).module()
    to_channels_last(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last) == reordered
    network(images).sum().backward()
    assert network[1].weight.grad.isfinite().all()
    to_channels_last(exported)
    in_order = all(one.is_contiguous() for one in exported.parameters())
    assert in_order == (kernel_size == 1 and inputs < 16)  # a graph does not tell its strides
