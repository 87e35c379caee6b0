"""Write the networks that `ecg-lightning models` lists: a row for each option of conf/model/.

python tools/model_catalogue.py

The words about a new network are the first comment of its YAML file, up to the first stop.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.commands.launching import compose
from ecg_lightning.models import catalogue
from ecg_lightning.models.catalogue import Network

OPTIONS = Path(__file__).parents[1] / "conf" / "model"
FILE = Path(catalogue.__file__).with_suffix(".csv")
_WITHOUT_NETWORK = ("custom", "ensemble", "timm")


def options() -> list[str]:
    """Return the options of the group `model` that have a network of their own."""
    return sorted(path.stem for path in OPTIONS.glob("*.yaml") if path.stem not in _WITHOUT_NETWORK)


def built(name: str) -> Network:
    """Build a network in its default size, and return its row."""
    config = compose(f"model={name}")
    classifier = build_classifier(config["model"], config["frontend"], n_samples=1000, seed=0)
    n_parameters = sum(parameter.numel() for parameter in classifier.network.parameters())
    comment = (OPTIONS / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    about = re.split(r"[.:;]", comment.lstrip("# "))[0]
    return Network(name, n_parameters, classifier.frontend.network_input.shape, about)


def main() -> None:
    """Write the table; the words about a network that is there stay."""
    told = {network.name: network.about for network in catalogue.networks()}
    rows = [built(name) for name in options()]
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Network._fields)
        for row in sorted(rows, key=lambda row: row.parameters):
            shape = " ".join(map(str, row.input))
            writer.writerow([row.name, row.parameters, shape, told.get(row.name, row.about)])


if __name__ == "__main__":
    main()
