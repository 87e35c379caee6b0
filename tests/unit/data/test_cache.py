"""The signal cache: built once, rebuilt when a source changes, shared by processes, never trusted blindly."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import pytest
from tiny import ROOT

from ecg_lightning.data import cache
from ecg_lightning.data.cache import default_cache_dir, open_cache
from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.data.wfdb import RecordReader
from ecg_lightning.errors import DataError

N_PROCESSES = 3


@pytest.fixture
def names(table: pd.DataFrame) -> list[str]:
    return table["filename_lr"].tolist()


def sources(root: Path, names: list[str]) -> np.ndarray:
    """The signals, (N, 12, T), by numpy alone."""
    return np.stack([np.fromfile(root / f"{name}.dat", "<i2").reshape(-1, 12).T for name in names])


def files(cache_dir: Path) -> dict[str, tuple[int, int]]:
    """The cache's files, temporary ones included, with inode and time; the lock apart."""
    found = (path for path in cache_dir.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(cache_dir)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def signals_file(cache_dir: Path) -> Path:
    return next(cache_dir.rglob("signals-*.npy"))


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")  # the mode of a folder does not stop root


def touch(path: Path, content: bytes) -> None:
    """Rewrites a file and makes sure that its time changes, however coarse the clock."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


# --- built once ---------------------------------------------------------------------------------------------------


def test_holds_what_the_sources_hold(pristine: Path, names: list[str], cache_dir: Path) -> None:
    opened = open_cache(pristine, names, 100, cache_dir)
    np.testing.assert_array_equal(opened.signals_NCT, sources(pristine, names))
    assert opened.signals_NCT.dtype == np.int16
    assert opened.row_of == {index: index for index in range(len(names))}
    assert (opened.missing, opened.bad) == ([], {})


def test_built_once_and_reused(pristine: Path, names: list[str], cache_dir: Path) -> None:
    first = open_cache(pristine, names, 100, cache_dir)
    before = files(cache_dir)
    second = open_cache(pristine, names, 100, cache_dir)
    assert len(before) == 2
    assert files(cache_dir) == before
    assert second.content_hash == first.content_hash


def test_reused_when_the_folder_is_reached_by_another_path(
    pristine: Path, names: list[str], cache_dir: Path, tmp_path: Path
) -> None:
    open_cache(pristine, names, 100, cache_dir)
    before = files(cache_dir)
    (tmp_path / "link").symlink_to(pristine)
    open_cache(tmp_path / "link", names, 100, cache_dir)
    assert files(cache_dir) == before


def test_two_folders_have_two_caches(ptbxl: Path, pristine: Path, names: list[str], cache_dir: Path) -> None:
    one, other = (open_cache(root, names, 100, cache_dir) for root in (ptbxl, pristine))
    assert len(files(cache_dir)) == 4
    assert one.content_hash == other.content_hash


def test_writing_to_the_signals_does_not_reach_the_file(pristine: Path, names: list[str], cache_dir: Path) -> None:
    opened = open_cache(pristine, names, 100, cache_dir)
    opened.signals_NCT[:] = 0
    np.testing.assert_array_equal(open_cache(pristine, names, 100, cache_dir).signals_NCT, sources(pristine, names))


def test_default_folder(monkeypatch: pytest.MonkeyPatch, cache_dir: Path) -> None:
    assert default_cache_dir() == cache_dir
    monkeypatch.delenv("ECG_LIGHTNING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/ecg_lightning")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache_dir() == Path("/home/someone/.cache/ecg_lightning")


# --- rebuilt ------------------------------------------------------------------------------------------------------


def test_rebuilt_when_a_record_changes(ptbxl: Path, names: list[str], cache_dir: Path) -> None:
    first = open_cache(ptbxl, names, 100, cache_dir)
    before = files(cache_dir)
    dat, hea = (ptbxl / f"{names[7]}{suffix}" for suffix in (".dat", ".hea"))
    other = (ptbxl / f"{names[8]}.dat").read_bytes()
    touch(dat, other)
    touch(hea, (ptbxl / f"{names[8]}.hea").read_bytes().replace(Path(names[8]).name.encode(), hea.stem.encode()))
    second = open_cache(ptbxl, names, 100, cache_dir)
    np.testing.assert_array_equal(second.signals_NCT, sources(ptbxl, names))
    assert second.content_hash != first.content_hash
    assert len(files(cache_dir)) == 2, "the old files were not removed"
    assert not files(cache_dir).keys() & before.keys()


def test_a_change_of_the_signal_file_alone_is_noticed(ptbxl: Path, names: list[str], cache_dir: Path) -> None:
    assert not open_cache(ptbxl, names, 100, cache_dir).bad
    changed = ptbxl / f"{names[7]}.dat"
    samples = np.fromfile(changed, "<i2")
    samples[100] += 1  # same size; the header stays as it is
    touch(changed, samples.tobytes())
    assert "checksum" in open_cache(ptbxl, names, 100, cache_dir).bad[7]


def test_rebuilt_when_a_missing_record_arrives(ptbxl: Path, names: list[str], cache_dir: Path, tmp_path: Path) -> None:
    shutil.move(ptbxl / f"{names[3]}.dat", tmp_path)
    without = open_cache(ptbxl, names, 100, cache_dir)
    assert without.missing == [3]
    assert 3 not in without.row_of
    np.testing.assert_array_equal(
        without.signals_NCT[[without.row_of[index] for index in (2, 4, 119)]],
        sources(ptbxl, [names[index] for index in (2, 4, 119)]),
    )
    shutil.move(tmp_path / f"{Path(names[3]).name}.dat", ptbxl / f"{names[3]}.dat")
    complete = open_cache(ptbxl, names, 100, cache_dir)
    assert complete.missing == []
    np.testing.assert_array_equal(complete.signals_NCT[complete.row_of[3]], sources(ptbxl, [names[3]])[0])


def test_bad_record_is_kept_apart_with_its_reason(ptbxl: Path, names: list[str], cache_dir: Path) -> None:
    touch(ptbxl / f"{names[5]}.dat", b"12")
    for _ in ("built", "reused"):
        opened = open_cache(ptbxl, names, 100, cache_dir)
        assert opened.bad == {5: "its .dat holds 2 bytes, expected 24000 (12 leads × 1000)"}
        assert 5 not in opened.row_of
        assert len(opened.row_of) == len(names) - 1


def test_record_that_may_be_read_now_is_read(
    ptbxl: Path, names: list[str], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RecordReader.read_into

    def refuse_one(reader: RecordReader, record: str, out: np.ndarray) -> None:
        if record.endswith(names[4]):
            raise PermissionError(errno.EACCES, "Permission denied")  # the mode of a file does not stop root
        original(reader, record, out)

    (ptbxl / f"{names[4]}.dat").chmod(0o200)
    with monkeypatch.context() as patch:
        patch.setattr(RecordReader, "read_into", refuse_one)
        assert "Permission denied" in open_cache(ptbxl, names, 100, cache_dir).bad[4]
    (ptbxl / f"{names[4]}.dat").chmod(0o600)
    assert open_cache(ptbxl, names, 100, cache_dir).bad == {}


def test_name_that_leads_out_is_bad_and_never_read(ptbxl: Path, names: list[str], cache_dir: Path) -> None:
    shutil.copytree(ptbxl / "records100", ptbxl.parent / "records100")
    opened = open_cache(ptbxl, [*names[:-1], f"../{names[-1]}"], 100, cache_dir)
    assert list(opened.bad) == [len(names) - 1]
    assert "leads out of the data folder" in opened.bad[len(names) - 1]


@pytest.mark.parametrize(
    ("name", "says"),
    [("x" * 300, "too long"), ("records100/folder", "directory")],
    ids=["name too long", "folder in place of a file"],
)
def test_name_that_the_system_refuses_is_bad(
    ptbxl: Path, names: list[str], cache_dir: Path, name: str, says: str
) -> None:
    for suffix in (".hea", ".dat"):
        (ptbxl / f"records100/folder{suffix}").mkdir()
    opened = open_cache(ptbxl, [*names, name], 100, cache_dir)
    assert says in opened.bad[len(names)]
    assert len(opened.row_of) == len(names)


def test_file_in_place_of_a_folder_is_missing(ptbxl: Path, names: list[str], cache_dir: Path) -> None:
    opened = open_cache(ptbxl, [*names, "ptbxl_database.csv/00001_lr"], 100, cache_dir)
    assert opened.missing == [len(names)]


# --- concurrent ---------------------------------------------------------------------------------------------------


def _open_at_once(root: Path, names: list[str], cache_dir: Path, barrier: Barrier) -> tuple[str, str, int]:
    """In a process of its own: content hash, hash of the signals seen, and how often this process built."""
    built = []
    original = cache._build
    cache._build = lambda *arguments: (built.append(1), original(*arguments))
    barrier.wait(60)
    opened = open_cache(root, names, 100, cache_dir)
    return opened.content_hash, hashlib.sha256(opened.signals_NCT.tobytes()).hexdigest(), len(built)


@pytest.mark.slow
def test_concurrent_processes_build_once(pristine: Path, names: list[str], cache_dir: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(N_PROCESSES) as pool:
        barrier = manager.Barrier(N_PROCESSES)
        results = pool.starmap(_open_at_once, [(pristine, names, cache_dir, barrier)] * N_PROCESSES, chunksize=1)
    assert {seen for _, seen, _ in results} == {hashlib.sha256(sources(pristine, names).tobytes()).hexdigest()}
    assert len({content for content, _, _ in results}) == 1
    assert sorted(built for *_, built in results) == [0] * (N_PROCESSES - 1) + [1]


# --- damaged, interrupted, blocked --------------------------------------------------------------------------------


def flip_last_bit(signals: Path) -> None:
    content = bytearray(signals.read_bytes())
    content[-1] ^= 1
    signals.write_bytes(content)


def index_of(signals: Path) -> Path:
    return signals.with_name(signals.name.replace("signals-", "index-")).with_suffix(".json")


def change_index(signals: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(index_of(signals).read_text())
    change(content)
    index_of(signals).write_text(json.dumps(content))


def cut_header(signals: Path) -> None:
    content = signals.read_bytes()
    signals.write_bytes(content.replace(b"}", b" ", 1))  # `np.load` raises tokenize.TokenError


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (flip_last_bit, "signals-.* does not match its checksum"),
        (cut_header, "its header was changed"),
        (lambda signals: signals.write_bytes(signals.read_bytes().replace(b"<i2", b">i2")), "its header was changed"),
        (lambda signals: os.truncate(signals, 5000), "it holds 5,000 bytes"),
        (lambda signals: signals.write_bytes(b""), "it holds 0 bytes"),
        (Path.unlink, "signals-.* cannot be read"),
        (lambda signals: np.save(signals, np.zeros((4, 12, 1000), np.int16)), "it holds"),
        (lambda signals: index_of(signals).write_text('{"format": 1, "rec'), "index-.* is not an index"),
        (lambda signals: index_of(signals).write_text("{}"), "index-.* is not an index"),
        (lambda signals: index_of(signals).write_text("[" * 100_000), "index-.* is not an index"),
        (lambda signals: become_a_pipe(index_of(signals)), "it is a named pipe"),
        (lambda signals: change_index(signals, lambda index: index["records"].reverse()), "not match its digest"),
        (lambda signals: change_index(signals, lambda index: index["bad"].update({"7": "x"})), "not match its digest"),
        (lambda signals: change_index(signals, lambda index: index.pop("sha256")), "not match its digest"),
    ],
    ids=[
        *("bit flip", "cut header", "byte order", "truncated", "empty", "gone", "other array"),
        *("half an index", "empty index", "deep index", "index is a pipe"),
        *("records reversed", "bad record added", "no digest"),
    ],
)
def test_damaged_cache_is_made_anew(
    pristine: Path,
    names: list[str],
    cache_dir: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
    says: str,
) -> None:
    few = names[:3]
    first = open_cache(pristine, few, 100, cache_dir)
    damage(signals_file(cache_dir))
    again = open_cache(pristine, few, 100, cache_dir)
    np.testing.assert_array_equal(again.signals_NCT, sources(pristine, few))
    assert (again.row_of, again.bad, again.content_hash) == (first.row_of, {}, first.content_hash)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert re.search(rf"rebuilding the signal cache in .*100hz: .*{says}", said)
    assert len(files(cache_dir)) == 2


def test_no_flipped_bit_is_used(
    pristine: Path, names: list[str], cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two hundred flips, in the index, the array's header and the signals."""
    few = names[:2]
    open_cache(pristine, few, 100, cache_dir)
    signals = signals_file(cache_dir)
    index = index_of(signals)
    flips = [(index, place) for place in range(0, len(index.read_bytes()), 3)]
    flips += [(signals, place) for place in range(0, 128, 2)]
    flips += [(signals, place) for place in range(128, 128 + 48_000, 1_000)]
    assert len(flips) >= 200
    for number, (path, place) in enumerate(flips):
        content = bytearray(path.read_bytes())
        content[place] ^= 1 << number % 8
        path.write_bytes(content)
        caplog.clear()
        opened = open_cache(pristine, few, 100, cache_dir)
        assert "rebuilding the signal cache" in caplog.text, f"byte {place} of {path.name}"
        np.testing.assert_array_equal(opened.signals_NCT, sources(pristine, few))
        assert opened.row_of == {0: 0, 1: 1}


def test_index_of_other_records_is_noticed(
    pristine: Path, names: list[str], cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_cache(pristine, names[:3], 100, cache_dir)
    others = {path: path.read_bytes() for path in cache_dir.rglob("*-*.*") if path.is_file()}
    open_cache(pristine, names[2::-1], 100, cache_dir)
    for path, content in others.items():  # the others' content by this one's name
        next(path.parent.glob(f"{path.name.partition('-')[0]}-*")).write_bytes(content)
    opened = open_cache(pristine, names[2::-1], 100, cache_dir)
    np.testing.assert_array_equal(opened.signals_NCT, sources(pristine, names[2::-1]))
    assert "rebuilding the signal cache" in caplog.text


def test_cache_without_a_digest_is_made_anew_with_a_note(
    tmp_path: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Revision 6647fd0 wrote this cache, of two synthetic records whose files had this time and mode."""
    root = tmp_path / "two"
    write_synthetic_ptbxl(root, n_records=2)
    for path in root.glob("records100/00000/*"):
        os.utime(path, ns=(10**18, 10**18))
        path.chmod(0o644)
    few = [f"records100/00000/0000{number}_lr" for number in (1, 2)]
    open_cache(root, few, 100, cache_dir)
    folder = signals_file(cache_dir).parent
    for path in (signals_file(cache_dir), index_of(signals_file(cache_dir))):
        path.unlink()
    shutil.unpack_archive(ROOT / "tests" / "fixtures_6647fd0" / "cache.zip", folder)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        opened = open_cache(root, few, 100, cache_dir)
    assert "because an earlier version wrote it without a digest" in caplog.text
    assert opened.content_hash == "a6dd877b926a2d202a58dbcd4fb6dc7966c796773c7b5797dd48238d1afb8da3"
    assert len(files(cache_dir)) == 2, "the old files were not removed"


def test_cache_that_may_only_be_read_is_read(
    pristine: Path, names: list[str], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_cache(pristine, names, 100, cache_dir)
    monkeypatch.setattr(filelock, "FileLock", refuse)
    assert len(open_cache(pristine, names, 100, cache_dir).row_of) == len(names)


def test_interrupted_build_leaves_nothing(
    pristine: Path, names: list[str], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RecordReader.read_into

    def interrupted(reader: RecordReader, record: str, out: np.ndarray) -> None:
        if record.endswith(names[60]):
            raise KeyboardInterrupt
        original(reader, record, out)

    with monkeypatch.context() as patch:
        patch.setattr(RecordReader, "read_into", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_cache(pristine, names, 100, cache_dir)
    assert files(cache_dir) == {}
    np.testing.assert_array_equal(open_cache(pristine, names, 100, cache_dir).signals_NCT, sources(pristine, names))


def test_build_without_its_index_is_done_anew(pristine: Path, names: list[str], cache_dir: Path) -> None:
    """As left by a process that was killed between its last two writes, or within the first."""
    opened = open_cache(pristine, names, 100, cache_dir)
    folder = signals_file(cache_dir).parent
    next(folder.glob("index-*.json")).unlink()
    flip_last_bit(signals_file(cache_dir))
    (folder / ".signals-killed.tmp").write_bytes(b"half")
    np.testing.assert_array_equal(open_cache(pristine, names, 100, cache_dir).signals_NCT, sources(pristine, names))
    assert len(files(cache_dir)) == 2, "the killed process's file was left"
    assert opened.content_hash == json.loads(next(folder.glob("index-*.json")).read_text())["content_hash"]


def test_blocked_cache_folder(pristine: Path, names: list[str], cache_dir: Path) -> None:
    cache_dir.write_text("a file")
    with pytest.raises(DataError, match=r"cannot be written .*data\.cache_dir=DIR, in Python with .*, cache_dir=DIR\)"):
        open_cache(pristine, names, 100, cache_dir)


def test_unwritable_cache_folder(
    pristine: Path, names: list[str], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.tempfile, "mkstemp", refuse)
    with pytest.raises(
        DataError, match=r"cannot be written \(.*Permission denied\)\. Free some space, or name another"
    ):
        open_cache(pristine, names, 100, cache_dir)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_full_disk_is_an_error_and_not_a_crash(
    pristine: Path, names: list[str], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory-mapped file on a full disk ends the process by SIGBUS, unless its space was taken before."""
    asked = []

    def full(_: int, offset: int, size: int) -> None:
        asked.append((offset, size))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    needed = 2 * len(names) * 12 * 1000
    with pytest.raises(DataError, match=rf"cannot be written: it needs {needed:,} bytes, .*free on .*data\.cache_dir"):
        open_cache(pristine, names, 100, cache_dir)
    assert [(offset, size > len(names) * 24_000) for offset, size in asked] == [(0, True)]
    assert files(cache_dir) == {}


@pytest.mark.parametrize("at", ["the signals", "the index"])
def test_full_disk_within_a_build_leaves_nothing(
    pristine: Path, names: list[str], cache_dir: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_take_space" if at == "the signals" else "_sealed", full)
        with pytest.raises(DataError, match="it needs 72,000 bytes"):
            open_cache(pristine, names[:3], 100, cache_dir)
    assert files(cache_dir) == {}
    assert len(open_cache(pristine, names[:3], 100, cache_dir).row_of) == 3


def test_folder_with_headers_missing_everywhere(ptbxl: Path, names: list[str], cache_dir: Path) -> None:
    for path in ptbxl.rglob("*.hea"):
        path.unlink()
    opened = open_cache(ptbxl, names, 100, cache_dir)
    assert opened.missing == list(range(len(names)))
    assert opened.row_of == {}
