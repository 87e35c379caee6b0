"""Counts of one kind of harm: tried, survived, lost; the JSON of an area, and its lines on the terminal."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecg_lightning.hardware.processor import describe_processor
from ecg_lightning.results.results import git_revision, package_versions

SHOWN = 5


@dataclass
class Tally:
    """What became of the tries of one kind.

    Attributes:
        what: the kind, as it stands in the table of docs/explanation/reliability.md.
        promise: what counts as survived.
        tried: tries.
        survived: tries that kept the promise.
        failures: why the others did not, each with the command or input that shows it.
        figures: further figures, such as seconds.
        not_measured: why nothing was tried, such as a missing permission.
    """

    what: str
    promise: str
    tried: int = 0
    survived: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    not_measured: str | None = None

    def count(self, fault: str | None, shown_by: str = "") -> None:
        """Count one try; `fault` says why it did not survive, `shown_by` what shows that."""
        self.tried += 1
        self.survived += fault is None
        if fault is not None:
            self.failures.append({"fault": fault, "shown_by": shown_by})
            if len(self.failures) <= SHOWN:
                print(f"  lost: {self.what}: {fault}\n    {shown_by}", flush=True)
        elif self.tried % 10 == 0:
            print(f"  {self.what}: {self.survived} of {self.tried}", flush=True)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, with the first failures alone."""
        found = asdict(self)
        found["lost"] = self.tried - self.survived
        found["failures"] = self.failures[:20]
        return found


def write_area(area: str, tallies: list[Tally], folder: Path | None, started: float) -> None:
    """Print an area's counts; write them as `<area>.json` where a folder is named."""
    seconds = time.monotonic() - started
    for tally in tallies:
        extra = "".join(f", {name} {value:.4g}" for name, value in tally.figures.items())
        said = (
            tally.not_measured or f"tried {tally.tried}, survived {tally.survived}, lost {tally.tried - tally.survived}"
        )
        print(f"{area}: {tally.what}: {said}{extra}", flush=True)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "area": area,
            "seconds": round(seconds),
            "host": describe_processor(),
            "versions": package_versions(),
            "git": git_revision(),
            "rows": [tally.as_dict() for tally in tallies],
        }
        (folder / f"{area}.json").write_text(json.dumps(content, indent=2) + "\n")
