"""`ecg-lightning verify`: what is wrong in a folder is named, a part of PTB-XL is not wrong, nothing is written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.data.verify import CLASS_COUNTS, LABEL_COUNTS, Report, verify_folder
from ecg_lightning.errors import DataError

EditTable = Callable[[Path, Callable[[pd.DataFrame], object]], None]
RECORD = "records100/00000/00007_lr"


def problems(root: Path) -> dict[str, list[str]]:
    """What is wrong → the names it concerns."""
    report = verify_folder(root)
    assert report.ok == (not any(check.problems for check in report.checks))
    return {problem.what: problem.items for check in report.checks for problem in check.problems}


def only(found: dict[str, list[str]], start: str) -> list[str]:
    (what,) = (what for what in found if what.startswith(start))
    return found[what]


def check_of(report: Report, name: str) -> str:
    (check,) = (check for check in report.checks if check.name == name)
    return check.found


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


# --- folders that are right ---------------------------------------------------------------------------------------


def test_an_intact_folder_is_right_and_only_read(ptbxl: Path) -> None:
    before = contents(ptbxl)
    report = verify_folder(ptbxl)
    assert report.ok
    assert (report.dataset, report.n_records) == ("synthetic, seed 0", 120)
    assert check_of(report, "checksums") == "243 of 243 files match SHA256SUMS.txt"
    assert check_of(report, "100 Hz").startswith("120 of 120 records")
    assert check_of(report, "500 Hz") == "there is no record at 500 Hz"
    assert contents(ptbxl) == before


@pytest.mark.parametrize("form", ["{} {}", "{} *{}", "{}\t{}", "{}  ./{}", "{}  {}\r", "\ufeff{}  {}"])
def test_other_forms_of_the_checksum_list(ptbxl: Path, form: str) -> None:
    path = ptbxl / "SHA256SUMS.txt"
    lines = [line.split("  ") for line in path.read_text().splitlines()]
    text = "\n".join(form.removeprefix("\ufeff").format(digest.upper(), name) for digest, name in lines) + "\n"
    path.write_text("\ufeff" * form.startswith("\ufeff") + text, encoding="utf-8", newline="")
    assert problems(ptbxl) == {}
    flip(ptbxl / f"{RECORD}.dat")
    assert only(problems(ptbxl), "files that do not match their checksum") == [f"{RECORD}.dat"]


def test_a_part_with_its_list_is_right(ptbxl: Path, pristine_500: Path) -> None:
    """The list of the whole: neither the other rate nor documents are here."""
    sums = ptbxl / "SHA256SUMS.txt"
    of_500 = [line for line in (pristine_500 / "SHA256SUMS.txt").read_text().splitlines() if "records500/" in line]
    sums.write_text(sums.read_text() + "\n".join([*of_500, f"{'0' * 64}  LICENSE.txt"]) + "\n")
    report = verify_folder(ptbxl)
    assert report.ok
    (checksums,) = (check for check in report.checks if check.name == "checksums")
    assert checksums.notes == ["241 listed files are missing (records500/ 240, LICENSE.txt)"]


def test_a_part_without_a_list_names_rows_without_files(ptbxl: Path) -> None:
    (ptbxl / "SHA256SUMS.txt").unlink()
    assert problems(ptbxl) == {}
    for suffix in (".hea", ".dat"):
        (ptbxl / f"{RECORD}{suffix}").unlink()
    assert only(problems(ptbxl), "rows of ptbxl_database.csv that have no files") == [RECORD]


def test_linked_folders_are_read(pristine: Path, tmp_path: Path) -> None:
    for path in pristine.iterdir():
        (tmp_path / path.name).symlink_to(path)
    report = verify_folder(tmp_path)
    assert report.ok
    assert check_of(report, "100 Hz").startswith("120 of 120 records")


# --- damage -------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[777] ^= 4
    path.write_bytes(content)


def exchange_frames(path: Path) -> None:
    frames = [path.read_bytes()[start : start + 24] for start in range(0, 24_000, 24)]
    frames[10], frames[11] = frames[11], frames[10]
    path.write_bytes(b"".join(frames))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


@pytest.mark.parametrize(
    ("damage", "listed_as", "read_as"),
    [
        (flip, "files that do not match their checksum", "does not match its WFDB checksum"),
        (exchange_frames, "files that do not match their checksum", None),
        (Path.unlink, None, "its .dat is missing"),
        (
            lambda path: os.truncate(path, 500),
            "files that do not match their checksum",
            "holds 500 bytes, expected 24000",
        ),
        (pipe, "files that cannot be read", "its .dat is a named pipe"),
        (loop, "files that cannot be read", "Too many levels of symbolic links"),
        (sparse, "files that cannot be read", "holds 3221225472 bytes, expected 24000"),
    ],
    ids=["bit", "frames", "deleted", "cut", "pipe", "loop", "sparse"],
)
def test_damaged_record_is_named(
    ptbxl: Path, damage: Callable[[Path], object], listed_as: str | None, read_as: str | None
) -> None:
    damage(ptbxl / f"{RECORD}.dat")
    found = problems(ptbxl)
    assert len(found) == (listed_as is not None) + (read_as is not None)
    if listed_as:
        assert only(found, listed_as)[0].startswith(f"{RECORD}.dat")
    if read_as:
        (said,) = only(found, "damaged or incomplete records")
        assert said.startswith(f"{RECORD}: ")
        assert read_as in said


@pytest.mark.parametrize("with_list", [True, False])
def test_deleted_rows_are_named(ptbxl: Path, with_list: bool) -> None:
    if not with_list:
        (ptbxl / "SHA256SUMS.txt").unlink()
    lines = (ptbxl / "ptbxl_database.csv").read_text().splitlines(keepends=True)
    (ptbxl / "ptbxl_database.csv").write_text("".join(lines[:7] + lines[9:]))
    found = problems(ptbxl)
    assert only(found, "records that have files but no row") == [RECORD, RECORD.replace("07", "08")]
    assert found.pop("files that do not match their checksum (changed, or not completely downloaded)", None) == (
        ["ptbxl_database.csv"] if with_list else None
    )


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ptbxl_database.csv", "\n9,", "\n9,1"),
        ("ptbxl_database.csv", "100.0", "50.0"),
        ("scp_statements.csv", "NORM,normal ECG,1.0", "NORM,normal ECG,"),
    ],
    ids=["patient", "likelihood", "flag"],
)
def test_a_changed_digit_of_a_table_is_noticed(ptbxl: Path, name: str, old: str, new: str) -> None:
    change(ptbxl / name, old, new)
    assert only(problems(ptbxl), "files that do not match their checksum") == [name]


def test_patients_of_two_folds_are_named(ptbxl: Path, edit_table: EditTable) -> None:
    rows = pd.read_csv(ptbxl / "ptbxl_database.csv")
    (first, second), test = rows.index[rows["strat_fold"] <= 8][[0, -1]], rows.index[rows["strat_fold"] == 10][0]
    patients = rows["patient_id"].copy()
    patients[second], patients[test] = patients[first], rows["patient_id"][rows["strat_fold"] == 9].iloc[0]
    assert rows["strat_fold"][first] != rows["strat_fold"][second]
    edit_table(ptbxl, lambda table: table.__setitem__("patient_id", patients))
    found = problems(ptbxl)
    assert only(found, "patients in two splits") == [f"patient {int(patients[test])}, folds 9, 10"]
    assert only(found, "patients in two folds of one split")[0].startswith(f"patient {int(patients[first])}, folds ")


def test_a_table_that_cannot_be_used_leaves_the_other_checks(ptbxl: Path, edit_table: EditTable) -> None:
    flip(ptbxl / f"{RECORD}.dat")
    edit_table(ptbxl, lambda rows: rows.__setitem__("ecg_id", [*rows["ecg_id"][:-1], 17]))
    found = problems(ptbxl)
    assert "ecg_id 17 occurs twice" in only(found, "tables that cannot be used")[0]
    assert only(found, "damaged or incomplete records")[0].startswith(RECORD)
    (ptbxl / "ptbxl_database.csv").unlink()
    assert "is not there" in only(problems(ptbxl), "tables that cannot be used")[0]


def test_lists_that_lie_are_refused_by_line(ptbxl: Path) -> None:
    (ptbxl.parent / "secret").write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    path = ptbxl / "SHA256SUMS.txt"
    own = path.read_text()
    path.write_text(own + f"{digest}  ../secret\n{digest}  {ptbxl.parent}/secret\nhello\n{digest}  {RECORD}.dat\n")
    found = problems(ptbxl)
    assert only(found, "paths in SHA256SUMS.txt that lead out") == ["../secret", f"{ptbxl.parent}/secret"]
    assert only(found, "malformed lines") == ["line 246: 'hello'", f"line 247: another digest of {RECORD}.dat"]
    pipe(path)
    assert "named pipe" in only(problems(ptbxl), "lists of checksums that cannot be read")[0]


@pytest.mark.parametrize(("kept", "unlisted"), [(0, ["ptbxl_database.csv"]), (-1, [])])
def test_a_list_that_was_cut_hides_no_table(ptbxl: Path, kept: int, unlisted: list[str]) -> None:
    path = ptbxl / "SHA256SUMS.txt"
    lines = sorted(path.read_text().splitlines(keepends=True), key=lambda line: line.split()[1])
    path.write_text("".join(lines[:kept]))
    found = only(problems(ptbxl), "tables that SHA256SUMS.txt does not list")
    assert found == [*unlisted, "scp_statements.csv"]


def test_a_folder_without_signals_is_not_right(ptbxl: Path) -> None:
    shutil.rmtree(ptbxl / "records100")
    assert only(problems(ptbxl), "folders without signals")


# --- PTB-XL itself ------------------------------------------------------------------------------------------------


def test_a_part_of_ptbxl_says_so(part_of_ptbxl: Path) -> None:
    report = verify_folder(part_of_ptbxl)
    assert report.dataset == "PTB-XL"
    assert check_of(report, "tables").startswith("120 of the 21,799 records")
    flags = only(problems(part_of_ptbxl), "tasks whose number of classes")  # the synthetic statements are fewer
    assert "form: 6 instead of 19" in flags


@pytest.mark.real_data
def test_the_real_folder_is_right(ptbxl_root: Path) -> None:
    report = verify_folder(ptbxl_root)
    assert (report.ok, report.dataset) == (True, "PTB-XL")


@pytest.mark.real_data
def test_counts_of_the_full_table_are_compared(ptbxl_root: Path, tmp_path: Path) -> None:
    full = next((path for path in ptbxl_root.glob("ptbxl_database*.csv") if len(pd.read_csv(path)) == 21_799), None)
    if full is None:
        pytest.skip(f"{ptbxl_root} does not hold PTB-XL's full table")
    shutil.copy(full, tmp_path / "ptbxl_database.csv")
    shutil.copy(ptbxl_root / "scp_statements.csv", tmp_path)
    assert [*problems(tmp_path)] == ["folders without signals"]
    flag = "NDT,non-diagnostic T abnormalities,"
    change(tmp_path / "scp_statements.csv", f"{flag}1.0", flag)
    found = problems(tmp_path)
    assert only(found, "tasks whose number of classes") == ["diagnostic: 43 instead of 44"]
    assert "train STTC 2,797 instead of 4,186" in only(found, "counts that differ")


def test_the_golden_counts_add_up() -> None:
    assert sum(row["records"] for row in LABEL_COUNTS.values()) == 21_799
    assert sum(row["labelled"] for row in LABEL_COUNTS.values()) == 21_388
    assert all({*SUPERCLASSES} < {*row} for row in LABEL_COUNTS.values())
    assert CLASS_COUNTS["all"] == 71


# --- the command --------------------------------------------------------------------------------------------------


def call(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_report_of_a_right_folder(pristine: Path) -> None:
    code, out, err = call(pristine)
    assert code == 0
    assert out.splitlines()[0] == f"Synthetic data (synthetic, seed 0) in {pristine}"
    assert "ok     100 Hz     120 of 120 records" in out
    assert out.splitlines()[-1] == "No problem was found in the files of this folder (not checked: 500 Hz)."
    assert "reading records at 100 Hz: 120" in err


def test_report_of_a_wrong_folder_names_the_first_few(ptbxl: Path) -> None:
    for number in range(1, 9):
        flip(ptbxl / f"records100/00000/0000{number}_lr.dat")
    (ptbxl / "\x1b]0;title").write_text("x")
    code, out, _ = call(ptbxl)
    assert code == 3
    assert "WRONG  100 Hz     112 of 120 records" in out
    assert "damaged or incomplete records: 8" in out
    assert "and 3 more" in out
    assert "has problems (checksums, 100 Hz)" in out
    assert "\x1b" not in out
    (ptbxl / "scp_statements.csv").write_text("x\n")
    wrong = [line.split() for line in call(ptbxl)[1].splitlines() if line.startswith("WRONG")]
    assert all(len(words) > 2 for words in wrong), wrong  # what is wrong stands behind the name, or that it follows


def test_json_is_all_of_standard_output(ptbxl: Path) -> None:
    assert json.loads(call(ptbxl, "--json")[1])["ok"] is True
    flip(ptbxl / f"{RECORD}.dat")
    code, out, _ = call(ptbxl, "--json")
    found = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 3
    assert found["100 Hz"]["state"] == "wrong"
    assert found["100 Hz"]["problems"][0]["count"] == 1
    assert found["500 Hz"]["state"] == "not checked"


@pytest.mark.parametrize("kind", ["nothing", "a file", "an empty folder", "another folder"])
def test_what_is_no_ptbxl_folder_is_one_sentence(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "x"
    if kind == "a file":
        root.write_text("x")
    elif kind != "nothing":
        root.mkdir()
        if kind == "another folder":
            (root / "notes.txt").write_text("x")
    code, out, err = call(root)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert err.startswith(f"error: {root} ")
    assert "name the folder that holds ptbxl_database.csv" in err


def test_a_folder_that_may_not_be_listed_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")  # the mode of a folder does not stop root

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed \(.*Permission denied\)"):
        verify_folder(tmp_path)
