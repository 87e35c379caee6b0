"""A label table from WFDB headers with SNOMED CT codes, as the PhysioNet/CinC Challenges 2020 and 2021 wrote them.

The package's mapping, `snomed_superclasses.csv`, assigns PTB-XL superclasses to codes. Codes and names are those of the
Challenge 2021 (`dx_mapping_scored.csv` and `dx_mapping_unscored.csv` of
https://github.com/physionetchallenges/evaluation-2021), and of SNOMED CT for the normal ECG. A code's superclass is
that of the statement with the same meaning in PTB-XL's `scp_statements.csv`.

The mapping leaves out a code that has no such statement, or that has a statement without a superclass:

- rhythms and ectopic beats;
- sinus rhythm (426783006), which does not say that an ECG is normal;
- T wave abnormality (164934002) and inversion (59931005), ST depression (429622005) and elevation (164931005), which
  PTB-XL counts as form;
- axis deviations, voltages and pacing.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ecg_lightning.data.recordings.input_file import open_regular
from ecg_lightning.data.wfdb import RecordError
from ecg_lightning.errors import DataError
from ecg_lightning.system.disk import write_whole
from ecg_lightning.system.regular_files import read_regular

SUPERCLASSES_FILE = Path(__file__).with_name("snomed_superclasses.csv")
"""The mapping from SNOMED CT codes to the superclasses of PTB-XL."""

_MAX_HEADER_BYTES = 65_536
_MAX_MAPPING_BYTES = 2**20
_COMMENT = re.compile(r"#\s*(dx|age|sex)\s*:\s*(.*)", re.IGNORECASE)
_SEXES = {"male": "male", "m": "male", "female": "female", "f": "female"}


@dataclass
class Imported:
    """The labels and faults that were found in the headers.

    Attributes:
        n_headers: the number of headers below the folder.
        rows: the table's rows.
        classes: the table's label columns, which are the classes of at least one record.
        absent: the classes of the mapping that no record has.
        n_without_codes: the number of headers that name no code.
        n_unmapped: the number of records without any code of the mapping.
        unmapped: code outside the mapping → number of records with it.
        unreadable: the headers that cannot be read, with the reason.
    """

    n_headers: int = 0
    rows: list[dict[str, str]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    n_without_codes: int = 0
    n_unmapped: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)


def read_mapping(path: Path = SUPERCLASSES_FILE) -> dict[str, tuple[str, ...]]:
    """Return a mapping of SNOMED CT code → classes.

    Args:
        path: a CSV file with the columns `snomed` and `class`; further columns are not read.

    Raises:
        DataError: the file does not exist, or is not such a table.
    """
    wanted = "A mapping is a CSV file with the columns snomed and class"
    try:
        text = read_regular(path, _MAX_MAPPING_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except FileNotFoundError:
        raise DataError(f"{path} is not there. {wanted}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}). {wanted}") from None
    found: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows, start=2):
        code, name = (str(row.get(column) or "").strip() for column in ("snomed", "class"))
        if not code.isdecimal() or not name:
            raise DataError(f"{path}, line {number}: snomed is {code[:40]!r} and class {name[:40]!r}. {wanted}")
        found[code] = (*found.get(code, ()), name)
    if not found:
        raise DataError(f"{path} holds no code. {wanted}")
    return found


def import_headers(source: Path, mapping: dict[str, tuple[str, ...]], *, keep_unlabelled: bool = False) -> Imported:
    """Return the labels, ages and sexes of all headers below a folder.

    Args:
        source: the folder, which the table's paths are relative to.
        mapping: the mapping from `read_mapping`.
        keep_unlabelled: keep records without a mapped code, as negatives of all classes.

    Raises:
        DataError: the folder does not exist, or holds no record with a mapped code.
    """
    if not source.is_dir():
        raise DataError(f"{source} is not a folder. Name the folder that holds the .hea files")
    found, kept = Imported(), []
    for header in sorted(path for path in source.rglob("*") if path.suffix.lower() == ".hea"):
        found.n_headers += 1
        try:
            said = _comments(header)
        except (OSError, RecordError) as error:
            found.unreadable.append(f"{header.relative_to(source)}: {error}")
            continue
        codes = [code for code in re.split(r"[,\s]+", said.get("dx", "")) if code]
        if not codes:
            found.n_without_codes += 1
            continue
        found.unmapped.update(sorted({*codes} - mapping.keys()))
        classes = {name for code in codes for name in mapping.get(code, ())}
        found.n_unmapped += not classes
        if classes or keep_unlabelled:
            path = header.relative_to(source).with_suffix("").as_posix()
            kept.append((path, _age(said.get("age", "")), _SEXES.get(said.get("sex", "").lower(), ""), classes))
    if not found.n_headers:
        raise DataError(f"{source} holds no WFDB header (.hea)")
    present = {name for *_, classes in kept for name in classes}
    if not present:
        raise DataError(
            f"none of the {found.n_headers:,} headers of {source} has a code of the mapping. Most frequent codes: "
            f"{', '.join(code for code, _ in found.unmapped.most_common(5)) or 'none'}. Name a mapping that has them "
            "with --mapping FILE"
        )
    names = list(dict.fromkeys(name for classes in mapping.values() for name in classes))
    found.classes = [name for name in names if name in present]
    found.absent = [name for name in names if name not in present]
    found.rows = [
        {"path": path, "age": age, "sex": sex, **{name: str(int(name in classes)) for name in found.classes}}
        for path, age, sex, classes in kept
    ]
    return found


def write_table(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write the rows of a table as CSV, whole or not at all."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def _comments(header: Path) -> dict[str, str]:
    """Return the diagnosis, age and sex in a header's comments."""
    file, _ = open_regular(header)
    with file:
        text = file.read(_MAX_HEADER_BYTES).decode("utf-8", errors="replace")
    matches = (_COMMENT.fullmatch(line.strip()) for line in text.splitlines())
    return {match[1].lower(): match[2].strip() for match in matches if match}


def _age(text: str) -> str:
    try:
        age = float(text)
    except ValueError:
        return ""
    return f"{age:g}" if 0 <= age < 400 else ""
