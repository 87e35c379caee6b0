"""Tables as CSV: an interval has three columns, a mean over seeds has two."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence

from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.reports.section import Cell, Spread, Table


def to_csv(tables: Sequence[Table]) -> str:
    """Return one CSV table of all tables that have the first table's first column.

    Numbers have all their digits. A cell that is missing in one of the tables is empty.
    """
    key = tables[0].columns[0].name
    rows: dict[tuple[str, int], dict[str, Cell]] = {}
    names = [key]
    for table in tables:
        if table.columns[0].name != key:
            continue
        seen: Counter[str] = Counter()  # equal rows of one table stay separate
        for row in table.rows:
            named = str(row[0])
            known = rows.setdefault((named, seen[named]), {key: row[0]})
            seen[named] += 1
            for column, cell in zip(table.columns[1:], row[1:], strict=True):
                known |= _cells(column.name, cell)
        names += [name for name in _names(table) if name not in names]
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    return content.getvalue()


def _names(table: Table) -> list[str]:
    """Return the names of a table's columns, with those of the parts of its cells."""
    found: list[str] = []
    for place, column in enumerate(table.columns[1:], start=1):
        own = dict.fromkeys(name for row in table.rows for name in _cells(column.name, row[place]))
        found += [*own] if own else [column.name]
    return list(dict.fromkeys(sorted(found, key=found.index)))


def _cells(name: str, cell: Cell) -> dict[str, Cell]:
    if isinstance(cell, Interval):
        return {name: _finite(cell.value), f"{name}_low": _finite(cell.low), f"{name}_high": _finite(cell.high)}
    if isinstance(cell, Spread):
        return {name: _finite(cell.mean), f"{name}_sd": cell.sd}
    return {name: cell if isinstance(cell, str) or cell is None else _finite(cell)}


def _finite(value: float) -> float | None:
    return value if value == value else None
