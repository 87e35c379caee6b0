"""The networks that `model=NAME` chooses, for `ecg-lightning models`; without PyTorch, so that it answers at once.

Numbers are those of the default settings, five classes and 10 s at 100 Hz. `tools/model_catalogue.py` builds the
networks and writes them.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple


class Network(NamedTuple):
    """A network in its default size.

    Attributes:
        name: as `model=NAME` takes it.
        parameters: trained numbers.
        input: shape of what the network sees of one record, without the batch.
        about: what it is, in a few words.
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
