"""The order of the rooms, as `pyproject.toml` lists it: imports point one way, and no room holds a circle."""

import subprocess
import sys
from pathlib import Path

from tiny import ROOT


def test_each_room_imports_only_those_below_it():
    # In a process of its own, because it sets up logging anew.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
