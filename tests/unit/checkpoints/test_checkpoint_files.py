"""Checkpoint files: digests, files of earlier versions, bombs, impossible descriptions, and a full disk."""

import copy
import errno
import io
import random
import resource
import shutil
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from tiny import ROOT

from ecg_lightning.checkpoints import io as checkpoint_io
from ecg_lightning.checkpoints.io import AtomicCheckpointIO, load_checkpoint, save_checkpoint
from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.compression.checkpoint_data import of_the_checkpoint
from ecg_lightning.errors import CheckpointError, DataError, DiskFullError
from ecg_lightning.system.disk import is_full

OLD = ROOT / "tests" / "fixtures_6647fd0" / "checkpoints" / "last.ckpt"
"""One epoch of `model=resnet1d_wang model.channels=4` on 100 synthetic records, written by revision 6647fd0."""


@pytest.fixture
def sealed(tmp_path):
    """A checkpoint of this version."""
    path = tmp_path / "sealed.ckpt"
    save_checkpoint(read_checkpoint(OLD), path)
    return path


def test_no_flipped_bit_is_used(sealed):
    content, chooser = sealed.read_bytes(), random.Random(0)
    places = [chooser.randrange(8 * len(content)) for _ in range(200)]
    for place in (*places, 0, 8 * len(content) - 1):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        sealed.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_checkpoint(sealed)


def test_a_checkpoint_that_lost_its_digest_is_refused(sealed):
    unsealed = io.BytesIO()
    torch.save(torch.load(sealed, weights_only=True), unsealed)
    sealed.write_bytes(unsealed.getvalue())
    with pytest.raises(CheckpointError, match="its digest is missing"):
        load_checkpoint(sealed)


def test_a_checkpoint_of_an_earlier_version_is_read_with_a_note(tmp_path, caplog):
    path = tmp_path / "old.ckpt"
    shutil.copy(OLD, path)
    before, after = read_checkpoint(path)["state_dict"], torch.load(OLD, weights_only=True)["state_dict"]
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert f"{path} was written by an earlier version and has no digest" in caplog.text
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda one: one.file_size if "/data/" in one.filename else 0)
    content = bytearray(path.read_bytes())
    content[record.header_offset + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("enforce fail. unexpected pos 69632 vs 69528")],
)
def test_a_full_disk_is_told_and_keeps_the_file(sealed, monkeypatch, error):
    before = sealed.read_bytes()

    def full(*arguments, **named):
        raise error

    monkeypatch.setattr(checkpoint_io, "_seal", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000))
    with pytest.raises(
        DiskFullError, match=r"^\S+sealed\.ckpt cannot be written: it needs [\d,]+ bytes, and 1,000 bytes are free"
    ):
        save_checkpoint(read_checkpoint(OLD), sealed)
    assert sealed.read_bytes() == before
    assert [path.name for path in sealed.parent.iterdir()] == ["sealed.ckpt"]


def test_a_moved_run_knows_its_best_checkpoint(sealed):
    key = next(key for key in read_checkpoint(sealed)["callbacks"] if key.startswith("ModelCheckpoint{'monitor': 'val"))
    there = read_checkpoint(sealed)["callbacks"][key]
    state = AtomicCheckpointIO().load_checkpoint(sealed)["callbacks"][key]
    assert there["dirpath"] != state["dirpath"] == str(sealed.parent)
    assert state["best_model_path"] == str(sealed.parent / "best.ckpt")
    assert {*state["best_k_models"]} == {str(sealed.parent / "best.ckpt")}


class _Call:
    """Pickles to a call of something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def bombs():
    nested = []
    for _ in range(100):
        nested = [nested]
    doubled = ["x"]
    for _ in range(40):
        doubled = [doubled, doubled]
    one = torch.zeros(1)
    yield "calls", _Call(bytearray, 10**11), "could run code"
    yield "expanded", one.expand(10**6, 10**6), "larger than the file"
    yield "views", [one.as_strided((10**9,), (0,))], "larger than"
    yield "sparse", torch.sparse_coo_tensor([[0], [0]], [1.0], (10**9, 10**9)), "could run code"
    yield "meta", torch.empty(10**9, device="meta"), "could run code"
    yield "nested", nested, "too deeply"
    yield "doubled", doubled, "too deeply|too many"


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(("name", "bomb", "said"), list(bombs()), ids=[name for name, *_ in bombs()])
def test_bombs_are_refused_before_they_take_time_or_memory(name, bomb, said, tmp_path):
    path, content = tmp_path / f"{name}.ckpt", torch.load(OLD, weights_only=True)
    torch.save({**content, "bomb": bomb}, path)
    began = time.monotonic()
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert time.monotonic() - began < 10


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(OLD) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            target.writestr(record.filename, source.read(record))
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learned_from", 5),
        ("learned_from", [7]),
        ("learned_from", [{"train": [1], "val": [9], "dataset": 5}]),
        ("dataset", 5),
        ("dataset", ""),
        ("dataset", "PTB-XL\x1b[31m"),
        ("dataset", "x" * 101),
        ("folds", 7),
        ("folds", {"train": [1]}),
        ("folds", {"train": ["1"], "val": [9], "test": [10]}),
        ("choices", ["vit"]),
        ("classes", ["A", "B", "C", "D", "E"]),
        ("classes", []),
        ("seed", -1),
        ("seed", 10**400),
        ("sampling_rate", 1e9),
        ("n_samples", 2 * 10**9),
        ("batch_size", True),
        ("task", None),
        ("label_rule", ["benchmark"]),
        ("chosen", 3),
        ("chosen", {"link": "sigmoid", "n_records": -1}),
        ("members", 3),
        ("members", [{"classes": 1}]),
        ("stages", [1]),
        ("data", {"_target_": 5}),
        ("data", {"kind": 5}),
        ("training", {"trainer.max_epochs": "many"}),
        ("model", {"_target_": "x", "depth": 10**12}),
        ("model", {"kind": "vit", "depth": 10**12}),
        ("model", None),
    ],
)
def test_impossible_descriptions_are_one_sentence(key, value, tmp_path):
    content = read_checkpoint(OLD)
    content["ecg_lightning"][key] = value
    save_checkpoint(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=rf"x\.ckpt.*{key}"):
        load_classifier(tmp_path / "x.ckpt")


def test_a_description_of_a_larger_network_is_refused_before_it_is_built(tmp_path):
    content = read_checkpoint(OLD)
    content["ecg_lightning"]["model"]["channels"] = 20_000
    save_checkpoint(content, tmp_path / "x.ckpt")
    began = time.monotonic()
    with pytest.raises(CheckpointError, match="more parameters than the file has weights"):
        load_classifier(tmp_path / "x.ckpt")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("thresholds", [[float("nan")] * 5, [0.5] * 4, [0.5] * 4 + [7.0]])
def test_thresholds_that_cannot_decide_are_refused(thresholds, tmp_path):
    content = read_checkpoint(OLD)
    content["state_dict"]["thresholds"] = torch.tensor(thresholds, dtype=torch.float64)
    save_checkpoint(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="thresholds are"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    content = copy.deepcopy(read_checkpoint(OLD))
    state: OrderedDict = content["state_dict"]
    next(value for name, value in state.items() if name.endswith("weight")).view(-1)[0] = float("nan")
    save_checkpoint(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="NaN"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("there", ["nothing", "other files"])
def test_a_folder_that_a_checkpoint_names_is_never_written_to(there, tmp_path, caplog):
    root = tmp_path / "root"
    if there == "other files":
        root.mkdir()
        (root / "mine").touch()
    own = {"_target_": "ecg_lightning.data.datamodule.SyntheticPTBXLDataModule", "root": str(root), "n_records": 100}
    with caplog.at_level("INFO"), pytest.raises(DataError, match=f"{root}, which are not there .*add data=synthetic"):
        of_the_checkpoint(own, {}, "ckpt_path=x.ckpt")
    assert f"reading the data from {root}, as ckpt_path=x.ckpt says" in caplog.text
    assert [path.name for path in tmp_path.rglob("*")] == (["root", "mine"] if there == "other files" else [])


def test_synthetic_data_that_are_there_are_read(synthetic_root):
    own = {"_target_": "ecg_lightning.data.datamodule.SyntheticPTBXLDataModule", "n_records": 200}
    assert of_the_checkpoint(own, {"root": str(synthetic_root)}, "x")["root"] == str(synthetic_root)


@pytest.fixture
def small_files():
    """Let no file grow beyond 4 kB, as a disk does that fills up while a file is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_does_not_fit_is_a_full_disk(tmp_path, monkeypatch, small_files):
    path, content = tmp_path / "last.ckpt", {"weights": torch.zeros(10_000)}
    with pytest.raises(CheckpointError, match="cannot be written"):  # there is room, so it was something else
        save_checkpoint(content, path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=4096))
    with pytest.raises(DiskFullError, match=r"needs 4\d,\d{3} bytes, and 4,096 bytes are free on /") as refused:
        save_checkpoint(content, path)
    assert is_full(refused.value)
    assert "previous" not in str(refused.value)
    assert not any(tmp_path.iterdir())
    path.write_bytes(b"the one before")
    with pytest.raises(DiskFullError, match="The previous file is kept"):
        save_checkpoint(content, path)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"the one before"]
