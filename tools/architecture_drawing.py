"""Draw docs/assets/architecture.svg: the rooms in their order, and the ways of a setting, a batch and a prediction.

python tools/architecture_drawing.py

The order is that of `[tool.importlinter]` in pyproject.toml, and a room's purpose is the docstring of its package.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "assets" / "architecture.svg"
SOURCE = ROOT / "src" / "ecg_lightning"


class Way(NamedTuple):
    """The rooms that something passes through, in this order."""

    name: str
    colour: str
    rooms: tuple[str, ...]


WAYS = (
    Way("setting", "#3949ab", ("commands", "config", "training", "checkpoints", "models")),
    Way("batch", "#2e7d32", ("data", "frontend", "models", "learning", "evaluation", "results")),
    Way("prediction", "#c2410c", ("commands", "data", "deployment", "evaluation", "reports")),
)
"""docs/explanation/architecture.md tells each step."""

ROW, NAME_X, TEXT_X, WAY_X, GAP, TOP = 44, 16, 190, 800, 84, 56
WIDTH = WAY_X + GAP * len(WAYS)


def rooms() -> list[tuple[str, str]]:
    """Return name and purpose of each room, the highest first."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    found = []
    for name in layers:
        folder = SOURCE / name / "__init__.py"
        path = folder if folder.is_file() else SOURCE / f"{name}.py"
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found.append((name if folder.is_file() else path.name, told.partition("\n")[0]))
    return found


def drawing() -> str:
    """Return the drawing as SVG."""
    listed = rooms()
    at = {name: TOP + ROW * number for number, (name, _) in enumerate(listed)}
    height = TOP + ROW * len(listed) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13">',
        "<title>The rooms, from the programs at the top to the ground, and three ways through them</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{NAME_X}" y="28" fill="#555555">A room imports only the rooms below it.</text>',
    ]
    for name, purpose in listed:
        y = at[name]
        parts += [
            f'<rect x="{NAME_X}" y="{y}" width="{WIDTH - 2 * NAME_X}" height="{ROW - 6}" rx="6" fill="#f3f4f8"/>',
            f'<text x="{NAME_X + 12}" y="{y + 24}" font-weight="600" fill="#1a1a1a">{escape(name)}</text>',
        ]
        lines = textwrap.wrap(purpose.replace("`", ""), 94)
        first = y + (24 if len(lines) == 1 else 16)
        parts += [
            f'<text x="{TEXT_X}" y="{first + 15 * number}" fill="#333333">{escape(line)}</text>'
            for number, line in enumerate(lines)
        ]
    for number, way in enumerate(WAYS):
        x = WAY_X + GAP * number + GAP // 2 - NAME_X
        stops = [at[room] + ROW // 2 - 3 for room in way.rooms]
        parts += [
            f'<text x="{x}" y="28" text-anchor="middle" font-weight="600" fill="{way.colour}">{way.name}</text>',
            f'<line x1="{x}" y1="{min(stops)}" x2="{x}" y2="{max(stops)}" stroke="{way.colour}" stroke-width="4"/>',
        ]
        for step, y in enumerate(stops, start=1):
            parts += [
                f'<circle cx="{x}" cy="{y}" r="11" fill="#ffffff" stroke="{way.colour}" stroke-width="3"/>',
                f'<text x="{x}" y="{y + 4}" text-anchor="middle" font-size="11" font-weight="600" '
                f'fill="{way.colour}">{step}</text>',
            ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    FILE.write_text(drawing(), encoding="utf-8")
