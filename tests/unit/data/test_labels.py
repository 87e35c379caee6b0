"""Labels: PTB-XL's own counts, the three rules, and every table that cannot be right."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ecg_lightning.data import labels
from ecg_lightning.data.labels import (
    SUPERCLASSES,
    counts_by_split,
    label_targets,
    read_database,
    read_statements,
    task_classes,
)
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation.metrics import single_label_metrics

STATEMENTS: dict[str, str | None] = {
    "NORM": "NORM",
    "IMI": "MI",
    "ASMI": "MI",
    "NDT": "STTC",
    "LAFB": "CD",
    "LVH": "HYP",
    "SR": None,
    "AFIB": None,
}
EditTable = Callable[[Path, Callable[[pd.DataFrame], object]], None]


def named(row: np.ndarray) -> set[str]:
    return {name for name, present in zip(SUPERCLASSES, row, strict=True) if present}


# --- golden values of PTB-XL 1.0.3 --------------------------------------------------------------------------------


@pytest.fixture
def full_table(ptbxl_root: Path) -> pd.DataFrame:
    """The table of all 21,799 records of PTB-XL 1.0.3."""
    path = next((path for name in ("_full", "") if (path := ptbxl_root / f"ptbxl_database{name}.csv").exists()), None)
    if path is None:
        pytest.skip(f"{ptbxl_root} holds no ptbxl_database.csv")
    database = read_database(path)
    if len(database) != 21_799:
        pytest.skip(f"{path} is not PTB-XL 1.0.3's full table: it holds {len(database)} records, not 21,799")
    return database


@pytest.fixture
def full_labels(full_table: pd.DataFrame, ptbxl_root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Targets and folds of its records."""
    targets = label_targets(full_table["scp_codes"].tolist(), read_statements(ptbxl_root / "scp_statements.csv"))
    return targets, full_table["strat_fold"].to_numpy()


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("task", "n_classes", "n_labelled"),
    [
        ("superdiagnostic", 5, (17_084, 2_146, 2_158)),
        ("subdiagnostic", 23, (17_084, 2_146, 2_158)),
        ("diagnostic", 44, (17_084, 2_146, 2_158)),
        ("form", 19, (7_197, 901, 880)),
        ("rhythm", 12, (16_832, 2_100, 2_098)),
        ("all", 71, (17_418, 2_183, 2_198)),
    ],
)
def test_the_six_tasks_of_ptbxl_1_0_3(
    full_table: pd.DataFrame, ptbxl_root: Path, task: str, n_classes: int, n_labelled: tuple[int, ...]
) -> None:
    statements = read_statements(ptbxl_root / "scp_statements.csv", task)
    classes = task_classes(statements)
    targets = label_targets(full_table["scp_codes"].tolist(), statements, classes=classes)
    assert targets.any(axis=0).sum() == len(classes) == n_classes
    labelled, folds = targets.any(axis=1), full_table["strat_fold"].to_numpy()
    assert tuple(int(labelled[np.isin(folds, split)].sum()) for split in (range(1, 9), 9, 10)) == n_labelled


@pytest.mark.real_data
def test_counts_of_ptbxl_1_0_3(full_labels: tuple[np.ndarray, np.ndarray]) -> None:
    counts = counts_by_split(*full_labels)
    labelled = {split: row["labelled"] for split, row in counts.items()}
    assert labelled == {"train": 17_084, "val": 2_146, "test": 2_158, "all": 21_388}
    assert sum(counts[split]["records"] for split in ("train", "val", "test")) == counts["all"]["records"] == 21_799
    by_class = {split: [row[name] for name in ("NORM", "MI", "STTC", "CD", "HYP")] for split, row in counts.items()}
    assert by_class == {
        "train": [7_596, 4_379, 4_186, 3_907, 2_119],
        "val": [955, 540, 528, 495, 268],
        "test": [963, 550, 521, 496, 262],
        "all": [9_514, 5_469, 5_235, 4_898, 2_649],
    }


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (9, {"accuracy_argmax": 0.4278, "recall_weighted": 0.4278, "f1_weighted": 0.2563}),
        (
            10,
            {"accuracy_argmax": 0.4245, "recall_weighted": 0.4245, "f1_weighted": 0.2530, "precision_weighted": 0.1802},
        ),
    ],
)
def test_constant_norm_scores_the_known_values(
    full_labels: tuple[np.ndarray, np.ndarray], fold: int, expected: dict[str, float]
) -> None:
    targets, folds = full_labels
    chosen = torch.from_numpy(targets[(folds == fold) & targets.any(axis=1)])
    constant = torch.zeros(chosen.shape)
    constant[:, SUPERCLASSES.index("NORM")] = 1.0
    metrics = single_label_metrics(constant, chosen)
    assert {name: round(metrics[name], 4) for name in expected} == expected


# --- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "benchmark", "ge50", "eq100"),
    [
        ("{'NORM': 100.0, 'SR': 0.0}", {"NORM"}, {"NORM"}, {"NORM"}),
        ("{'NORM': 80.0, 'LAFB': 100.0}", {"NORM", "CD"}, {"NORM", "CD"}, {"CD"}),
        ("{'IMI': 50.0, 'NDT': 49.9}", {"MI", "STTC"}, {"MI"}, set()),
        ("{'IMI': 15.0, 'ASMI': 100.0}", {"MI"}, {"MI"}, {"MI"}),
        ("{'LVH': 0.0}", {"HYP"}, set(), set()),  # 0 means "present but not graded"
        ("{'SR': 100.0, 'AFIB': 100.0}", set(), set(), set()),
        ("{}", set(), set(), set()),
    ],
)
def test_rules(codes: str, benchmark: set[str], ge50: set[str], eq100: set[str]) -> None:
    found = {rule: named(label_targets([codes], STATEMENTS, rule)[0]) for rule in labels.LABEL_RULES}
    assert found == {"benchmark": benchmark, "ge50": ge50, "eq100": eq100}


def test_classes_are_in_alphabetical_order() -> None:
    assert SUPERCLASSES == ("CD", "HYP", "MI", "NORM", "STTC")
    rows = [f"{{'{code}': 100.0}}" for code in ("LAFB", "LVH", "IMI", "NORM", "NDT")]
    targets = label_targets(rows, STATEMENTS)
    assert targets.dtype == np.uint8
    np.testing.assert_array_equal(targets, np.eye(5))


def test_counts_by_split_of_a_hand_made_table() -> None:
    targets = label_targets(["{'NORM': 1.0}", "{'IMI': 1.0, 'LVH': 1.0}", "{'SR': 0.0}", "{'NDT': 1.0}"], STATEMENTS)
    counts = counts_by_split(targets, np.array([8, 9, 9, 10]))
    nothing = dict.fromkeys(("records", "labelled", *SUPERCLASSES), 0)
    assert counts == {
        "train": nothing | {"records": 1, "labelled": 1, "NORM": 1},
        "val": nothing | {"records": 2, "labelled": 1, "MI": 1, "HYP": 1},
        "test": nothing | {"records": 1, "labelled": 1, "STTC": 1},
        "all": nothing | {"records": 4, "labelled": 3, "NORM": 1, "MI": 1, "HYP": 1, "STTC": 1},
    }


# --- scp_codes ----------------------------------------------------------------------------------------------------


def test_fast_parser_equals_literal_eval(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [*table["scp_codes"], "{}", "{'LAO/LAE': 100, '1AVB': 15.5}"]
    fast = [labels._parse_codes(text, "") for text in codes]
    assert all(labels._CODES.fullmatch(text) for text in codes)
    monkeypatch.setattr(labels, "_CODES", labels.re.compile("never"))
    assert [labels._parse_codes(text, "") for text in codes] == fast


@pytest.mark.parametrize("codes", ['{"NORM": 100.0}', "{'NORM':100.0}", " {'NORM': 100.0,}", "{'NORM': 1e2}"])
def test_other_spellings_are_read_too(codes: str) -> None:
    assert named(label_targets([codes], STATEMENTS, "eq100")[0]) == {"NORM"}


@pytest.mark.parametrize(
    "codes",
    [
        "NORM",
        "{'NORM': 100.0",
        "{'NORM'}",
        "['NORM']",
        "{'NORM': 'much'}",
        "{'NORM': None}",
        "{'NORM': 1.2.3}",
        "{'NORM': 1.2.3, 'NORM': 1.0}",
        "{'NORM': 1.0'SR': 0.0}",
        "{'NORM': 0100}",
        "{'NORM': .}",
        "{'NORM': -1" + "0" * 400 + "}",
        "__import__('os').getcwd()",
        "nan",
        "",
        "(" * 10_000,
    ],
    ids=lambda codes: codes[:24] or "empty",
)
def test_malformed_codes(codes: str) -> None:
    with pytest.raises(DataError, match=r"^table\.csv, record 2: scp_codes is .* expected a dictionary"):
        label_targets(["{'NORM': 100.0}", codes], STATEMENTS, where="table.csv")


# --- tables -------------------------------------------------------------------------------------------------------


def test_database_is_indexed_by_whole_numbers(pristine: Path, table: pd.DataFrame) -> None:
    database = read_database(pristine / "ptbxl_database.csv")
    assert database.index.tolist() == table["ecg_id"].tolist()
    assert database["patient_id"].tolist() == table["patient_id"].tolist()
    assert {str(database[column].dtype) for column in ("patient_id", "strat_fold")} == {"int64"}


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("strat_fold", 0, r"strat_fold is 0, expected a fold from 1 to 10"),
        ("strat_fold", 11, r"strat_fold is 11, expected a fold from 1 to 10"),
        ("strat_fold", 2.5, r"strat_fold is 2\.5, expected a fold from 1 to 10"),
        ("strat_fold", "ten", r"strat_fold is ten, expected a fold from 1 to 10"),
        ("patient_id", None, r"patient_id is nan, expected a whole number"),
        ("patient_id", "inf", r"patient_id is inf, expected a whole number"),
        ("ecg_id", "x7", r"ecg_id is x7, expected a whole number"),
        ("ecg_id", "9" * 400, r"ecg_id is 9{40}, expected a whole number of at most 15 digits"),
        ("ecg_id", "9999999999999999999", r"ecg_id is 9999999999999999999, expected a whole number"),
        ("patient_id", "-99999999999999999999", r"patient_id is -99999999999999999999, expected a whole number"),
        ("patient_id", "1e999", r"patient_id is 1e999, expected a whole number"),
        ("patient_id", "\x1c6", r"patient_id is \\x1c6, expected a whole number"),
        ("strat_fold", "9" * 400, r"strat_fold is 9{40}, expected a fold from 1 to 10"),
        ("scp_codes", None, "scp_codes is empty"),
        ("filename_lr", None, "filename_lr is empty"),
        ("filename_hr", None, "filename_hr is empty"),
    ],
)
def test_bad_value(ptbxl: Path, edit_table: EditTable, column: str, value: object, says: str) -> None:
    edit_table(ptbxl, lambda rows: rows.__setitem__(column, [*rows[column][:5], value, *rows[column][6:]]))
    with pytest.raises(DataError, match=rf"ptbxl_database\.csv, line 7: {says}.*; restore the file"):
        read_database(ptbxl / "ptbxl_database.csv")


def test_duplicate_ecg_id(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(ptbxl, lambda rows: rows.__setitem__("ecg_id", [*rows["ecg_id"][:-1], 17]))
    with pytest.raises(DataError, match=r"ptbxl_database\.csv: ecg_id 17 occurs twice"):
        read_database(ptbxl / "ptbxl_database.csv")


@pytest.mark.parametrize("column", ["ecg_id", "patient_id", "scp_codes", "strat_fold", "filename_lr", "filename_hr"])
def test_missing_column(ptbxl: Path, edit_table: EditTable, column: str) -> None:
    edit_table(ptbxl, lambda rows: rows.pop(column))
    with pytest.raises(DataError, match=rf"ptbxl_database\.csv has no column {column}; it should be"):
        read_database(ptbxl / "ptbxl_database.csv")


GARBAGE = np.random.default_rng(0).bytes(5_000)


@pytest.mark.parametrize("read", [read_database, read_statements])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not there"),
        (b"", "cannot be read as a table"),
        (GARBAGE, "cannot be read as a table"),
        (b"a,b\n1,2\n", "has no column"),
        (b"a,b\n1,2\n1,2,3,4\n", "cannot be read as a table"),
        (b"a,b,a\n1,2,3\n", "cannot be read as a table .*two of its columns are named 'a'"),
        (b"\xef\xbb\xbf,,a\n1,2,3\n", "cannot be read as a table .*two of its columns are named ''"),
        (b"a,b\n1,2,3\n1,2,3\n", "cannot be read as a table .*more cells than its first line"),
    ],
    ids=["missing", "empty", "garbage", "other table", "ragged", "one name twice", "a mark first", "a cell too many"],
)
def test_file_that_is_no_table(
    tmp_path: Path, read: Callable[[Path], object], content: bytes | None, says: str
) -> None:
    path = tmp_path / "some.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"some\.csv {says}.*it should be PTB-XL's"):
        read(path)


def test_table_without_rows(ptbxl: Path) -> None:
    path = ptbxl / "ptbxl_database.csv"
    path.write_text(path.read_text().partition("\n")[0] + "\n")
    with pytest.raises(DataError, match=r"ptbxl_database\.csv holds no record"):
        read_database(path)


def test_statements_give_the_diagnostic_codes_a_class(pristine: Path) -> None:
    statements = read_statements(pristine / "scp_statements.csv")
    assert set(statements.values()) == {*SUPERCLASSES, None}
    assert {"IMI": "MI", "1AVB": "CD", "LAO/LAE": "HYP", "SR": None, "AFIB": None, "ABQRS": None}.items() <= (
        statements.items()
    )


def test_a_code_without_a_statement_is_refused(pristine: Path) -> None:
    statements = read_statements(pristine / "scp_statements.csv")
    with pytest.raises(DataError, match=r"record 2: SCP code 'XYZ' has no row in scp_statements\.csv"):
        label_targets(["{'NORM': 100.0}", "{'XYZ': 0.0}"], statements)


def test_statements_that_miss_a_code_are_refused(ptbxl: Path) -> None:
    path = ptbxl / "scp_statements.csv"
    lines = path.read_text().splitlines()
    norm = next(line for line in lines if line.startswith("NORM,"))
    path.write_text(
        "\n".join(line for line in lines if line != norm) + "\n" + norm.replace("NORM,", "NORMAL,", 1) + "\n"
    )
    table = read_database(ptbxl / "ptbxl_database.csv")
    with pytest.raises(DataError, match="SCP code 'NORM' has no row"):
        label_targets(table["scp_codes"].tolist(), read_statements(path))


@pytest.mark.parametrize("column", ["filename_lr", "filename_hr"])
def test_a_file_that_is_listed_twice_is_refused(ptbxl: Path, edit_table: EditTable, column: str) -> None:
    edit_table(ptbxl, lambda rows: rows.__setitem__(column, [rows[column].iloc[1], *rows[column].iloc[1:]]))
    with pytest.raises(DataError, match=f"{column} .* occurs twice"):
        read_database(ptbxl / "ptbxl_database.csv")


@pytest.mark.parametrize(
    ("old", "new"),
    [(",HYP,", ",BIG,"), (",HYP,", ",MI,"), (",1.0,,,", ",0.0,,,")],
    ids=["unknown class", "four classes", "no diagnostic code"],
)
def test_wrong_statements(ptbxl: Path, old: str, new: str) -> None:
    path = ptbxl / "scp_statements.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=r"scp_statements\.csv: its diagnostic classes are .* from the same PTB-XL"):
        read_statements(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (",HYP,", ",,", "code LVH has diagnostic=1 but no diagnostic_class"),
        ("NORM,normal ECG,1.0,", "NORM,normal ECG,x,", "code NORM has diagnostic x, expected 1 or nothing"),
        ("NORM,normal ECG,1.0,", f"NORM,normal ECG,{'9' * 400},", "code NORM has diagnostic 9{40}, expected 1"),
        ("IMI,inferior", "NORM,inferior", "code NORM occurs twice"),
        ("IMI,inferior", ",inferior", "the SCP code is empty"),
    ],
    ids=["flag without class", "no flag", "400 digits", "two rows", "no code"],
)
def test_statements_that_contradict_themselves(ptbxl: Path, old: str, new: str, says: str) -> None:
    path = ptbxl / "scp_statements.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=rf"scp_statements\.csv.*: {says}.*; restore the file"):
        read_statements(path)


@pytest.mark.parametrize("likelihood", ["-5", "100.5", "1e999", "9" * 400])
def test_likelihoods_beyond_a_percentage_are_refused(pristine: Path, likelihood: str) -> None:
    statements = read_statements(pristine / "scp_statements.csv")
    with pytest.raises(DataError, match=r"record 1: SCP code 'NORM' has likelihood .*, expected 0 to 100 %"):
        label_targets([f"{{'NORM': {likelihood}}}"], statements)


def test_ages_without_sense_are_not_known(ptbxl: Path, edit_table: EditTable) -> None:
    edit_table(ptbxl, lambda rows: rows.__setitem__("age", ["9" * 400, "inf", "-1e999", "old", *rows["age"][4:]]))
    ages = read_database(ptbxl / "ptbxl_database.csv")["age"]
    assert ages[:4].isna().all()
    assert np.isfinite(ages[4:]).all()


HEADER = b"ecg_id,patient_id,scp_codes,strat_fold,filename_lr,filename_hr\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x" * 2**20, "its first line does not end"),
        (b'"a\n",' * 100, "its first line does not end"),
        (HEADER + b"1," * 6_000_000, "more than 5,000,000 cells"),
        (HEADER + b"1\n" * 1_000_000, "more than 5,000,000 cells"),
        (HEADER + b"1\r" * 1_000_000, "more than 5,000,000 cells"),
    ],
    ids=["one line", "quoted line ends", "long second line", "many rows", "many rows of old Macs"],
)
def test_tables_that_would_fill_the_memory_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "some.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"cannot be read as a table .*{says}"):
        read_database(tmp_path / "some.csv")


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"cannot be read as a table \(it is a named pipe"):
        read_database(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"cannot be read as a table \(it is a device"):
        read_database(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(DataError, match=r"it holds 3,221,225,472 bytes, more than the 67,108,864 that are read"):
        read_database(path)


def test_file_names_with_backslashes_are_read(ptbxl: Path, pristine: Path) -> None:
    """As a table that was edited on Windows holds them."""
    path = ptbxl / "ptbxl_database.csv"
    path.write_text(path.read_text().replace("records100/00000/", "records100\\00000\\"))
    names = read_database(path)["filename_lr"]
    assert names.tolist() == read_database(pristine / "ptbxl_database.csv")["filename_lr"].tolist()


def test_tasks_name_their_own_classes(tmp_path: Path) -> None:
    path = tmp_path / "scp_statements.csv"
    path.write_text(
        ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
        "NDT,,1.0,1.0,,STTC,STTC\nNST_,,1.0,1.0,,STTC,NST_\nNORM,,1.0,,,NORM,NORM\nIMI,,1.0,,,MI,IMI\n"
        "LAFB,,1.0,,,CD,LAFB/LPFB\nLVH,,1.0,,,HYP,LVH\nSR,,,,1.0,,\nPVC,,,1.0,,,\n"
    )
    classes = {task: task_classes(read_statements(path, task)) for task in labels.TASKS}
    assert classes["superdiagnostic"] == SUPERCLASSES
    assert classes["subdiagnostic"] == ("IMI", "LAFB/LPFB", "LVH", "NORM", "NST_", "STTC")
    assert classes["diagnostic"] == ("IMI", "LAFB", "LVH", "NDT", "NORM", "NST_")
    assert classes["form"] == ("NDT", "NST_", "PVC")
    assert classes["rhythm"] == ("SR",)
    assert classes["all"] == ("IMI", "LAFB", "LVH", "NDT", "NORM", "NST_", "PVC", "SR")
    targets = label_targets(["{'NDT': 0.0, 'SR': 0.0}"], read_statements(path, "form"), classes=classes["form"])
    assert targets.tolist() == [[1, 0, 0]]
    path.write_text(path.read_text().replace("SR,,,,1.0,,", "SR,,,,,,"))
    with pytest.raises(DataError, match="no code for the task rhythm"):
        read_statements(path, "rhythm")
