"""A user's own module, which tests name as `model.network=own_network:make`."""

from subprocess import run  # noqa: F401

import torch
from torch import nn
from torch.nn import Linear


class Network(nn.Module):
    def __init__(self, n_inputs, n_classes, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(n_inputs, width, 5, stride=4), nn.BatchNorm1d(width), nn.ReLU())
        self.head = Linear(width, n_classes)

    def forward(self, signals_BCT):
        return self.head(self.layers(signals_BCT).mean(dim=2))


def make(input, n_classes, width=8):
    n_leads, _ = input.signal
    return Network(n_leads, n_classes, width)


def make_for_images(input, n_classes):
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.LazyLinear(n_classes))


def fail(input, n_classes):
    raise ValueError("a line\nbreak")


def make_nothing(input, n_classes):
    return None


def make_too_many(input, n_classes):
    return Network(12, n_classes + 1, 4)


def make_what_fails(input, n_classes):
    return Network(3, n_classes, 4)


class Tuple(nn.Module):
    def forward(self, signals_BCT):
        return torch.zeros(2, 5), None


def make_tuples(input, n_classes):
    return Tuple()


number = 3
