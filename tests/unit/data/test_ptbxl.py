"""PTB-XL's folder: what is refused before training, what is left out, and what remains."""

from __future__ import annotations

import ast
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.data.ptbxl import check_root, read_ptbxl, read_tables, version_of
from ecg_lightning.data.source import Records
from ecg_lightning.data.splits import check_learnable, check_patients
from ecg_lightning.errors import DataError

EditTable = Callable[[Path, Callable[[pd.DataFrame], object]], None]


def labelled(table: pd.DataFrame) -> np.ndarray:
    """Records with a diagnostic code, by another way than the package's."""
    no_class = {"ABQRS", "QWAVE", "LVOLT", "SR", "SBRAD", "STACH", "SARRH", "AFIB"}
    return np.array([bool(set(ast.literal_eval(codes)) - no_class) for codes in table["scp_codes"]])


def dat(root: Path, table: pd.DataFrame, row: int) -> Path:
    return root / f"{table['filename_lr'][row]}.dat"


def remove(root: Path, table: pd.DataFrame, rows: list[int]) -> None:
    for row in rows:
        dat(root, table, row).unlink()


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# --- what is read -------------------------------------------------------------------------------------------------


def test_signals_and_labels_of_each_record_belong_together(pristine: Path, table: pd.DataFrame) -> None:
    records = read_ptbxl(pristine)
    chosen = table[labelled(table)]
    assert records.ecg_ids.tolist() == chosen["ecg_id"].tolist()
    assert records.patient_ids.tolist() == chosen["patient_id"].tolist()
    assert records.folds.tolist() == chosen["strat_fold"].tolist()
    expected = [np.fromfile(pristine / f"{name}.dat", "<i2").reshape(-1, 12).T for name in chosen["filename_lr"]]
    np.testing.assert_array_equal(records.cache.signals_NCT[records.rows], np.stack(expected))
    norm = [bool("'NORM'" in codes) for codes in chosen["scp_codes"]]
    assert records.targets[:, 3].astype(bool).tolist() == norm


@pytest.mark.parametrize("keep", [False, True])
def test_unlabelled_records(pristine: Path, table: pd.DataFrame, keep: bool, caplog: pytest.LogCaptureFixture) -> None:
    n_unlabelled = int((~labelled(table)).sum())
    assert n_unlabelled > 0, "the fixture shows nothing"
    with caplog.at_level(logging.INFO):
        records = read_ptbxl(pristine, keep_unlabelled=keep)
    assert len(records.ecg_ids) == len(table) - (0 if keep else n_unlabelled)
    assert int((~records.targets.any(axis=1)).sum()) == (n_unlabelled if keep else 0)
    said = [text for text in messages(caplog, logging.INFO) if "without a class are left out" in text]
    assert said == ([] if keep else [f"{n_unlabelled} records without a class are left out "
                                     "(data.keep_unlabelled=true keeps them)"])  # fmt: skip


def test_rule_reaches_the_targets(pristine: Path) -> None:
    sums = [read_tables(pristine, rule)[1].sum() for rule in ("benchmark", "ge50", "eq100")]
    assert sums[0] > sums[1] > sums[2] > 0


def test_only_the_asked_folds(pristine: Path) -> None:
    assert set(read_ptbxl(pristine, folds=(3, 9)).folds) == {3, 9}


def test_root_hash_follows_the_folder_alone(ptbxl: Path, pristine: Path, edit_table: EditTable) -> None:
    def hash_of(**settings: object) -> str:
        return read_ptbxl(ptbxl, **settings).root_hash  # type: ignore[arg-type]

    whole = hash_of()
    assert whole == read_ptbxl(pristine).root_hash
    assert hash_of(folds=(1, 2), label_rule="ge50") == whole
    edit_table(ptbxl, lambda rows: rows.__setitem__("scp_codes", ["{'IMI': 100.0}", *rows["scp_codes"][1:]]))
    assert hash_of() != whole


def test_the_folder_is_only_read(ptbxl: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (ptbxl, *ptbxl.rglob("*"))}
    read_ptbxl(ptbxl)
    assert {path: path.stat().st_mtime_ns for path in (ptbxl, *ptbxl.rglob("*"))} == before


@pytest.mark.parametrize(("n", "version"), [(21_799, "1.0.3"), (21_801, "1.0.2"), (21_837, "1.0.1"), (120, "unknown")])
def test_version_of(n: int, version: str) -> None:
    assert version_of(n) == version


# --- not PTB-XL ---------------------------------------------------------------------------------------------------


def test_missing_folder_is_never_created(tmp_path: Path) -> None:
    root = tmp_path / "no" / "where"
    with pytest.raises(DataError, match=rf"{root} does not exist; nothing was downloaded"):
        read_ptbxl(root)
    assert not root.parent.exists()


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file is not a folder"):
        check_root(tmp_path / "file")


@pytest.mark.parametrize(
    ("present", "absent"),
    [
        ([], "ptbxl_database.csv and scp_statements.csv"),
        (["scp_statements.csv"], "ptbxl_database.csv"),
        (["ptbxl_database.csv"], "scp_statements.csv"),
    ],
    ids=["empty", "no database", "no statements"],
)
def test_folder_that_is_not_ptbxl(tmp_path: Path, pristine: Path, present: list[str], absent: str) -> None:
    for name in present:
        shutil.copy(pristine / name, tmp_path)
    with pytest.raises(DataError, match=rf"is not a PTB-XL folder: {absent} (is|are) missing"):
        read_ptbxl(tmp_path)


def test_statements_that_belong_to_other_codes(ptbxl: Path) -> None:
    path = ptbxl / "scp_statements.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(f"X{row}" for row in rows)]) + "\n")
    with pytest.raises(DataError, match=r"has no row in scp_statements\.csv; use both files from the same PTB-XL"):
        read_ptbxl(ptbxl)


def test_codes_of_no_superclass(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(ptbxl, lambda rows: rows.__setitem__("scp_codes", "{'SR': 0.0}"))
    with pytest.raises(DataError, match=r"no record of .* scp_statements\.csv does not belong to this ptbxl_database"):
        read_ptbxl(ptbxl)


def test_folds_that_are_not_there(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(ptbxl, lambda rows: rows.__setitem__("strat_fold", rows["strat_fold"].replace(10, 8)))
    with pytest.raises(DataError, match=r"holds no record of the folds \[10\]"):
        read_ptbxl(ptbxl, folds=(10,))


def test_folds_without_a_labelled_record(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(
        ptbxl, lambda rows: rows.__setitem__("scp_codes", rows["scp_codes"].mask(rows["strat_fold"] == 10, "{}"))
    )
    with pytest.raises(DataError, match=r"holds no usable labelled record in the folds \[10\]"):
        read_ptbxl(ptbxl, folds=(10,))


# --- rates --------------------------------------------------------------------------------------------------------


def test_missing_rate_names_the_other(pristine: Path) -> None:
    with pytest.raises(DataError, match=r"signal files at 100 Hz, but none at 500 Hz. Set data\.sampling_rate=100"):
        read_ptbxl(pristine, sampling_rate=500)


def test_a_rate_that_most_records_lack_names_the_other(pristine: Path, tmp_path: Path) -> None:
    """As in a part of PTB-XL with a few records at 500 Hz; whoever skips the others keeps them."""
    root = tmp_path / "part"
    shutil.copytree(pristine, root)
    names = read_tables(root)[0]["filename_hr"]
    (root / names.iloc[0]).parent.mkdir(parents=True)
    (root / f"{names.iloc[0]}.dat").touch()
    with pytest.raises(
        DataError, match=r"has the files of \d+ records at 100 Hz, but not at 500 Hz.* Set data\.sampling_rate=100, or"
    ):
        read_ptbxl(root, sampling_rate=500)


def test_missing_rate_names_the_other_at_500_hz(pristine_500: Path) -> None:
    with pytest.raises(DataError, match=r"signal files at 500 Hz, but none at 100 Hz. Set data\.sampling_rate=500"):
        read_ptbxl(pristine_500)


def test_folder_without_signals(ptbxl: Path) -> None:
    shutil.rmtree(ptbxl / "records100")
    with pytest.raises(DataError, match=r"at 100 or 500 Hz \(first missing file: records100/.*_lr\.dat\)"):
        read_ptbxl(ptbxl)


def test_names_that_lead_past_the_signals_are_told_apart_from_missing_signals(
    ptbxl: Path, edit_table: EditTable
) -> None:
    edit_table(ptbxl, lambda rows: rows.__setitem__("filename_lr", "data/" + rows["filename_lr"]))
    with pytest.raises(DataError, match=r"missing file: data/records.* in records100/ with the column filename_lr"):
        read_ptbxl(ptbxl)


# --- missing and bad records --------------------------------------------------------------------------------------


def test_partial_copy_is_refused(ptbxl: Path, table: pd.DataFrame) -> None:
    remove(ptbxl, table, [2, 30, 31])
    with pytest.raises(DataError, match=r"the files of 3 of 120 records are missing under .*records100/00000/00003_lr"):
        read_ptbxl(ptbxl)


def test_partial_copy_is_counted_where_asked(
    ptbxl: Path, table: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    gone = [2, 30, 31]
    remove(ptbxl, table, gone)
    records = read_ptbxl(ptbxl, on_bad_record="skip", keep_unlabelled=True)
    assert sorted(set(table["ecg_id"]) - set(records.ecg_ids.tolist())) == table["ecg_id"][gone].tolist()
    (said,) = messages(caplog, logging.WARNING)
    assert said.startswith("left out: the files of 3 of 120 records are missing")


def test_skipping_keeps_each_record_with_its_signals(ptbxl: Path, pristine: Path, table: pd.DataFrame) -> None:
    remove(ptbxl, table, [0, 50])
    dat(ptbxl, table, 70).write_bytes(b"")
    records = read_ptbxl(ptbxl, on_bad_record="skip")
    whole = read_ptbxl(pristine)
    kept = np.isin(whole.ecg_ids, records.ecg_ids)
    assert 0 < (~kept).sum() <= 3
    np.testing.assert_array_equal(records.cache.signals_NCT[records.rows], whole.cache.signals_NCT[whole.rows[kept]])
    np.testing.assert_array_equal(records.targets, whole.targets[kept])


def test_bad_record_is_named(ptbxl: Path, table: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    dat(ptbxl, table, 8).write_bytes(b"123")
    dat(ptbxl, table, 9).write_bytes(b"")
    with pytest.raises(DataError) as refused:
        read_ptbxl(ptbxl)
    assert str(refused.value) == (
        f"2 of 120 records are bad (first: {ptbxl}/records100/00000/00009_lr, ecg_id 9: its .dat holds 3 bytes, "
        "expected 24000 (12 leads × 1000)). Restore the files, or set data.on_bad_record=skip to leave these records "
        "out"
    )
    with caplog.at_level(logging.INFO):
        records = read_ptbxl(ptbxl, on_bad_record="skip")
    assert not {9, 10} & set(records.ecg_ids.tolist())
    (said,) = messages(caplog, logging.WARNING)
    assert "2 of 120 records are bad" in said
    assert sum("(ecg_id " in text for text in messages(caplog, logging.INFO)) == 2


def test_missing_and_bad_are_told_at_once(ptbxl: Path, table: pd.DataFrame) -> None:
    remove(ptbxl, table, [1])
    dat(ptbxl, table, 8).write_bytes(b"123")
    with pytest.raises(DataError, match=r"the files of 1 of 120 records are missing.*; 1 of 120 records are bad"):
        read_ptbxl(ptbxl)


def test_bad_record_of_another_fold_does_not_matter(ptbxl: Path, table: pd.DataFrame) -> None:
    row = int(np.flatnonzero(table["strat_fold"] == 1)[0])
    dat(ptbxl, table, row).write_bytes(b"123")
    assert set(read_ptbxl(ptbxl, folds=(2,)).folds) == {2}
    with pytest.raises(DataError, match=r"1 of .* records are bad"):
        read_ptbxl(ptbxl, folds=(1,))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../secret/00001_lr", "1 of 120 records are bad .*ecg_id 1: its file name .* leads out of the data folder"),
        ("/etc/passwd", "1 of 120 records are bad .*ecg_id 1: its file name .* leads out of the data folder"),
        ("records100/\0", "1 of 120 records are bad .*ecg_id 1: its file name .* leads out of the data folder"),
        ("records100/" + "x" * 300, "1 of 120 records are bad .*ecg_id 1: .*File name too long"),
        ("records100/00000/00002_hr", "the files of 1 of 120 records are missing"),
    ],
    ids=["climbing", "absolute", "nul", "too long", "not there"],
)
def test_file_name_in_the_table(ptbxl: Path, edit_table: EditTable, name: str, says: str) -> None:
    shutil.copytree(ptbxl / "records100/00000", ptbxl.parent / "secret")
    edit_table(ptbxl, lambda rows: rows.__setitem__("filename_lr", [name, *rows["filename_lr"][1:]]))
    with pytest.raises(DataError, match=says):
        read_ptbxl(ptbxl)


def test_file_names_are_made_safe_and_short_before_they_are_logged(
    ptbxl: Path, edit_table: EditTable, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["\x1b]0;title\x07" + "x" * 5_000, "/\x1b[2J"]
    edit_table(ptbxl, lambda rows: rows.__setitem__("filename_lr", [*names, *rows["filename_lr"][2:]]))
    with caplog.at_level(logging.INFO):
        read_ptbxl(ptbxl, on_bad_record="skip")
    assert "x1b]0;title" in caplog.text
    assert "\x1b" not in caplog.text
    assert "x" * 200 not in caplog.text


def test_every_record_missing_its_header(ptbxl: Path) -> None:
    for path in ptbxl.rglob("*.hea"):
        path.unlink()
    with pytest.raises(DataError, match="the files of 120 of 120 records are missing"):
        read_ptbxl(ptbxl)
    with pytest.raises(DataError, match="holds no usable labelled record"):
        read_ptbxl(ptbxl, on_bad_record="skip")


# --- labels and splits that teach nothing or too much -------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "occur"),
    [
        (np.eye(5, dtype=np.uint8)[[3, 3, 3]], "NORM"),
        (np.array([[1, 0, 1, 0, 0]] * 4, np.uint8), "CD, MI"),
        (np.zeros((4, 5), np.uint8), "none"),
        (np.eye(5, dtype=np.uint8)[[3, 3]] * np.array([[1], [0]], np.uint8), "NORM"),
    ],
    ids=["one class", "always the same two", "none", "one class and nothing"],
)
def test_targets_that_teach_nothing(targets: np.ndarray, occur: str) -> None:
    with pytest.raises(DataError, match=rf"the {len(targets)} training records .*\(classes: {occur}\)"):
        check_learnable(targets, SUPERCLASSES, "ptbxl_database.csv")


def test_targets_that_teach_something() -> None:
    check_learnable(np.eye(5, dtype=np.uint8)[[3, 0]], SUPERCLASSES, "")


def test_patient_in_two_splits() -> None:
    with pytest.raises(DataError, match=r"2 patients occur in two splits \(first: patient 7\)"):
        check_patients(np.array([7, 7, 5, 9, 9, 9]), np.array([0, 1, 0, 2, 2, 1]))


def test_patient_with_two_records_in_one_split() -> None:
    check_patients(np.array([7, 7, 5]), np.array([0, 0, 1]))


# --- the real records ---------------------------------------------------------------------------------------------


@pytest.fixture
def real_subset(ptbxl_root: Path) -> Path:
    """The subset of PTB-XL 1.0.3 that this project was made with: 3,142 records at 100 Hz, 60 of them at 500 Hz too."""
    n_records = len(pd.read_csv(ptbxl_root / "ptbxl_database.csv", usecols=["ecg_id"]))
    if n_records != 3_142:
        pytest.skip(f"{ptbxl_root} holds {n_records} records, not the subset of 3,142")
    return ptbxl_root


def by_split(records: Records) -> dict[str, int]:
    return {
        "train": int((records.folds <= 8).sum()),
        "val": int((records.folds == 9).sum()),
        "test": int((records.folds == 10).sum()),
    }


@pytest.mark.real_data
def test_every_real_record_is_read(real_subset: Path) -> None:
    records = read_ptbxl(real_subset)  # would stop at a bad or missing one
    assert (len(records.cache.row_of), records.cache.bad, records.cache.missing) == (3_142, {}, [])
    assert by_split(records) == {"train": 2_654, "val": 374, "test": 60}
    # µV of ten-second ECGs: no lead of a healthy cable stays beyond 20 mV.
    assert 20 < records.cache.signals_NCT[records.rows[:200]].std() < 1_000


@pytest.mark.real_data
def test_real_records_at_500_hz(real_subset: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match=r"has the files of 3,082 records at 100 Hz, but not at 500 Hz"):
        read_ptbxl(real_subset, sampling_rate=500)
    records = read_ptbxl(real_subset, sampling_rate=500, on_bad_record="skip", keep_unlabelled=True)
    assert (len(records.ecg_ids), records.cache.bad) == (60, {})
    assert records.cache.signals_NCT.shape[1:] == (12, 5_000)
    (said,) = messages(caplog, logging.WARNING)
    assert "the files of 3,082 of 3,142 records are missing" in said
