"""Tables of many dialects, all of the same twelve signals."""

import os
import re
import time

import numpy as np
import pandas as pd
import pytest
from recordings import EIGHT, MODEL, NO_UNITS, UNNAMED, heartbeats, rows

from ecg_lightning.data.recordings.records import read_record
from ecg_lightning.data.wfdb import LEADS
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
    "quoted_decimal_commas": named("{}") + rows(TABLE, '","', ",").replace("\n", '"\n"').join('""')[:-2],
    "semicolon_comment": "; " + named("{}") + ROWS,
    "exclamation_mark": "! a comment\n! " + named("{}") + ROWS,
    "pandas_semicolons": pd.DataFrame(TABLE, columns=NAMES).to_csv(sep=";", index=False),
    "quoted_units_with_comma": named('"{}, mV"') + ROWS,
    "in_units": named("{} in mV") + ROWS,
    "minus_sign": named("{}") + ROWS.replace("-", "\N{MINUS SIGN}"),
    "dot_units": named("{}.mV") + ROWS,
    "joined_units": named("{}mV") + ROWS,
    "suffix_lead": named("{} lead") + ROWS,
    "dot_lead": named("Lead.{}") + ROWS,
    "colon_lead": named("Lead: {}") + ROWS,
    "channel": named("ch_{}") + ROWS,
    "roman_l": named("{}", names=["LI", "LII", "LIII", "a-VR", "aV-L", "aV F", *[f"V-{n}" for n in range(1, 7)]])
    + ROWS,
    "units_in_brackets_below": named("{}") + named("(mV)") + ROWS,
    "units_in_a_comment_below": named("{}") + "# " + named("mV") + ROWS,
    "blank_lines": "\n" + named("{}") + "\n" + ROWS + "\n\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_with_names_need_no_note(dialect, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(DIALECTS[dialect], encoding="utf-8")
    found = read(path, units="mV")
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
        (",".join(f"{number}.0" for number in range(12)) + "\n" + ROWS, ()),
        (pd.DataFrame(TABLE).to_csv(), ("left out: column 1",)),
        (pd.DataFrame(TABLE).rename_axis("time").to_csv(), ("left out: column 1",)),
    ],
)
def test_column_numbers_are_names_and_no_samples(text, notes, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    found = read(path, units="mV")
    assert np.allclose(found.millivolts_CT, TRUTH, atol=1e-5)
    assert found.notes == (*notes, UNNAMED)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (named("{} [uV]") + rows(1000 * TABLE), "converted from uV to mV, as its header row says"),
        (named("{}_µV") + rows(1000 * TABLE), "converted from µV to mV, as its header row says"),
        (named("{} [µ V]") + rows(1000 * TABLE), "converted from µ V to mV, as its header row says"),
        (named("{}") + named("uV") + rows(1000 * TABLE), "converted from uV to mV, as its header row says"),
        (named("{}", names=EIGHT) + rows(TABLE[:, PLACES]), "computed from I and II: III, aVR, aVL, aVF"),
        ("time," + named("{}") + rows(TIMED), "left out: time"),
        ("Gain 9\n" + named("{}") + ROWS, "the line 'Gain 9' above its rows was not applied: check its values' units"),
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
    assert [one for one in found.notes if one != NO_UNITS] == [note]


@pytest.mark.parametrize("text", [ROWS, named("{}") + ROWS, "# 12 leads\n" + named("{}") + ROWS])
def test_units_that_are_assumed_are_said(text, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert NO_UNITS in read(path).notes
    assert NO_UNITS not in read(path, units="mV").notes
    np.save(tmp_path / "a.npy", TABLE)
    assert NO_UNITS in read(tmp_path / "a.npy").notes


IRREGULAR = TIMED + 0.1 * (np.arange(1000) >= 500)[:, None] * (np.arange(13) == 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time," + named("{}") + rows(TIMED), "sampling rate: 100 Hz, from its column time in s, which is assumed"),
        ("t," + named("{}") + rows(TIMED * [1000, *[1] * 12]), "100 Hz, from its column t in ms, which is assumed"),
        ("Time [ms]," + named("{}") + rows(TIMED * [1003, *[1] * 12]), "99.7009 Hz, from its column Time [ms] in ms"),
        ("Time_s;" + named("{}", ";") + rows(TIMED, ";", ","), "100 Hz, from its column Time_s in s"),
        ("Sample Rate,100\n" + named("{}") + ROWS, "sampling rate: 100 Hz, as a line above its rows says"),
        ("sample," + named("{}") + ROWS.replace("\n", ",1\n"), "it has no column of time that says its sampling rate"),
        ("time," + named("{}") + rows(TIMED * [100, *[1] * 12]), "time advances by 1 a row, and not clearly in s"),
        ("time," + named("{}") + rows(IRREGULAR), "its column time does not advance evenly; give the sampling rate"),
        ("time," + named("{}") + rows(TIMED[::-1]), "its column time does not advance evenly"),
        ("time," + named("{}") + rows(TIMED * [0, *[1] * 12]), "its column time does not advance evenly"),
        ("time_s,ms," + named("{}") + rows(np.column_stack([TIME, TIMED])), "columns of time contradict each other"),
        ("s," + named("{}") + rows(TIMED * [10, *[1] * 12]), "its sampling rate is 10 Hz, expected 50 to 20000"),
    ],
)  # fmt: skip
def test_a_column_of_time_says_the_sampling_rate(text, said, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    try:
        notes = read(path, rate=None).notes
    except DataError as error:
        notes = (str(error),)
    assert any(said in note or re.search(said, note) for note in notes), notes


FIRST = rows(TABLE[:5])
MICRO = rows(1000 * TABLE)
GAP = TIMED + 3 * (np.arange(1000) >= 500)[:, None] * (np.arange(13) == 0)
CLOCK = "".join(f"2020-01-01T00:00:{i / 500:06.3f}Z,{row}\n" for i, row in enumerate(ROWS.splitlines()))
GROUPED = "".join(";".join(f"{round(5000 * v):,}".replace(",", ".") for v in row) + "\n" for row in TABLE)


@pytest.mark.parametrize(
    "above",
    ["# units: uV\n", "Units,uV\n", "Sample Rate,100\nUnits,µV\nDate,2020-01-01\n", "# all values in microvolts\n",
     "Recording 1\nUnit;uV\n", "# Sampling frequency (Hz): 100, units: uV\n", "# time units: s\n# units = 'uV'\n"],
)  # fmt: skip
def test_statements_above_a_table_are_read(above, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(above + ("" if above.startswith("#") else named("{}")) + MICRO, encoding="utf-8")
    found = read(path)
    assert np.allclose(found.millivolts_CT, TRUTH, atol=1e-5)
    assert found.notes[0].endswith("to mV, as a line above its rows says")
    with pytest.raises(DataError, match=r"a line above its rows says .*, and --units says mV"):
        read(path, units="mV")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("# sampling rate: 500 Hz\n" + named("{}") + ROWS, "says a sampling rate of 500 Hz, and --rate says 100"),
        ("Sample Rate,250\n" + named("{}") + ROWS, "says a sampling rate of 250 Hz, and --rate says 100"),
        ("# fs=0.5 kHz\n" + ROWS, "says a sampling rate of 500 Hz, and --rate says 100"),
        ("Sampling Rate [Hz];500\n" + named("{}", ";") + rows(TABLE, ";"), "sampling rate of 500 Hz"),
        ("# Units: counts\n" + ROWS, "states units that are not of voltage"),
        ("# Units: uV\n" + named("{} (mV)") + ROWS, "its header row gives mV, and a line above it uV"),
        (named("{}") + named("counts") + ROWS, "lead I: its units are 'counts', which are not of voltage"),
        (named("{}") + named("[adc]") + ROWS, "lead I: its units are 'adc', which are not of voltage"),
        (named("{}") + "uV,uV\n" + ROWS, "'uV,uV' does not name 12 columns|does not give the units of 12 columns"),
        ("Time_ms," + named("{}") + rows(TIMED * [200, *[1] * 12]), "column Time_ms advances by 2 a row"),
        ("time_s," + named("{}") + rows(TIMED / 5), "column time_s advances by 0.002 a row"),
        ("Zeit," + named("{}") + rows(TIMED / 5), "column Zeit advances by 0.002 a row"),
        ("sample_time," + named("{}") + rows(TIMED / 5), "column sample_time advances by 0.002 a row"),
        ("elapsedTime," + named("{}") + rows(TIMED / 5), "column elapsedTime advances by 0.002 a row"),
        ("Time (ms)," + named("{}") + rows(TIMED * [100, *[1] * 12]), "column Time .ms. advances by 1 a row"),
        ("time," + named("{}") + rows(GAP), "column time advances by 3.01 below sample 500 and by 0.01 elsewhere"),
        ("# 500 samples per second\n" + ROWS, "says a sampling rate of 500 Hz, and --rate says 100"),
        ("sampling_rate_hz,500\n" + named("{}") + ROWS, "says a sampling rate of 500 Hz, and --rate says 100"),
        ("Time," + named("{}") + CLOCK, "column Time advances by 0.002 a row, which is not 100 Hz"),
        (named("{}", ";") + GROUPED, "'.' may stand between thousands in it, as '.*' beside whole numbers below 1000"),
        (named("{}", ";") + rows(TABLE[:9], ";", ",") + rows(TABLE, ";"), "column I holds '0.5.*' in sample 10"),
        (named("{} (counts)") + ROWS, "lead I: its units are 'counts', which are not of voltage"),
        ("Time," + named("{}") + "ms," + named("mV") + rows(TIMED * [100, *[1] * 12]), "column Time advances by 1 a"),
        (named("{}") + FIRST + "\n" + ROWS, "line 7 is blank, between rows of samples"),
        (named("{}") + FIRST + " \n\n" + ROWS, "line 7 is blank, between rows of samples"),
        (named("{}") + FIRST + ",".join(["0.1"] * 13) + "\n" + ROWS, "line 7 holds 13 cells, and the rows above it 12"),
        (named("{}") + FIRST + ",".join(["1" * 4000] * 12) + "\n" + ROWS, "line 7 holds 48,012 characters in 12 col"),
        (named("{}") + FIRST + ",".join(["1" * 1000] + ["0"] * 11) + "\n" + ROWS, "lead I has missing samples"),
    ],
)  # fmt: skip
def test_contradictions_and_damaged_rows_are_named(text, match, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        read(path)


WHOLE = np.vstack([np.zeros((3, 12)), TABLE[3:]])


@pytest.mark.parametrize("delimiter", [";", "\t", " ", "|"])
@pytest.mark.parametrize("header", [True, False])
def test_whole_numbers_in_the_first_rows_do_not_hide_the_decimal_sign(delimiter, header, tmp_path):
    path = tmp_path / "a.csv"
    first = delimiter.join("0" * 12) + "\n"
    path.write_text((named("{}", delimiter) if header else "") + 3 * first + rows(TABLE[3:], delimiter, ","))
    assert np.allclose(read(path).millivolts_CT, WHOLE.T, atol=1e-5)


@pytest.mark.parametrize(("suffix", "encoding"), [(".csv", "latin-1"), (".txt", "utf-16"), (".tsv", "utf-8")])
def test_encodings(suffix, encoding, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_text(named("{} (µV)", "\t") + rows(1000 * TABLE, "\t"), encoding=encoding)
    assert np.allclose(read(path).millivolts_CT, TRUTH, atol=1e-5)


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
        (named("{}", names=[*NAMES[:-1], "I"]) + ROWS, "lead I is named more than once"),
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
        (named("{}") + FIRST + ",".join(["0.1"] * 14) + "\n" + ROWS, "line 7 holds 14 cells, and the rows above it 12"),
        (named("{}") + FIRST + ",".join(["oops"] * 12) + "\n" + ROWS, "column I holds 'oops' in sample 6"),
        (
            "x," + named("{}") + "".join(f"{cell},{row}\n" for cell, row in zip(WORDS, ROWS.splitlines(), strict=True)),
            "quotation mark",
        ),
        ("time," + named("{}") + rows(TIMED / 5), "column time advances by 0.002 a row, which is not 100 Hz"),
        (named("{} (mV)").replace("II (mV)", "II") + ROWS, "units for some leads, but none for II"),
        (rows(TRUTH), "1000 columns"),
        (rows(TABLE[:900]), "lasts 9 s at 100 Hz, and 10 s are needed"),
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


@pytest.mark.parametrize(
    "line",
    ["x," * 30_000, "_" * 60_000, "# unit" + " " * 60_000, "# fs" + " " * 60_000, "(" * 60_000, "Lead" + " _" * 4_000],
)  # fmt: skip
def test_long_lines_above_a_table_take_no_time(line, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text((line + "\n") * 10)
    began = time.process_time()
    with pytest.raises(DataError):
        read(path)
    assert time.process_time() - began < 5


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
