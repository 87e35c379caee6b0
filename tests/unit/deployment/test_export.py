"""Exported files compute what the classifier computes, and describe themselves."""

import errno
import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from deployed import assert_missing_samples_give_nan, deployed, describe, export_tiny, outputs, signals, tiny_classifier

from ecg_lightning.deployment import export
from ecg_lightning.deployment.checksum import sha256_of, write_checksum
from ecg_lightning.deployment.export import (
    DeployedNetwork,
    export_onnx,
    export_openvino,
    export_pt2,
)
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.deployment.metadata import read_metadata, write_metadata
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.errors import ExportError, ModelFileError, UserError
from ecg_lightning.reports.canvas import new_figure
from ecg_lightning.reports.figure_files import write_figure
from ecg_lightning.reports.tables import write_csv

pytest.importorskip("openvino")
QUICK = ("vit", "resnet1d_wang")
SLOW = (
    *("convnext", "deit", "effnetv2", "s4d"),
    "inception1d",
    "lstm",
    "lstm_bidir",
    "vit1d",
    "vit1d model.stem=2",
    "xresnet1d18",
    "resnet1d",
)


@pytest.fixture(scope="module")
def exported(configure, tmp_path_factory):
    return export_tiny(configure, tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize("model", [*QUICK, *(pytest.param(model, marks=pytest.mark.slow) for model in SLOW)])
def test_onnx_and_openvino_compute_what_torch_computes(configure, model, tmp_path, capfd):
    classifier = tiny_classifier(configure, *model.split())
    module = deployed(classifier)
    file = export_onnx(module, tmp_path / "a" / "model.onnx", 12, 1000)
    xml = export_openvino(file, tmp_path / "model.xml")
    straight = export_openvino(module, tmp_path / "straight.xml", n_leads=12, n_samples=1000)
    assert capfd.readouterr() == ("", "")
    for n in (1, 3):
        millivolts = signals(n)
        logits, probabilities = outputs(module, millivolts)
        assert np.ptp(logits) > 0.1
        with torch.no_grad():
            assert np.allclose(logits, classifier(torch.from_numpy(millivolts)).numpy(), atol=1e-6)
        for path, runtime in ((file, "onnxruntime"), (file, "openvino"), (xml, "openvino"), (straight, "openvino")):
            opened = open_runtime(path, runtime)
            found = opened.logits(millivolts)
            assert found.shape == (n, 5)
            assert np.abs(found - logits).max() < 1e-4
            if n > 1:
                assert_missing_samples_give_nan(opened)
        session = import_extra("onnxruntime").InferenceSession(file)
        assert [output.name for output in session.get_outputs()] == ["logits", "probabilities"]
        assert np.allclose(session.run(["probabilities"], {"millivolts": millivolts})[0], probabilities, atol=1e-5)


def test_augmentation_stays_out_and_softmax_belongs_to_single_labels(configure):
    classifier = tiny_classifier(configure, "vit", "model.loss=argmax_cross_entropy").train()
    module = deployed(classifier)
    first, second = (outputs(module, signals()) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.allclose(first[1].sum(axis=1), 1, atol=1e-6)


def test_files_name_no_path_of_the_machine(exported, tmp_path):
    module, file, _ = exported
    program = export_pt2(module, tmp_path / "model.pt2", 12, 1000)
    for path in (file, program):
        assert b"site-packages" not in path.read_bytes()
        assert b".py" not in path.read_bytes()


def test_pt2_holds_no_example_and_takes_any_batch(exported, tmp_path):
    module, _, _ = exported
    program = torch.export.load(export_pt2(module, tmp_path / "model.pt2", 12, 1000))
    assert program.example_inputs is None
    for n in (1, 5):
        logits = program.module()(torch.from_numpy(signals(n)))[0].detach().numpy()
        assert np.allclose(logits, outputs(module, signals(n))[0], atol=1e-5)


def test_fp16_weights_are_half_as_large_and_stay_so(exported, tmp_path):
    module, file, xml = exported
    half = export_openvino(file, tmp_path / "half.xml", compress_to_fp16=True)
    size = half.with_suffix(".bin").stat().st_size
    assert size < 0.55 * xml.with_suffix(".bin").stat().st_size
    write_metadata(half, describe())
    assert half.with_suffix(".bin").stat().st_size == size
    opened = open_runtime(half, "openvino")
    assert {kernel["precision"] for kernel in opened.kernels()} == {"fp32"}  # stored in 16 bits, computed in 32
    found = opened.logits(signals())
    assert np.allclose(found, outputs(module, signals())[0], atol=1e-2)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_description_round_trips_and_is_replaced(exported, suffix, tmp_path):
    _, file, xml = exported
    path = tmp_path / f"model{suffix}"
    path.write_bytes((file if suffix == ".onnx" else xml).read_bytes())
    (tmp_path / "model.bin").write_bytes(xml.with_suffix(".bin").read_bytes())
    about = describe(link="softmax", compression=("prune", "qat"), data_licence="CC BY 4.0 – “PTB-XL” & <more>")
    write_metadata(path, describe())
    write_metadata(path, about)
    assert read_metadata(path).as_dict() == about.as_dict()
    assert open_runtime(path, "openvino").logits(signals()).shape == (3, 5)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 100, None])
def test_damaged_files_are_refused(exported, suffix, content, tmp_path):
    source = exported[1] if suffix == ".onnx" else exported[2]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(source.read_bytes()[:-200] if content is None else content)
    with pytest.raises(ModelFileError, match=r"model\.\w+ is damaged or no"):
        read_metadata(path)
    with pytest.raises(ModelFileError, match=r"nothing\.\w+ is not there"):
        read_metadata(tmp_path / f"nothing{suffix}")


def test_foreign_models_are_named(exported, tmp_path):
    xml = export_openvino(exported[1], tmp_path / "plain.xml")
    with pytest.raises(ModelFileError, match="was not exported by ecg_lightning"):
        read_metadata(xml)
    (tmp_path / "page.xml").write_text("<html/>")
    with pytest.raises(ModelFileError, match="<html>, expected <net>"):
        read_metadata(tmp_path / "page.xml")


def test_checksums_are_what_sha256sum_checks(exported):
    _, file, xml = exported
    assert sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    for path, names in ((file, ["model.onnx"]), (xml, ["model.xml", "model.bin"])):
        sums = write_checksum(path)
        assert sums.name == path.name + ".sha256"
        assert [line.split("  ")[1] for line in sums.read_text().splitlines()] == names
        subprocess.run(
            ["sha256sum", "--check", "--strict", sums.name], cwd=path.parent, check=True, capture_output=True
        )


def test_a_failed_export_leaves_the_file_that_was_there(configure, tmp_path):
    classifier = tiny_classifier(configure, "vit")

    class Refuses(torch.nn.Module):
        def forward(self, images):
            return images.new_zeros(int(images.sum()), 5)  # a shape that depends on the values

    target = tmp_path / "model.onnx"
    target.write_text("before")
    with pytest.raises(ExportError, match=r"model\.onnx was not written"):
        export_onnx(DeployedNetwork(classifier.frontend, Refuses(), classifier.loss), target, 12, 1000)
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_full_disk_is_said_and_changes_nothing(exported, tmp_path, monkeypatch):
    module, file, _ = exported
    model = tmp_path / "model.onnx"
    model.write_bytes(file.read_bytes())
    write_checksum(model)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail_as_a_full_disk_does(path, content):
        with path.open("wb") as begun:
            begun.write(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail_as_a_full_disk_does)
    monkeypatch.setattr(export, "convert_to_onnx", lambda *_: file.read_bytes())

    def fail_as_openvino_does(*_, **__):
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(import_extra("openvino"), "save_model", fail_as_openvino_does)
    for name, write in (
        ("model.onnx", lambda: export_onnx(module, model, 12, 1000)),
        ("model.onnx", lambda: write_metadata(model, describe())),
        ("model.onnx.sha256", lambda: write_checksum(model)),
        ("model.xml", lambda: export_openvino(file, tmp_path / "model.xml")),
        ("table.csv", lambda: write_csv([{"a": 1}], tmp_path / "table.csv", ["a"])),
        ("pareto.png", lambda: write_figure(new_figure(1, 1), tmp_path / "pareto")),
    ):
        with pytest.raises(UserError, match=rf"{name} cannot be written: .* bytes are free on /") as told:
            write()
        assert not isinstance(told.value, ExportError)  # which compressions take for a format that does not fit
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
