"""The table of docs/explanation/reliability.md, from the JSON files that the areas write."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_COLUMNS = ("area", "what is tried", "tried", "survived", "lost", "further figures")


def write_page(page: Path, folder: Path, order: Iterable[str]) -> None:
    """Replace the marked block of a page by the figures in `folder`, area by area in this order."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    paths = (folder / f"{area}.json" for area in order)
    areas = [json.loads(path.read_text()) for path in paths if path.is_file()]
    page.write_text(f"{before}{BEGIN}\n{_block(areas)}\n{END}{after}")


def _block(areas: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    lines += [_line(area["area"], row) for area in areas for row in area["rows"]]
    measured: dict[str, list[str]] = {}
    for area in areas:
        host = area["host"]
        where = f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, {host['system']}"
        measured.setdefault(f"{where}; revision {area['git']}", []).append(area["area"])
    said = " ".join(f"Measured on {where}: {', '.join(names)}." for where, names in measured.items())
    return "\n".join(["", *lines, "", textwrap.fill(said, 100, break_on_hyphens=False), ""])


def _line(area: str, row: dict[str, Any]) -> str:
    figures = "; ".join(f"{name} {value:,.4g}" for name, value in row["figures"].items())
    counts = [f"{row[name]:,}" for name in ("tried", "survived", "lost")]
    if row["not_measured"]:
        counts, figures = ["", "", ""], f"not measured: {row['not_measured']}"
    return f"| {' | '.join([area, row['what'], *counts, figures])} |"
