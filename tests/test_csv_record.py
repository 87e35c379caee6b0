"""Tables of many dialects, all of the same twelve signals."""

import os

import numpy as np
import pandas as pd
import pytest
from recordings import EIGHT, MODEL, UNNAMED, heartbeats, rows

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.records import read_record
from ecg_lightning.errors import DataError

TIME = np.arange(1000) / 100
TRUTH = heartbeats(TIME)
TABLE = TRUTH.T
NAMES = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
ROWS = rows(TABLE)
PLACES = [LEADS.index(lead) for lead in EIGHT]
TIMED = np.column_stack([TIME, TABLE])


def named(template, delimiter=",", names=NAMES):
    return delimiter.join(template.format(name) for name in names) + "\n"


def read(path, rate=100, units=None):
    return read_record(path, **MODEL, rate=rate, units=units)


DIALECTS = {
    "names": named("{}") + ROWS,
    "lower_case": named("{}").lower() + ROWS,
    "quotes": named('"{}"') + ROWS,
    "single_quotes": named("'{}'") + ROWS,
    "spaces": named("{}", ", ") + rows(TABLE, ", "),
    "prefix_lead": named("Lead {}") + ROWS,
    "prefix_lead_hyphen": named("lead-{}") + ROWS,
    "prefix_ecg": named("ECG {}") + ROWS,
    "prefix_ecg_underscore": named("ECG_{}") + ROWS,
    "ieee_11073": named("MDC_ECG_LEAD_{}") + ROWS,
    "spanish": "DI,DII,DIII,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6\n" + ROWS,
    "digits_and_c": "D1,D2,D3,aVR,aVL,aVF,C1,C2,C3,C4,C5,C6\n" + ROWS,
    "units_in_names": named("{} (mV)") + ROWS,
    "savetxt": named("{}").replace("I", "# I", 1) + ROWS,
    "percent": "% " + named("{}") + ROWS,
    "more_comments": "# written by a program\n# " + named("{}") + "# in mV\n" + ROWS,
    "savetxt_names_with_commas": "# " + named("{}") + rows(TABLE, " "),
    "title": "Recording 12\n" + named("{}") + ROWS,
    "german": named("{}", ";") + rows(TABLE, ";", ","),
    "semicolons": named("{}", ";") + rows(TABLE, ";"),
    "excel": "sep=;\n" + named("{}", ";") + rows(TABLE, ";", ","),
    "tabs": named("{}", "\t") + rows(TABLE, "\t"),
    "tabs_decimal_comma": named("{}", "\t") + rows(TABLE, "\t", ","),
    "white_space": named("{}", " ") + rows(TABLE, "   "),
    "carriage_returns": (named("{}") + ROWS).replace("\n", "\r\n"),
    "byte_order_mark": "\ufeff" + named("{}") + ROWS,
    "delimiter_at_the_end": named("{}") + ROWS.replace("\n", ",\n"),
    "blank_lines": "\n" + named("{}") + "\n" + ROWS + "\n\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_with_names_need_no_note(dialect, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(DIALECTS[dialect], encoding="utf-8")
    found = read(path)
    assert np.allclose(found.millivolts_CT, TRUTH, atol=1e-5)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (ROWS, ()),
        (rows(TABLE, ";", ","), ()),
        (rows(TABLE, " ", ","), ()),
        ("# twelve columns\n" + ROWS, ()),
        (pd.DataFrame(TABLE).to_csv(index=False), ()),
        (pd.DataFrame(TABLE, columns=range(1, 13)).to_csv(index=False), ()),
        (pd.DataFrame(TABLE).to_csv(), ("left out: column 1",)),
        (pd.DataFrame(TABLE).rename_axis("time").to_csv(), ("left out: column 1",)),
    ],
)
def test_column_numbers_are_names_and_no_samples(text, notes, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    found = read(path)
    assert np.allclose(found.millivolts_CT, TRUTH, atol=1e-5)
    assert found.notes == (*notes, UNNAMED)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (named("{} [uV]") + rows(1000 * TABLE), "converted from uV to mV, as its header row says"),
        (named("{}_µV") + rows(1000 * TABLE), "converted from µV to mV, as its header row says"),
        (named("{}") + named("uV") + rows(1000 * TABLE), "converted from uV to mV, as its header row says"),
        (named("{}", names=EIGHT) + rows(TABLE[:, PLACES]), "computed from I and II: III, aVR, aVL, aVF"),
        ("time," + named("{}") + rows(TIMED), "left out: time"),
        ("Time (ms)," + named("{}") + rows(TIMED * [1000, *[1] * 12]), "left out: Time (ms)"),
        ("sample," + named("{}") + rows(TIMED * [100, *[1] * 12]), "left out: sample"),
        ("a\x1b]0;title\x07," + named("{}") + rows(TIMED), r"left out: a\x1b]0;title\x07"),
        (named("{}") + rows(np.column_stack([np.arange(1, 1001), TABLE])), "left out: number 1 (no name)"),
    ],
)  # fmt: skip
def test_what_was_converted_or_left_out_is_said(text, note, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    found = read(path)
    assert np.allclose(found.millivolts_CT, TRUTH, atol=1e-5)
    assert found.notes == (note,)


@pytest.mark.parametrize(("suffix", "encoding"), [(".csv", "latin-1"), (".txt", "utf-16"), (".tsv", "utf-8")])
def test_encodings(suffix, encoding, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_text(named("{} (µV)", "\t") + rows(1000 * TABLE, "\t"), encoding=encoding)
    assert np.allclose(read(path).millivolts_CT, TRUTH, atol=1e-5)


FIRST = rows(TABLE[:5])
WORDS = ["a", '"b', "c", 'd"', *["e"] * 996]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            named("{}", names=EIGHT[:-1]) + rows(TABLE[:, :7]),
            "leads III, aVR, aVL, aVF, V6 are missing; it has I, II, V1",
        ),
        (rows(TABLE[:, :8]), "8 columns and no row of lead names.*I, II and V1 to V6"),
        (named("{}", names=["I", "II", "III", "-aVR", *NAMES[4:]]) + ROWS, "lead -aVR is inverted"),
        (named("{}", names=["I", "II", "III", "Lead -aVR", *NAMES[4:]]) + ROWS, "lead Lead -aVR is inverted"),
        (named("{}", names=["MLII", *NAMES[1:]]) + ROWS, "lead I is missing; it has MLII"),
        (named("{}", names=[*NAMES[:-1], "I"]) + ROWS, "lead I is there more than once"),
        (named("lead{}", names=range(1, 13)) + ROWS, "leads aVR, .* are missing"),
        (named("V{}", names=range(1, 13)) + ROWS, "leads I, .* are missing"),
        ("\x1b]0;x\x07," + named("{}", names=NAMES[1:]) + ROWS, r"it has \\x1b\]0;x\\x07"),
        ("a;b\n" + rows(TABLE, ";"), "header row 'a;b' does not name 12 columns"),
        (
            named("{}") + FIRST + ",".join(["0.1"] * 5 + [""] + ["0.1"] * 6) + "\n" + ROWS,
            "lead aVF has missing samples",
        ),
        (
            named("{}") + FIRST + ",".join(["0.1"] * 5 + ["NA"] + ["-"] * 6) + "\n" + ROWS,
            "leads aVF, V1, .* have missing",
        ),
        (named("{}") + FIRST + "0.1,0.2\n" + ROWS, "leads III, aVR, .* have missing samples"),
        (named("{}") + FIRST + ",".join(["0.1"] * 14) + "\n" + ROWS, "Expected 12 fields in line 6, saw 14"),
        (named("{}") + FIRST + ",".join(["oops"] * 12) + "\n" + ROWS, "column I holds 'oops' in sample 6"),
        (
            "x," + named("{}") + "".join(f"{cell},{row}\n" for cell, row in zip(WORDS, ROWS.splitlines(), strict=True)),
            "quotation mark",
        ),
        ("time," + named("{}") + rows(TIMED / 5), "column time advances by 0.002 a row, which is not 100 Hz"),
        (named("{} (mV)").replace("II (mV)", "II") + ROWS, "units for some leads, but none for II"),
        (rows(TRUTH), "1000 columns"),
        (rows(TABLE[:900]), "lasts 9 s, and the model needs 10 s"),
        ("", "no rows of numbers"),
        (named("{}"), "no rows of numbers"),
        ("\0\1\2", "no text"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(text, match, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"a\.csv: .*{match}"):
        read(path)


def test_units_of_the_header_row_and_of_the_command_line_must_agree(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(named("{} (uV)") + rows(1000 * TABLE))
    assert np.allclose(read(path, units="uV").millivolts_CT, TRUTH, atol=1e-5)
    with pytest.raises(DataError, match="header row gives uV, and --units says mV"):
        read(path, units="mV")


def test_the_length_is_that_of_the_whole_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(rows(np.tile(TABLE, (3, 1))) + "\n\n")
    assert "it lasts 30 s; the first 10 s are used" in read(path).notes


def test_tables_that_would_eat_the_machine_are_refused_at_once(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"0.1," * 1_000_000)
    with pytest.raises(DataError, match="line 1 is longer than 65,536 characters"):
        read(path)
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(DataError, match="a table may hold 50,000,000"):
        read(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"a\.csv is a pipe, not a file"):
        read(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"a\.csv is a device, not a file"):
        read(path)
