"""The networks that `model=NAME` chooses, for `ecg-lightning models`. PyTorch is not imported, so the command is fast.

Numbers are those of the default settings, five classes and 10 s at 100 Hz. `tools/model_catalogue.py` builds the
networks and writes the numbers.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple


class Network(NamedTuple):
    """A network in its default size.

    Attributes:
        name: name for `model=NAME`.
        parameters: number of trained parameters.
        input: shape of the network's input for one record, without the batch.
        about: short description.
    """

    name: str
    parameters: int
    input: tuple[int, ...]
    about: str


def networks() -> list[Network]:
    """Return the networks of `catalogue.csv`, the smallest first.

    `model=ensemble`, which averages trained networks, has no parameters of its own.
    """
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        return [
            Network(row["name"], int(row["parameters"]), tuple(map(int, row["input"].split())), row["about"])
            for row in csv.DictReader(file)
        ]
