"""A bitmap font for lead names: capitals are seven cells high, and a letter is three to five cells wide."""

from __future__ import annotations

from collections.abc import Iterator

CAPITAL_CELLS = 7
"""Cells from the baseline to the top of a capital."""

_ROWS = {
    "1": ".#. ##. .#. .#. .#. .#. ###",
    "2": ".###. #...# ....# ...#. ..#.. .#... #####",
    "3": ".###. #...# ....# ..##. ....# #...# .###.",
    "4": "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    "5": "##### #.... ####. ....# ....# #...# .###.",
    "6": ".###. #.... #.... ####. #...# #...# .###.",
    "F": "##### #.... #.... ####. #.... #.... #....",
    "I": "### .#. .#. .#. .#. .#. ###",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "R": "####. #...# #...# ####. #.#.. #..#. #...#",
    "V": "#...# #...# #...# #...# .#.#. .#.#. ..#..",
    "a": "..... ..... .###. ....# .#### #...# .####",
    "−": "... ... ... ### ... ... ...",
}
GLYPHS = {letter: tuple(rows.split()) for letter, rows in _ROWS.items()}
"""Rows of each letter from the top; `#` is ink."""


def inked_cells(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (column, row) of each inked cell of a text, from the upper left. Letters are one cell apart."""
    column = 0
    for letter in text:
        rows = GLYPHS[letter]
        for row, cells in enumerate(rows):
            yield from ((column + place, row) for place, cell in enumerate(cells) if cell == "#")
        column += len(rows[0]) + 1
