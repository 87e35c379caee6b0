"""What stops, full disks, strangers' files and random inputs do to this program: tried, survived, lost.

    python benchmarks/reliability.py all --json results/      every area, about 50 minutes on two cores
    python benchmarks/reliability.py kills --tries 10
    python benchmarks/reliability.py --write docs/explanation/reliability.md --json results/

Everything is synthetic and happens in temporary folders. An area that needs root (a full disk on a tmpfs) says so where
it cannot run. The last form puts the figures of the JSON files into the page.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib import import_module
from pathlib import Path

from reliability.page import write_page
from reliability.tally import write_area

TRIES = {  # by area: tries in all; of attacks and bombs at most
    "kills": 70,
    "signals": 40,
    "sweep": 20,
    "disk": 10,
    "caches": 20,
    "flips": 400,
    "attacks": 1000,
    "bombs": 1000,
    "fuzz": 10_472,
    "reading": 7,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"all, or some of {', '.join(TRIES)}")
    parser.add_argument("--tries", type=int, help="tries of each area, in place of its own number")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="one JSON file for each area")
    parser.add_argument("--resume", default="auto", help="value of ckpt_path that goes on with a stopped run")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the figures of --json into this page")
    arguments = parser.parse_args()
    if unknown := set(arguments.areas) - {"all", *TRIES}:
        parser.error(f"there is no area {', '.join(sorted(unknown))}")
    for area in TRIES if "all" in arguments.areas else arguments.areas:
        started = time.monotonic()
        print(f"{area} …", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"reliability-{area}-", ignore_cleanup_errors=True) as folder:
            measured = import_module(f"reliability.{area}").measure(
                Path(folder), arguments.tries or TRIES[area], arguments.resume
            )
        write_area(area, measured, arguments.json, started)
    if arguments.write:
        if arguments.json is None:
            parser.error("--write needs the figures: name their folder with --json")
        write_page(arguments.write, arguments.json, TRIES)


if __name__ == "__main__":
    main()
