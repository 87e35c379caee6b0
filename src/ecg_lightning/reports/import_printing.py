"""Text that `ecg-lightning import` prints, in lines of at most 80 columns if the paths allow it."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.data.snomed import Imported
from ecg_lightning.text import counted, printable

_SHOWN = 10


def imported_as_text(found: Imported, source: Path, out: Path, *, keep_unlabelled: bool) -> str:
    """Return the records of each class, the records left out, and the command that trains on the table."""
    lines = [f"{counted(len(found.rows), 'record')} of {counted(found.n_headers, 'header')} are in {out}"]
    lines += [f"  {name:<20}{sum(int(row[name]) for row in found.rows):>8,}" for name in found.classes]
    if found.absent:
        lines.append(f"classes of the mapping without a record, so without a column: {', '.join(found.absent)}")
    if found.n_unmapped:
        kept = "kept as negatives of all classes" if keep_unlabelled else "left out"
        lines.append(f"{counted(found.n_unmapped, 'record')} without a mapped code: {kept}")
    if found.n_without_codes:
        lines.append(f"{counted(found.n_without_codes, 'header')} without a line of codes (# Dx: …): left out")
    if found.unreadable:
        lines.append(f"{counted(len(found.unreadable), 'header')} unreadable: left out")
        lines += [f"  {printable(one)}" for one in found.unreadable[:_SHOWN]]
    if found.unmapped:
        lines.append("most frequent codes that the mapping does not have, and their records:")
        lines += [f"  {printable(code)[:20]:<20}{n:>8,}" for code, n in found.unmapped.most_common(_SHOWN)]
    lines.append("the headers name no patients, so records of one patient may be in several folds")
    lines.append(f"train on them: data=folder data.root={source} data.table={out}")
    return "\n".join(lines)
