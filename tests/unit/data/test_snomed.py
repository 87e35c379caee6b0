"""Headers as the PhysioNet Challenges wrote them become a table of labels."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ecg_lightning.commands.cli import app
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.data.own_table import read_own_table
from ecg_lightning.data.snomed import read_mapping

HEADERS = {  # of CPSC, Georgia, Chapman and PTB-XL's export
    "cpsc/A0001": "#Age: 74\n#Sex: Male\n#Dx: 59118001\n#Rx: Unknown\n",
    "georgia/g1/E00001": "# Age: 71\n# Sex: F\n# Dx: 164873001,164865005,426783006\n",
    "chapman/JS00001": "#Age: NaN\n#Sex: Unknown\n#Dx: 164889003, 164934002\n",
    "ptb-xl/HR00001": "# Age: 300\n# Sex: Female\n# Dx: 425623009,713426002,426783006\n",
    "chapman/JS00002": "#Age: 5\n#Sex: Male\n#Dx: \n",
}


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    root = tmp_path / "challenge"
    for name, comments in HEADERS.items():
        path = root / f"{name}.hea"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.stem} 12 500 5000\n{comments}")
    (root / "cpsc" / "folder.hea").mkdir()
    return root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_codes_become_superclasses(challenge: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    done = call(challenge, "--out", out)
    assert done.exit_code == 0, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"path": "cpsc/A0001", "age": "74", "sex": "male", "CD": "1", "HYP": "0", "MI": "0", "STTC": "0"},
        {"path": "georgia/g1/E00001", "age": "71", "sex": "female", "CD": "0", "HYP": "1", "MI": "1", "STTC": "0"},
        {"path": "ptb-xl/HR00001", "age": "300", "sex": "female", "CD": "1", "HYP": "0", "MI": "0", "STTC": "1"},
    ]
    assert done.stdout.splitlines() == [
        f"3 records of 6 headers are in {out}",
        f"  CD{2:>26}",
        f"  HYP{1:>25}",
        f"  MI{1:>26}",
        f"  STTC{1:>24}",
        "classes of the mapping without a record, so without a column: NORM",
        "1 record without a mapped code: left out",
        "1 header without a line of codes (# Dx: …): left out",
        "1 header unreadable: left out",
        "  cpsc/folder.hea: folder.hea is a folder, not a file",
        "most frequent codes that the mapping does not have, and their records:",
        f"  426783006{2:>19}",
        f"  164889003{1:>19}",
        f"  164934002{1:>19}",
        "the headers name no patients, so records of one patient may be in several folds",
        f"train on them: data=folder data.root={challenge} data.table={out}",
    ]
    table = read_own_table(out, challenge)
    assert [*table.labels] == ["CD", "HYP", "MI", "STTC"]
    assert not table.has_patients


def test_another_mapping_and_negatives(challenge: Path, tmp_path: Path) -> None:
    mapping, out = tmp_path / "mapping.csv", tmp_path / "table.csv"
    mapping.write_text("snomed,class\n164889003,atrial fibrillation\n426783006,sinus\n426783006,regular\n")
    done = call(challenge, "--out", out, "--mapping", mapping, "--keep-unlabelled")
    assert "1 record without a mapped code: kept as negatives of all classes" in done.stdout
    labels = read_own_table(out, challenge).labels
    assert {name: column.tolist() for name, column in labels.items()} == {
        "atrial fibrillation": [1, 0, 0, 0],
        "sinus": [0, 0, 1, 1],
        "regular": [0, 0, 1, 1],
    }


def test_the_mapping_names_superclasses_alone() -> None:
    mapping = read_mapping()
    assert {name for classes in mapping.values() for name in classes} == {*SUPERCLASSES}
    assert all(len(classes) == 1 for classes in mapping.values())
    assert not {"426783006", "164889003", "164934002", "429622005"} & mapping.keys()  # no statement says a superclass


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        (None, "mapping.csv is not there. A mapping is a CSV file with the columns snomed and class"),
        ("snomed,class\nAF,x\n", "mapping.csv, line 2: snomed is 'AF' and class 'x'"),
        ("code,class\n1,x\n", "mapping.csv, line 2: snomed is '' and class 'x'"),
        ("snomed,class\n", "mapping.csv holds no code"),
        ("snomed,class\n1,x\n", "none of the 6 headers of"),
    ],
)
def test_mistakes_are_one_sentence(challenge: Path, tmp_path: Path, mapping: str | None, says: str) -> None:
    if mapping is not None:
        (tmp_path / "mapping.csv").write_text(mapping)
    done = call(challenge, "--out", tmp_path / "table.csv", "--mapping", tmp_path / "mapping.csv")
    assert done.exit_code == 3
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "table.csv").exists()


def test_nothing_is_overwritten(challenge: Path, tmp_path: Path) -> None:
    (tmp_path / "there.csv").touch()
    for arguments, says in (
        ((challenge, "--out", tmp_path / "there.csv"), "there.csv: this file exists already. Name another file"),
        ((challenge, "--out", tmp_path / "table.txt"), "Give its name the ending .csv"),
        ((tmp_path / "none", "--out", tmp_path / "table.csv"), "none is not a folder. Name the folder that holds"),
        ((challenge / "cpsc" / "folder.hea", "--out", tmp_path / "table.csv"), "holds no WFDB header (.hea)"),
    ):
        done = call(*arguments)
        assert done.exit_code in (2, 3), done.output
        assert says in done.stderr
