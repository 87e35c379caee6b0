"""A folder of records with a table of one's own labels: what is read, what is refused, and in which words."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecg_lightning.data import ECGDataModule, FolderSource
from ecg_lightning.data.own_table import read_own_table
from ecg_lightning.data.schema import FolderConfig
from ecg_lightning.data.stratification import stratified_folds
from ecg_lightning.errors import DataError

N = 20


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """Twenty records of ten patients, with two classes of unusual names, in one CSV table."""
    root = tmp_path / "mine"
    (root / "ecg").mkdir(parents=True)
    for name in pd.read_csv(pristine / "ptbxl_database.csv")["filename_lr"][:N]:
        for suffix in (".hea", ".dat"):
            shutil.copy(f"{pristine / name}{suffix}", root / "ecg")
    write(root)
    return root


def rows() -> list[dict[str, object]]:
    return [
        {
            "path": f"ecg/{number + 1:05d}_lr",
            "patient": f"P{number // 2}",
            "fold": number // 2 + 1,
            "Vorhofflimmern, neu": number // 2 % 2,
            "block / delay": int(number // 2 % 3 > 0),
        }
        for number in range(N)
    ]


def write(root: Path, changed: Callable[[list[dict[str, object]]], object] = lambda table: None) -> Path:
    table = rows()
    changed(table)
    with (root / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    return root / "table.csv"


def without(*columns: str) -> Callable[[list[dict[str, object]]], object]:
    return lambda table: [row.pop(column) for row in table for column in columns]


def setting(line: int, **cells: object) -> Callable[[list[dict[str, object]]], object]:
    return lambda table: table[line - 2].update(cells)


def source(root: Path, **settings: object) -> FolderSource:
    return FolderSource(FolderConfig(root=str(root), table="table.csv", **settings))  # type: ignore[arg-type]


# --- what is read -------------------------------------------------------------------------------------------------


def test_signals_labels_and_patients_belong_together(folder: Path) -> None:
    data = ECGDataModule(source(folder), batch_size=4)
    data.setup()
    assert data.classes == ("Vorhofflimmern, neu", "block / delay")
    assert {split: len(dataset) for split, dataset in data.datasets.items()} == {"train": 16, "val": 2, "test": 2}
    test = data.datasets["test"]
    assert test.ecg_ids.tolist() == [19, 20]
    assert test.patient_ids[0] == test.patient_ids[1]
    expected = 1000 * wfdb.rdsamp(str(folder / "ecg" / "00019_lr"))[0].T
    assert np.abs(test[0].signals.numpy() - expected).max() <= 0.5
    assert test[0].targets.tolist() == [1.0, 0.0]
    assert data.source.notes() == []
    assert data.dataset.startswith("mine, table ")


def test_records_are_resampled_cut_and_padded(folder: Path) -> None:
    signals, about = wfdb.rdsamp(str(folder / "ecg" / "00001_lr"))
    for name, part in (("long", np.concatenate([signals] * 3)), ("short", signals[:500])):
        wfdb.wrsamp(name, fs=100, units=["mV"] * 12, sig_name=about["sig_name"], p_signal=part, fmt=["16"] * 12,
                    adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(folder / "ecg"))  # fmt: skip
    np.save(folder / "ecg" / "array.npy", 1000 * signals)
    names = {2: "ecg/long", 3: "ecg\\short.hea", 4: "./ecg/array.npy"}
    write(folder, lambda table: [row.update(path=names[line]) for line, row in enumerate(table, 2) if line in names])
    settings = {"sampling_rate": 50, "pad": True, "record_rate": 100.0, "record_units": "uV"}
    data = source(folder, **settings)
    found = data.read(range(1, 11))
    assert found.cache.signals_NCT.shape == (N, 12, 500)
    long, short, array = found.cache.signals_NCT[found.rows[:3]].astype(float)
    assert np.abs(long - array).max() <= 1
    assert not short[:, 250:].any()
    assert np.corrcoef(short[1, 10:240], long[1, 10:240])[0, 1] > 0.99
    assert data.notes() == ["1 record shorter than 10 s was padded with zeros at the end"]
    assert source(folder, **settings).read([1]).cache.notes == found.cache.notes  # of the cache that was built
    with pytest.raises(DataError, match=r"ecg/short.hea \(line 3\): it lasts 5 s at 100 Hz, and 10 s are needed"):
        source(folder, **settings | {"pad": False}).read(range(1, 11))
    with pytest.raises(DataError, match=r"array.npy \(line 4\): .* give it with data.record_rate=HZ"):
        source(folder, pad=True).read(range(1, 11))


def test_a_changed_record_is_read_anew(folder: Path) -> None:
    before = source(folder).read([1])
    for suffix in (".hea", ".dat"):
        text = (folder / "ecg" / f"00003_lr{suffix}").read_bytes().replace(b"00003_lr", b"00001_lr")
        (folder / "ecg" / f"00001_lr{suffix}").write_bytes(text)
    after = source(folder).read([1, 2])
    assert (after.cache.signals_NCT[0] == after.cache.signals_NCT[2]).all()
    assert after.root_hash != before.root_hash


def test_a_table_without_patients_says_so(folder: Path) -> None:
    write(folder, without("patient"))
    data = source(folder)
    (note,) = data.notes()
    assert note.startswith("table.csv has no column patient, so each record counts as a patient of its own; the scores")
    assert len({*data.read(range(1, 11)).patient_ids}) == N


@pytest.mark.parametrize("content", ["utf-8-sig", "semicolons", "tabs", "capitals and true"])
def test_tables_of_other_programs_are_read(folder: Path, content: str) -> None:
    path = folder / "table.csv"
    expected = read_own_table(path, folder)
    table = pd.read_csv(path)
    if content == "capitals and true":
        table = table.rename(columns={"path": "Path", "fold": "FOLD"}).replace(
            {"block / delay": {0: "FALSE", 1: "True"}}
        )
        table.loc[len(table)] = None
    separator = {"semicolons": ";", "tabs": "\t"}.get(content, ",")
    table.to_csv(path, index=False, sep=separator, encoding="utf-8-sig" if content == "utf-8-sig" else "utf-8",
                 float_format="%.1f")  # fmt: skip
    found = read_own_table(path, folder)
    assert found.digest == expected.digest
    for name, column in expected.labels.items():
        assert (found.labels[name] == column).all()


def test_patients_columns_become_groups(folder: Path) -> None:
    def add(table: list[dict[str, object]]) -> None:
        for number, row in enumerate(table):
            row |= {"age": 40 + number if number else "", "sex": ["male", "F", ""][number % 3], "device": " A  B "}

    write(folder, add)
    cohort = source(folder).cohort()
    assert cohort.ages is not None
    assert cohort.sexes is not None
    assert np.isnan(cohort.ages[0])
    assert cohort.ages[1] == 41
    assert cohort.sexes[:2].tolist() == [0.0, 1.0]
    assert {*cohort.groups["device"].values} == {"A B"}
    assert cohort.classes == ("Vorhofflimmern, neu", "block / delay")  # no label was made of them


# --- folds --------------------------------------------------------------------------------------------------------


def test_folds_keep_patients_together_and_share_out_every_class() -> None:
    random = np.random.default_rng(0)
    patients = random.integers(0, 300, 500)
    patients = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    targets = (random.random((500, 4)) < [0.5, 0.2, 0.08, 0.0]).astype(np.uint8)
    folds = stratified_folds(patients, targets, 10)
    assert {*folds} == {*range(1, 11)}
    assert all(len({*folds[patients == one]}) == 1 for one in {*patients})
    counts = np.array([targets[folds == fold].sum(axis=0) for fold in range(1, 11)])
    assert np.abs(counts - targets.sum(axis=0) / 10).max() <= 3
    sizes = np.bincount(folds)[1:]
    assert sizes.max() - sizes.min() <= 6


def test_folds_follow_from_the_table_and_not_from_its_order(folder: Path) -> None:
    write(folder, without("fold"))
    one = read_own_table(folder / "table.csv", folder)
    write(folder, lambda table: (without("fold")(table), table.reverse()))
    other = read_own_table(folder / "table.csv", folder)
    assert one.folds.tolist() == other.folds[::-1].tolist()
    assert one.digest == other.digest


def test_splits_become_folds(folder: Path) -> None:
    def split(table: list[dict[str, object]]) -> None:
        for number, row in enumerate(table):
            row["split"] = "Train" if number < 16 else "validation" if number < 18 else "test"
            del row["fold"]

    table = read_own_table(write(folder, split), folder)
    assert {*table.folds[:16]} == {*range(1, 9)}
    assert table.folds[16:].tolist() == [9, 9, 10, 10]


# --- what is refused ----------------------------------------------------------------------------------------------

TABLES = [
    (setting(3, path="ecg/00001_lr.hea"), r"line 3: the record 'ecg/00001_lr.hea' is in line 2 already"),
    (setting(2, path="../secret"), r"line 2: the path '../secret' leads out of the data folder"),
    (setting(2, path="/etc/passwd"), r"line 2: the path '/etc/passwd' leads out of the data folder"),
    (setting(2, path=""), r"line 2: path is empty"),
    (setting(4, patient=""), r"line 4: patient is empty. Fill it in, or remove the column"),
    (setting(2, fold=11), r"line 2: fold is '11'. Give a whole number from 1 to 10"),
    (setting(2, fold=2), r"patient 'P0' is in two folds \(2 and 1\), so scores would be optimistic"),
    (setting(5, **{"block / delay": 2}), r"line 5: block / delay is '2'. A label is 0 or 1 .* data.labels=\[A,B\]"),
    (setting(5, **{"block / delay": ""}), r"line 5: block / delay is empty. A label is 0 or 1"),
    (without("path"), r"has no column path. Its columns are patient, fold, Vorhofflimmern, neu, block / delay"),
    (without("Vorhofflimmern, neu", "block / delay"), r"has no label column: each of its columns path, patient, fold"),
    (lambda table: [row.update(split="x") for row in table], r"has both a column fold and a column split"),
    (lambda table: [row.update(split=row.pop("fold")) for row in table], r"line 2: split is '1'. Write train, val"),
    (lambda table: [row.update(sex=1) for row in table], r"line 2: sex is '1'. Write male or female"),
    (lambda table: [row.update(age="76 y") for row in table], r"line 2: age is '76 y'. Write the years as a number"),
    (
        lambda table: [row.update(gender="M") for row in table],
        r"line 2: gender is 'M'. A label is 0 or 1 .* If it holds the sex, call the column sex. If this column is no",
    ),
    (lambda table: [row.update(macro=1) for row in table], r"a class cannot be called macro"),
    (
        lambda table: [row.update({"x" * 65: 1}) for row in table],
        r"the column 'x+' has a name that is no class",
    ),
]


@pytest.mark.parametrize(("change", "says"), TABLES)
def test_a_wrong_table_is_one_sentence(folder: Path, change: Callable[..., object], says: str) -> None:
    write(folder, change)
    with pytest.raises(DataError, match=rf"^{folder}/table.csv(, |: | ){says}"):
        source(folder).read([1])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty. It needs a column path"),
        (b"path\necg/00001_lr\n", "has one column, 'path'. It needs a column path and at least one column of labels"),
        (b"path,A\n", "holds no record, only its first line"),
        (b"path,A,A\nx,1,1\n", "has two columns 'A'"),
        (b"path,A\nx,1,2\n", "line 2 has 3 cells, and the first line has 2 columns"),
        (b'path,A\n"x,1\n', "line 2: unexpected end of data"),
        ("path,Ä\nx,1\n".encode("latin-1"), r"is not in UTF-8 \(byte 6\)"),
        ("path,A\nx,1\n".encode("utf-16"), r"is not in UTF-8 \(byte 1\)"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(folder: Path, content: bytes, says: str) -> None:
    (folder / "table.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"^{folder}/table.csv,? {says}"):
        source(folder).read([1])


def test_what_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    for root, table, says in (
        (tmp_path / "none", "table.csv", "none does not exist. Name the folder that holds the records with data.root"),
        (folder / "table.csv", "table.csv", "table.csv is not a folder"),
        (folder, "none.csv", "none.csv is not there. Name the CSV table of the records with data.table=FILE"),
    ):
        with pytest.raises(DataError, match=says):
            _ = FolderSource(FolderConfig(root=str(root), table=table)).classes
    with pytest.raises(DataError, match=r"has no label column 'AF'. Its label columns are Vorhofflimmern, neu, block"):
        _ = source(folder, labels=["AF"]).classes
    (folder / "ecg").rename(folder / "records")
    with pytest.raises(DataError, match=r"none of the 20 files of .* is below .*Name the folder that the paths"):
        source(folder).read([1])


def test_unreadable_records_are_named_or_left_out(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "ecg" / "00001_lr.hea").unlink()
    (folder / "ecg" / "00003_lr.dat").write_bytes(b"")
    (folder / "ecg" / "00005_lr.hea").rename(tmp_path / "elsewhere.hea")
    (folder / "ecg" / "00005_lr.hea").symlink_to(tmp_path / "elsewhere.hea")
    with pytest.raises(DataError, match=r"3 of the 20 records of .* First: ecg/00001_lr \(line 2\): its files are not"):
        source(folder).read(range(1, 11))
    assert len(source(folder).read([5]).rows) == 2  # records of other folds need not be there
    caplog.set_level(logging.INFO)
    found = source(folder, on_bad_record="skip").read(range(1, 11))
    assert len(found.rows) == N - 3
    assert sum(found.left_out.values()) == 3
    for said in (
        "3 of 20 records are left out",
        "00003_lr (line 4): 00003_lr.dat holds 0 bytes",
        "leads out of the data",
    ):
        assert said in caplog.text


def test_splits_that_teach_nothing_are_refused(folder: Path) -> None:
    write(folder, lambda table: [row.update({"block / delay": int(row["fold"] == 9)}) for row in table])
    with pytest.raises(DataError, match="no training record has the class block / delay, so it cannot be learned"):
        ECGDataModule(source(folder)).setup("fit")
    single = ECGDataModule(source(folder, labels=["Vorhofflimmern, neu"]), train_folds=[1, 2], val_folds=[8])
    single.setup("fit")
    assert single.datasets["train"].targets.shape == (4, 1)
    write(folder, lambda table: [row.update(fold=1 + int(str(row["fold"])) % 8) for row in table])
    with pytest.raises(DataError, match=r"holds no labelled record of the val folds \[9\]"):
        ECGDataModule(source(folder)).setup("fit")


def test_a_models_classes_are_matched_with_columns(folder: Path) -> None:
    data = source(folder, class_map={"CD": "block / delay"})
    assert data.match(("AF", "CD", "Vorhofflimmern, neu")) == ("CD", "Vorhofflimmern, neu")
    assert data.classes == ("CD", "Vorhofflimmern, neu")
    assert (data.cohort().targets[:, 0] == data.table.labels["block / delay"]).all()
    compared, absent, own = data.notes()
    assert compared == "classes compared with the table's labels: CD with block / delay, Vorhofflimmern, neu"
    assert absent == "no labels in the table, so left out of all scores, macro means included: AF"
    assert own == "thresholds and calibration are the checkpoint's own, and nothing was fitted here"
    data.match(("CD",))
    assert "labels in the table that the model does not predict: Vorhofflimmern, neu" in data.notes()
    for class_map, says in (
        ({"CD": "x"}, "has no label column 'x' for the class CD. Its label columns are Vorhofflimmern, neu, block"),
        ({"CD": "block / delay", "MI": "block / delay"}, "names the column 'block / delay' twice"),
        ({"HYP": "block / delay"}, "the checkpoint has no class HYP. Its classes are CD, MI"),
        ({}, "has labels of none of the checkpoint's classes .*'data.class_map={CD: Vorhofflimmern, neu}'"),
    ):
        with pytest.raises(DataError, match=says):
            source(folder, class_map=class_map).match(("CD", "MI"))
