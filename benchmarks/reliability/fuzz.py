"""The inputs of tests/fuzz, counted: refused, right, or a fault."""

from __future__ import annotations

import logging
import sys
import warnings
from math import ceil
from pathlib import Path

from reliability.programs import ROOT
from reliability.tally import Tally

sys.path.insert(0, str(ROOT / "tests"))


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Try at least `tries` inputs, spread over the readers as in the slow lane."""
    from fuzz.lanes import INPUTS, fuzz
    from fuzz.targets import all_targets

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # the readers' own notes
    targets = all_targets(folder / "fuzz")
    total = sum(slow for _, slow in INPUTS.values())
    tallies = []
    for name, (_, slow) in INPUTS.items():
        outcome = fuzz(targets[name], ceil(slow * tries / total), stop=False)
        tally = Tally(f"fuzzed: {name}", "ends in a `UserError`, or in what an independent reader gives")
        tally.tried, tally.survived = outcome.tried, outcome.refused + outcome.right
        tally.failures = [{"fault": one, "shown_by": name} for one in (*outcome.wrong, *outcome.foreign)]
        tally.figures = {
            "right answers": outcome.right,
            "wrong answers": len(outcome.wrong),
            "other exceptions": len(outcome.foreign),
        }
        print(f"  {name}: {outcome}", flush=True)
        tallies.append(tally)
    return tallies
