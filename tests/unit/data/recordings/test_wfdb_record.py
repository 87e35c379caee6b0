"""WFDB records of any origin, read without filling anything in; `wfdb` is the independent reader."""

import os

import numpy as np
import pytest
import wfdb
from recordings import EIGHT, MODEL, digital, edit, heartbeats, write_wfdb
from scipy.io import savemat

from ecg_lightning.data.recordings import wfdb_record
from ecg_lightning.data.recordings.records import read_record
from ecg_lightning.data.recordings.wfdb_header import parse_header
from ecg_lightning.data.recordings.wfdb_signals import FORMATS
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.errors import DataError

TIME = np.arange(1000) / 100
TRUTH = heartbeats(TIME)


@pytest.fixture
def record(tmp_path):
    return write_wfdb(tmp_path, digital(TRUTH))


def read(path, **options):
    return read_record(path, **MODEL, **options)


def agrees(found, atol=1e-3):
    return np.allclose(found.millivolts_CT, TRUTH, atol=atol)


def test_a_record_is_read_by_any_of_its_names(tmp_path):
    write_wfdb(tmp_path, digital(TRUTH), name="A1", suffix=".mat", storage="16+24")
    found = [read(tmp_path / name) for name in ("A1", "A1.hea", "A1.mat")]
    assert all(agrees(one) and one.notes == () for one in found)
    georgia = edit(tmp_path / "A1.hea", ("A1 12 100 1000\n", "A1.mat 12 100 1000 05-May-2020 14:50:55\n#Age: 74\n"))
    assert read(georgia).notes == ()
    plain = write_wfdb(tmp_path, digital(TRUTH), name="B.v2")
    assert agrees(read(plain.with_name("B.v2.dat")))
    with pytest.raises(DataError, match=r"there is no such file, and no nothing\.hea"):
        read(tmp_path / "nothing.mat")
    with pytest.raises(DataError, match="it is a folder; name the records in it"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("array", "level", "storage", "match"),
    [
        (
            "int16",
            "4",
            "16",
            "from byte 24 on, and its header describes 12 rows of format 16 from byte 0",
        ),
        ("int32", "4", "16+24", "12 rows of 32-bit integers from byte 24 on"),
        ("float64", "4", "16+24", "12 rows of 64-bit floats"),
        ("transposed", "4", "16+24", "1000 rows of 16-bit integers"),
        (
            "int16",
            "5",
            "16+24",
            "is a MATLAB file of version 5.0, and a WFDB header can only",
        ),
    ],
)
def test_matlab_files_that_their_header_does_not_describe_are_refused(array, level, storage, match, tmp_path):
    record = write_wfdb(tmp_path, digital(TRUTH), suffix=".mat", storage=storage)
    values = digital(TRUTH).T.astype("i2") if array == "transposed" else digital(TRUTH).astype(array)
    savemat(record.with_suffix(".mat"), {"val": values}, format=level)
    with pytest.raises(DataError, match=match):
        read(record)


def test_matlab_files_of_level_4_are_read_beside_headers_in_capitals(tmp_path):
    record = write_wfdb(tmp_path, digital(TRUTH), suffix=".MAT", storage="16+24")
    savemat(record.with_suffix(".mat"), {"val": digital(TRUTH).astype("i2")}, format="4")
    record.with_suffix(".mat").replace(record.with_suffix(".MAT"))
    record.with_suffix(".hea").rename(record.with_suffix(".HEA"))
    for name in ("own", "own.HEA", "own.MAT"):
        assert agrees(read(tmp_path / name))


def test_line_ends_of_old_systems_are_read(record):
    header = record.with_suffix(".hea")
    text = header.read_bytes()
    for changed in (text.replace(b"\n", b"\r"), text.replace(b"\n", b"\r\n") + b"\x1a", text + b"\x1a\r\n"):
        header.write_bytes(changed)
        assert read(record).notes == ()


def test_signals_without_any_name_are_refused_once(record):
    header = record.with_suffix(".hea")
    header.write_text("\n".join(line.rpartition(" ")[0] for line in f"{header.read_text()}".splitlines()) + "\n")
    edit(header, ("own 12 100", "own 12 100 1000"))
    with pytest.raises(DataError, match="none of its 12 signals has a name") as refusal:
        read(record)
    assert "(no name)" not in str(refusal.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("µV", "µV"),
        ("μV", "µV"),
        ("uV", "uV"),
        ("㎶", "µV"),
        ("Î¼V", "µV"),
        ("V", "V"),
        ("millivolts", None),
        ("MV", None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_units_in_any_writing(tmp_path, written, said, encoding):
    if encoding == "latin-1" and written in ("μV", "㎶"):
        pytest.skip("Latin-1 has no such character")
    per_millivolt = {"µV": 1000, "uV": 1000, "V": 0.001, None: 1}[said]
    gain = 1000 / per_millivolt
    record = write_wfdb(tmp_path, digital(TRUTH), gain=f"{gain:g}/{written}", encoding=encoding)
    found = read(record)
    assert agrees(found)
    assert found.notes == ((f"converted from {said} to mV",) if said else ())


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (" 100 ", " abc ", "sampling rate in its header is 'abc'"),
        (" 100 ", " nan ", "sampling rate in its header is 'nan'"),
        (" 100 ", " inf ", "sampling rate in its header is 'inf'"),
        (" 100 ", " -100 ", "sampling rate in its header is '-100'"),
        (" 100 ", " 0 ", "sampling rate in its header is '0'"),
        (" 100 ", " 10 ", "sampling rate is 10 Hz, expected 50 to 20000"),
        (" 100 1000", "", "gives no sampling rate"),
        (" 1000\n", " 10x0\n", "number of samples in its header is '10x0'"),
        (" 1000\n", " 2000\n", "holds 24,000 bytes, but its header announces 48,000"),
        (" 12 ", " 13 ", "announces 13 signals but describes 12"),
        (" 12 ", " 65 ", "announces 65 signals, expected 1 to 64"),
        ("own 12", "own/2 12", "a record of 2 segments"),
        ("1000.0(0)/mV", "0(0)/mV", "lead I is uncalibrated: the gain in its header is 0"),
        ("1000.0(0)/mV", "-1000(0)/mV", "lead I is uncalibrated: the gain in its header is -1000"),
        ("1000.0(0)/mV", "nan(0)/mV", "the gain in its header is 'nan"),
        ("1000.0(0)/mV", "1e999(0)/mV", "the gain in its header is '1e999"),
        ("1000.0(0)/mV", "1000(x)/mV", "the baseline in its header is 'x'"),
        ("1000.0(0)/mV", "1000(0)/mmHg", "its units are 'mmHg', which are not of voltage"),
        (" 16 1000", " 13 1000", "storage format of own.dat is 13, but only 8, 16"),
        (" 16 1000", " 516 1000", "storage format of own.dat is 516"),
        (" 16 1000", " 16:3 1000", "lead I is skewed by 3 samples"),
        (" 16 1000", " 16x0 1000", "0 samples a frame"),
        (" 16 1000", " wav 1000", "gives no storage format"),
        (" 0 I\n", " 0\n", r"lead I is missing; it has \(no name\), II"),
        ("/mV 16 ", "/mV -0 ", "signal 1: the resolution in its header is '-0'"),
        (" 0 I\n", " I\n", "signal 1: the block size in its header is 'I'"),
        (" 0 aVR", " 0 -aVR", "lead -aVR is inverted"),
        ("own.dat", "../own.dat", "is outside the record's folder"),
        ("own.dat", "/etc/passwd", "is outside the record's folder"),
        ("own.dat", "http://host/own.dat", "expected a name without"),
        ("own.dat", "x\\own.dat", "expected a name without"),
        ("own.dat", "no.dat", "no.dat is not there"),
    ],
)
def test_what_is_missing_or_damaged_is_refused_and_named(tmp_path, old, new, match):
    names = ["aVR" if name == "AVR" else name for name in LEADS]
    record = write_wfdb(tmp_path, digital(TRUTH), names)
    edit(record.with_suffix(".hea"), (old, new))
    with pytest.raises(DataError, match=match):
        read(record)


def test_a_damaged_gain_or_baseline_of_one_lead_is_refused_or_said(record):
    header = record.with_suffix(".hea")
    text = header.read_text().splitlines()

    def with_line(number, gain):
        changed = list(text)
        changed[number] = text[number].replace("1000.0(0)/mV", gain)
        header.write_text("\n".join(changed))
        return record

    for gain in ("0(0)/mV", "-0/mV", "-1000(0)/mV"):
        with pytest.raises(DataError, match="lead V3 is uncalibrated"):
            read(with_line(9, gain))
    with pytest.raises(DataError, match="its limb leads contradict each other: II must be I \\+ III"):
        read(with_line(2, "200(0)/mV"))
    found = read(with_line(2, "1000(500)/mV"))
    assert any("offsets of its limb leads contradict each other by 0.5 mV" in note for note in found.notes)
    found = read(with_line(9, "200(0)/mV"))
    assert found.notes == ("lead V3 has another gain or baseline in the header than the other leads: check it",)


def test_what_is_assumed_is_said(tmp_path):
    record = write_wfdb(tmp_path, digital(TRUTH), gain="1000")
    assert read(record).notes == ("its header gives no units, so mV are assumed, as in WFDB",)
    lines = ["own 12 100", *(f"own.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
    record.with_suffix(".hea").write_text("\n".join(lines))
    found = read(record)
    assert agrees(found)
    assert found.notes == ("the header has no checksum for own.dat, so its content was not verified",)
    edit(record.with_suffix(".hea"), ("own 12", "other 12"))
    assert read(record).notes[0] == "its header names another record, other"


def test_the_adc_zero_is_the_baseline_where_none_is_given(tmp_path):
    values = digital(TRUTH, 200, 1024)
    record = write_wfdb(tmp_path, values, gain="200/mV")
    edit(record.with_suffix(".hea"), (" 16 0 ", " 11 1024 "))
    assert agrees(read(record), atol=0.01)


def test_a_changed_byte_or_first_sample_is_noticed(record):
    data = bytearray(record.with_suffix(".dat").read_bytes())
    for byte, match in ((5000, "does not match its WFDB checksum"), (0, "lead I starts with")):
        changed = bytearray(data)
        changed[byte] ^= 1
        record.with_suffix(".dat").write_bytes(changed)
        with pytest.raises(DataError, match=match):
            read(record)


def test_a_long_record_tells_its_length_and_whether_it_was_verified(tmp_path, monkeypatch):
    values = digital(heartbeats(np.arange(3000) / 100))
    record = write_wfdb(tmp_path, values)
    note = "it lasts 30 s; the first 10 s are used"
    assert read(record).notes == (note,)
    monkeypatch.setattr(wfdb_record, "_WHOLE_SAMPLES", 20_000)
    found = read(record)
    assert agrees(found)
    assert found.notes == (
        "own.dat is long: only its first seconds were read, so its checksums were not verified",
        note,
    )


def test_missing_samples_are_refused_by_lead(tmp_path):
    values = digital(TRUTH)
    values[4, 300] = -32768
    with pytest.raises(DataError, match="lead aVL has missing samples"):
        read(write_wfdb(tmp_path, values))


def test_other_signals_in_other_files_are_left_out(tmp_path):
    record = write_wfdb(tmp_path, digital(TRUTH))
    header = record.with_suffix(".hea")
    edit(header, ("own 12", "own 13"))
    header.write_text(header.read_text() + "own.xyz 516x4:3 2000/mmHg 16 0 1 2 0 ABP\n# a comment\n")
    assert read(record).notes == ("left out: ABP",)


def test_eight_leads_are_enough(tmp_path):
    places = [LEADS.index(lead) for lead in EIGHT]
    found = read(write_wfdb(tmp_path, digital(TRUTH)[places], EIGHT))
    assert agrees(found)
    assert found.notes == ("computed from I and II: III, aVR, aVL, aVF",)


def test_several_samples_a_frame_are_a_higher_rate(tmp_path):
    fast = digital(heartbeats(np.arange(2000) / 200))
    record = write_wfdb(tmp_path, fast)
    frames = fast.reshape(12, 1000, 2).transpose(1, 0, 2)
    record.with_suffix(".dat").write_bytes(frames.astype("<i2").tobytes())
    edit(record.with_suffix(".hea"), (" 2000\n", " 1000\n"), (" 16 1000", " 16x2 1000"))
    found = read(record)
    assert found.notes == ("resampled from 200 to 100 Hz",)
    assert agrees(found, atol=0.02)
    edit(record.with_suffix(".hea"), ("16x2 1000.0(0)/mV 16 0 -", "16 1000.0(0)/mV 16 0 -"))
    with pytest.raises(DataError, match="its leads have 1 and 2 samples per frame"):
        read(record)


def test_links_out_of_the_folder_pipes_and_folders_are_refused(record, tmp_path):
    data = record.with_suffix(".dat")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    data.rename(outside / "own.dat")
    data.symlink_to(outside / "own.dat")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("own.hea", "own.dat"):
        (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(DataError, match=r"is outside the record's folder \(by its name or a link\)"):
        read(folder / "own")
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(DataError, match=r"own\.dat is a pipe, not a file"):
        read(record)
    data.unlink()
    data.mkdir()
    with pytest.raises(DataError, match=r"own\.dat is a folder, not a file"):
        read(record)


def test_headers_that_would_eat_the_machine_are_refused_at_once(record):
    header, data = record.with_suffix(".hea"), record.with_suffix(".dat")
    for text in ("r 100000000 100 1000\n", "r 1 100 99999999999999\nown.dat 16\n"):
        header.write_text(text)
        with pytest.raises(DataError):
            read(record)
    header.write_text("".join(["own 12 100\n", *(f"own.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)]))
    with data.open("r+b") as file:
        file.truncate(2**33)
    assert any("own.dat is long" in note for note in read(record).notes)
    with header.open("r+b") as file:
        file.truncate(2**33)
    with pytest.raises(DataError, match="its header is larger than 65,536 bytes"):
        read(record)


def test_two_files_and_all_that_the_manual_allows_are_parsed():
    header = parse_header(
        b"# first\r\nx_1 3 360/50(10) 650000 12:00:00 1/2/1990\r\n"
        b"a.dat 212x2:3+4 200.5(-3)/mV 11 1024 995 -22131 0 MLII, 1\r\n\r\nb.dat 16\nc.dat 80 1e3\n#end"
    )
    assert (header.name, header.rate, header.n_frames) == ("x_1", 360.0, 650000)
    first, second, third = header.signals
    assert (first.code, first.samples_per_frame, first.skew, first.byte_offset) == (212, 2, 3, 4)
    assert (first.zero, first.initial, first.checksum, first.name) == (1024, 995, -22131, "MLII, 1")
    assert (second.calibration, second.zero, second.checksum, second.name) == (None, None, None, None)
    assert third.calibration == "1e3"


def test_storage_formats_agree_with_the_wfdb_package(tmp_path):
    """The package's decoder sees the same bytes; signals of a whole and of a broken number of groups."""
    content = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)
    content[3::4] &= 0x3F  # the unused bits of format 311, which the package takes for data
    for code, storage in FORMATS.items():
        for n_frames in (60, 61, 62):
            (tmp_path / "x.dat").write_bytes(content[: storage.bytes_for(n_frames)].tobytes())
            (tmp_path / "x.hea").write_text(f"x 1 100 {n_frames}\nx.dat {code} 1/mV 16 0 0 0 0 I\n")
            expected = wfdb.rdrecord(str(tmp_path / "x"), physical=False).d_signal[:, 0]
            found = storage.read((tmp_path / "x.dat").read_bytes(), n_frames)
            if storage.differences:
                found = np.cumsum(found)
            assert np.array_equal(found, expected), (code, n_frames)
