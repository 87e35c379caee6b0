"""Records: what a good one may look like, and that every bad one is refused by a message that names what is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ecg_lightning.data.wfdb import LEADS, MISSING_SAMPLE, RecordError, RecordReader, record_path

NAME = "00001_lr"
Damage = Callable[[Path], object]
WriteRecord = Callable[..., None]


def signals(n_samples: int = 1000, n_leads: int = 12) -> npt.NDArray[np.int16]:
    """Leads that differ in each sample, so that no two can be swapped unseen."""
    return np.random.default_rng(0).integers(-3000, 3000, (n_leads, n_samples)).astype(np.int16)


def read(folder: Path, rate: int = 100, verify: bool = True, name: str = NAME) -> npt.NDArray[np.int16]:
    out = np.zeros((12, 10 * rate), dtype=np.int16)
    RecordReader(rate, verify).read_into(str(folder / name), out)
    return out


@pytest.fixture
def folder(tmp_path: Path, write_record: WriteRecord) -> Path:
    write_record(tmp_path, NAME, signals())
    return tmp_path


# --- good records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [100, 500])
def test_equals_wfdb(tmp_path: Path, rate: int) -> None:
    import wfdb

    written = signals(10 * rate)
    wfdb.wrsamp(
        NAME,
        fs=rate,
        units=["mV"] * 12,
        sig_name=["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"],
        d_signal=written.T.astype(np.int64),
        fmt=["16"] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        write_dir=str(tmp_path),
    )
    by_wfdb = wfdb.rdrecord(str(tmp_path / NAME), physical=False).d_signal.T
    np.testing.assert_array_equal(by_wfdb, written)
    np.testing.assert_array_equal(read(tmp_path, rate), written)


def edit_header(change: Callable[[str], str]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / f"{NAME}.hea"
        before = path.read_text()
        after = change(before)
        assert after != before, "the damage did nothing"
        path.write_bytes(after.encode("latin-1"))

    return damage


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("AV", "aV"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "# age 56\n#sex: f\n",
        lambda text: text.replace("\n", "\r\n") + "#sex: f\r\n\r\n",
        lambda text: text + "\n",
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("1000.0(0)/mV", "1000/mV"),
        lambda text: text.replace(" 12 100 1000", " 12 100.0 1000 12:30:00 13/03/1990"),
        lambda text: re.sub(r" (\d+) 0 (\S+)\n", lambda m: f" {(int(m[1]) + 32768) % 65536 - 32768} 0 {m[2]}\n", text),
    ],
    ids=["aVR", "CRLF", "comments", "CRLF comments", "blank", "no newline", "plain gain", "date", "signed checksums"],
)
def test_other_spellings_of_a_header_are_read_too(folder: Path, change: Callable[[str], str]) -> None:
    edit_header(change)(folder)
    np.testing.assert_array_equal(read(folder), signals())


def test_memory_is_not_shared_between_reads(tmp_path: Path, write_record: WriteRecord) -> None:
    first, second = np.zeros((2, 12, 1000), dtype=np.int16)
    write_record(tmp_path, "a", signals())
    write_record(tmp_path, "b", -signals())
    reader = RecordReader(100)
    reader.read_into(str(tmp_path / "a"), first)
    reader.read_into(str(tmp_path / "b"), second)
    np.testing.assert_array_equal(first, signals())
    np.testing.assert_array_equal(second, -signals())


# --- bad headers --------------------------------------------------------------------------------------------------


def on_lead(lead: str, pattern: str, new: str) -> Damage:
    """Replaces `pattern` in the header line of one lead."""
    return edit_header(lambda text: re.sub(rf"^(?=.* {lead}$)(.*?){pattern}", rf"\g<1>{new}", text, flags=re.MULTILINE))


def swap(text: str) -> str:
    return text.replace(" 0 I\n", " 0 ?\n").replace(" 0 II\n", " 0 I\n").replace(" 0 ?\n", " 0 II\n")


HEADERS: dict[str, tuple[Damage, str]] = {
    "empty": (lambda folder: (folder / f"{NAME}.hea").write_bytes(b""), "its header is empty"),
    "blank": (lambda folder: (folder / f"{NAME}.hea").write_bytes(b"\n \n"), "its header is empty"),
    "binary": (
        lambda folder: (folder / f"{NAME}.hea").write_bytes(np.random.default_rng(0).bytes(700)),
        "its header is not a text file",
    ),
    "text": (lambda folder: (folder / f"{NAME}.hea").write_text("hello\n"), "its header starts with 'hello'"),
    "other record": (edit_header(lambda text: text.replace("00001", "00002")), "belongs to record '00002_lr'"),
    "11 leads": (edit_header(lambda text: text.replace(" 12 100", " 11 100")), "it has 11 leads, expected 12"),
    "13 leads": (edit_header(lambda text: text.replace(" 12 100", " 13 100")), "it has 13 leads, expected 12"),
    "11 lines": (edit_header(lambda text: "".join(text.splitlines(True)[:-1])), "describes 11 signals, expected 12"),
    "13 lines": (edit_header(lambda text: text + text.splitlines(True)[-1]), "describes 13 signals, expected 12"),
    "fs 500": (edit_header(lambda text: text.replace(" 100 1000\n", " 500 1000\n")), "rate is 500 Hz, expected 100"),
    "fs -100": (edit_header(lambda text: text.replace(" 100 1000\n", " -100 1000\n")), "rate is -100 Hz, expected 100"),
    "fs 0": (edit_header(lambda text: text.replace(" 100 1000\n", " 0 1000\n")), "rate is 0 Hz, expected 100"),
    "fs nan": (edit_header(lambda text: text.replace(" 100 1000\n", " nan 1000\n")), "rate is nan Hz, expected 100"),
    "fs text": (edit_header(lambda text: text.replace(" 100 1000\n", " fast 1000\n")), "rate is fast Hz"),
    "length 999": (
        edit_header(lambda text: text.replace(" 1000\n", " 999\n")),
        "it has 999 samples a lead, expected 1000",
    ),
    "length 10007": (edit_header(lambda text: text.replace(" 1000\n", " 10007\n")), "it has 10007 samples a lead"),
    "length -1": (
        edit_header(lambda text: text.replace(" 1000\n", " -1\n")),
        "it has -1 samples a lead, expected 1000",
    ),
    "no length": (edit_header(lambda text: text.replace(" 1000\n", "\n")), "its header starts with '00001_lr 12 100'"),
    "I and II swapped": (edit_header(swap), "its lead 'II' is listed where lead I is expected"),
    "duplicate lead": (edit_header(lambda text: text.replace(" V2\n", " V1\n")), "lead 'V1' is listed where lead V2"),
    "unknown lead": (edit_header(lambda text: text.replace(" V6\n", " V7\n")), "lead 'V7' is listed where lead V6"),
    "nameless lead": (on_lead("V3", "V3$", ""), r"\(lead V3\) is not a WFDB signal line"),
    "gain 0": (on_lead("AVL", r"1000\.0", "0"), "lead AVL: gain is '0' units/mV, expected 1000"),
    "gain nan": (on_lead("V1", r"1000\.0", "nan"), "lead V1: gain is 'nan' units/mV, expected 1000"),
    "gain 200": (on_lead("II", r"1000\.0", "200"), "lead II: gain is '200' units/mV, expected 1000"),
    "gain -1000": (on_lead("V6", r"1000\.0", "-1000"), "lead V6: gain is '-1000' units/mV, expected 1000"),
    "gain text": (on_lead("V6", r"1000\.0", "big"), "lead V6: gain is 'big' units/mV, expected 1000"),
    "gain missing": (on_lead("V5", r" 1000\.0\(0\)/mV", ""), r"\(lead V5\) is not a WFDB signal line"),
    "baseline 5": (on_lead("V5", r"\(0\)", "(5)"), "lead V5: baseline is 5, expected 0"),
    "units uV": (on_lead("V4", "mV", "uV"), "lead V4: units is 'uV', expected 'mV'"),
    "units bananas": (on_lead("III", "mV", "bananas"), "lead III: units is 'bananas', expected 'mV'"),
    "no units": (on_lead("III", "/mV", ""), "lead III: units is .*, expected 'mV'"),
    "format 80": (on_lead("V2", " 16 ", " 80 "), "lead V2: format is '80', expected '16'"),
    "format 212": (on_lead("I", " 16 ", " 212 "), "lead I: format is '212', expected '16'"),
    "12 bits": (on_lead("I", "mV 16", "mV 12"), "lead I: bits is '12', expected '16'"),
    "climbing file": (on_lead("AVF", "00001_lr", "../00001_lr"), r"lead AVF: file is '\.\./00001_lr\.dat', expected"),
    "absolute file": (on_lead("V1", "00001_lr", "/etc/00001_lr"), "lead V1: file is '/etc/00001_lr.dat', expected"),
    "file of another record": (on_lead("V1", "00001_lr", "00002_lr"), "lead V1: file is '00002_lr.dat', expected"),
    "last file of another record": (on_lead("V6", "00001_lr", "00002_lr"), "lead V6: file is '00002_lr.dat', expected"),
    "checksum text": (on_lead("V1", r"\d+ 0 (?=V1$)", "x 0 "), r"\(lead V1\) is not a WFDB signal line"),
}


@pytest.mark.parametrize(("damage", "says"), HEADERS.values(), ids=HEADERS)
def test_bad_header(folder: Path, damage: Damage, says: str) -> None:
    damage(folder)
    with pytest.raises(RecordError, match=says):
        read(folder)


def test_100_hz_record_is_refused_at_500_hz(folder: Path) -> None:
    with pytest.raises(RecordError, match="rate is 100 Hz, expected 500"):
        read(folder, rate=500)


# --- bad signal files ---------------------------------------------------------------------------------------------


def with_bytes(change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / f"{NAME}.dat"
        path.write_bytes(change(path.read_bytes()))

    return damage


def flip(offset: int, bit: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:offset] + bytes([content[offset] ^ (1 << bit)]) + content[offset + 1 :]


def frame_offset(sample: int, lead: str) -> int:
    return 2 * (12 * sample + LEADS.index(lead))


SIZES: dict[str, tuple[Damage, str]] = {
    "half": (with_bytes(lambda content: content[:12_000]), r"\.dat holds 12000 bytes, expected 24000"),
    "one byte short": (with_bytes(lambda content: content[:-1]), r"\.dat holds 23999 bytes, expected 24000"),
    "one byte": (with_bytes(lambda content: content[:1]), r"\.dat holds 1 bytes, expected 24000"),
    "empty": (with_bytes(lambda content: b""), r"\.dat holds 0 bytes, expected 24000"),
    "one byte long": (with_bytes(lambda content: content + b"\0"), r"\.dat holds 24001 bytes, expected 24000"),
    "twice": (with_bytes(lambda content: content * 2), r"\.dat holds 48000 bytes, expected 24000"),
}


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
@pytest.mark.parametrize(("damage", "says"), SIZES.values(), ids=SIZES)
def test_wrong_size(folder: Path, damage: Damage, says: str, verify: bool) -> None:
    damage(folder)
    with pytest.raises(RecordError, match=says):
        read(folder, verify=verify)


CHANGED: dict[str, tuple[Damage, str]] = {
    **{
        f"bit flipped in {lead}": (
            with_bytes(flip(frame_offset(500, lead) + byte, bit)),
            f"lead {lead} does not match its WFDB checksum",
        )
        for lead, byte, bit in [("I", 0, 0), ("AVR", 1, 7), ("V6", 0, 3)]
    },
    "bit flipped in the first sample": (
        with_bytes(flip(frame_offset(0, "V2"), 0)),
        r"lead V2 starts with -?\d+, its header",
    ),
    "bit flipped in the last sample": (
        with_bytes(flip(frame_offset(999, "V6") + 1, 2)),
        "lead V6 does not match its WFDB",
    ),
    "checksum": (on_lead("AVF", r"\d+ 0 (?=AVF$)", "7 0 "), "lead AVF does not match its WFDB checksum"),
    "initial value": (
        on_lead("V5", r"mV 16 0 -?\d+", "mV 16 0 4321"),
        r"lead V5 starts with -?\d+, its header says 4321",
    ),
}


@pytest.mark.parametrize(("damage", "says"), CHANGED.values(), ids=CHANGED)
def test_changed_content(folder: Path, damage: Damage, says: str) -> None:
    damage(folder)
    with pytest.raises(RecordError, match=says):
        read(folder)


def test_content_is_not_compared_where_not_asked(folder: Path) -> None:
    with_bytes(flip(frame_offset(500, "I"), 0))(folder)
    assert np.count_nonzero(read(folder, verify=False) != signals()) == 1


def test_missing_samples(tmp_path: Path, write_record: WriteRecord) -> None:
    gap = signals()
    gap[LEADS.index("AVL"), 300:310] = MISSING_SAMPLE
    write_record(tmp_path, NAME, gap)
    with pytest.raises(RecordError, match=r"lead AVL holds missing samples \(-32768\)"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
def test_missing_file(folder: Path, suffix: str) -> None:
    (folder / f"{NAME}{suffix}").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{NAME}{suffix}")):
        read(folder)


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a directory"])
def test_only_regular_files_are_read(folder: Path, suffix: str, kind: str) -> None:
    path = folder / f"{NAME}{suffix}"
    path.unlink()
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(OSError, match=f"its {suffix} is {kind}, not a regular file|Is a directory"):
        read(folder)


def test_header_without_end(folder: Path) -> None:
    with (folder / f"{NAME}.hea").open("ab") as header:
        header.write(b"# \n" * 30_000)
    with pytest.raises(RecordError, match=r"its header holds more than 65,536 bytes"):
        read(folder)


# --- file names of the table --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "records100/../../secret",
        "/etc/passwd",
        "\\\\host\\share",
        "..\\secret",
        "C:\\secret",
        "C:secret",
        "a\0b",
    ],
)
def test_name_that_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(RecordError, match=r"its file name .* leads out of the data folder"):
        record_path(Path("/data"), name)


def test_name_inside_the_folder() -> None:
    assert record_path(Path("/data"), "records100/00000/00001_lr") == "/data/records100/00000/00001_lr"
