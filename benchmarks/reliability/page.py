"""The table of docs/reliability.md, from the JSON files that the areas write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_COLUMNS = ("area", "what is tried", "tried", "survived", "lost")


def write_page(page: Path, folder: Path) -> None:
    """Replace the marked block of a page by the figures in `folder`."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    areas = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    page.write_text(f"{before}{BEGIN}\n{_block(areas)}\n{END}{after}")


def _block(areas: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    lines += [_line(area["area"], row) for area in areas for row in area["rows"]]
    figures = [
        f"- {row['what']}: {name} {value:,.4g}"
        for area in areas
        for row in area["rows"]
        for name, value in row["figures"].items()
    ]
    hosts = {
        f"{area['host']['cpu']}, {area['host']['cores']} cores, {area['host']['memory_gib']} GiB, "
        f"{area['host']['system']}; revision {area['git']}"
        for area in areas
    }
    return "\n".join(
        ["", *lines, "", "Further figures:", "", *figures, "", *(f"Measured on: {one}." for one in sorted(hosts))]
    )


def _line(area: str, row: dict[str, Any]) -> str:
    if row["not_measured"]:
        return f"| {area} | {row['what']} | not measured | | |"
    return f"| {area} | {row['what']} | {row['tried']:,} | {row['survived']:,} | {row['lost']:,} |"
