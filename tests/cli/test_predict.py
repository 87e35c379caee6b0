"""From recordings of any origin to calibrated probabilities, without PyTorch."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import wfdb
from deployed import CLASSES, describe, export_tiny, signals
from recordings import MODEL, UNNAMED, digital, heartbeats, rows, write_wfdb
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.data.recordings.records import read_record
from ecg_lightning.data.recordings.search import find_recordings
from ecg_lightning.data.recordings.window import Window
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.checksum import write_checksum
from ecg_lightning.deployment.metadata import read_metadata, write_metadata
from ecg_lightning.deployment.predictor import Predictor, predict_records
from ecg_lightning.errors import DataError, ModelFileError
from ecg_lightning.evaluation.calibration import probabilities

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(configure, tmp_path_factory):
    return export_tiny(configure, tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def ptbxl_record(synthetic_root):
    return sorted(synthetic_root.glob("records100/*/*.hea"))[0]


@pytest.fixture
def millivolts():
    """(12, 1000): ten seconds of heart beats at 100 Hz."""
    return heartbeats(np.arange(1000) / 100)


def _write_csv(path, signals_TC, names=None):
    path.write_text((",".join(names) + "\n" if names else "") + rows(signals_TC))
    return path


def test_wfdb_csv_and_npy_give_the_same(ptbxl_record, tmp_path):
    record = read_record(ptbxl_record, **MODEL)
    assert record.millivolts_CT.shape == (12, 1000)
    assert record.millivolts_CT.dtype == np.float32
    assert record.notes == ()
    expected = wfdb.rdrecord(str(ptbxl_record.with_suffix(""))).p_signal.T
    assert np.allclose(record.millivolts_CT, expected, atol=1e-6)
    np.save(tmp_path / "a.npy", expected)
    np.save(tmp_path / "b.npy", 1000 * expected.T)
    files = [
        (ptbxl_record.with_suffix(""), None),
        (_write_csv(tmp_path / "b.csv", expected.T, LEADS), "mV"),
        (_write_csv(tmp_path / "a.csv", expected.T), "mV"),
        (tmp_path / "a.npy", "mV"),
        (tmp_path / "b.npy", "uV"),
    ]
    converted = "converted from uV to mV, as --units says"
    for number, (path, units) in enumerate(files):
        found = read_record(path, **MODEL, rate=100, units=units)
        assert np.allclose(found.millivolts_CT, expected, atol=1e-5)
        assert found.notes == ((), (), (UNNAMED,), (UNNAMED,), (converted, UNNAMED))[number]


@pytest.mark.parametrize("order", [(1, 0, *range(2, 12)), (*range(6, 12), *range(6)), tuple(reversed(range(12)))])
def test_leads_without_names_that_are_in_another_order_are_refused(order, millivolts, tmp_path):
    np.save(tmp_path / "a.npy", millivolts[list(order)])
    _write_csv(tmp_path / "a.csv", millivolts[list(order)].T)
    for name in ("a.npy", "a.csv"):
        with pytest.raises(DataError, match=r"are not in the order I, II, .*II is not I \+ III"):
            read_record(tmp_path / name, **MODEL, rate=100)
    named = _write_csv(tmp_path / "b.csv", millivolts[list(order)].T, [LEADS[row] for row in order])
    assert np.allclose(read_record(named, **MODEL, rate=100).millivolts_CT, millivolts, atol=1e-5)
    off = millivolts.copy()
    off[3] = 0  # the other leads still show the order
    np.save(tmp_path / "a.npy", off)
    assert read_record(tmp_path / "a.npy", **MODEL, rate=100, units="mV").notes == ("lead aVR is flat", UNNAMED)


def test_leads_are_reordered_by_name_and_said(millivolts, tmp_path):
    order = list(reversed(range(12)))
    names = ["time", *(f"Lead {LEADS[row]}".replace("AV", "aV") for row in order)]
    columns = np.column_stack([np.arange(1000), *(millivolts[row] for row in order)])
    found = read_record(_write_csv(tmp_path / "a.csv", columns, names), **MODEL, rate=100, units="mV")
    assert np.allclose(found.millivolts_CT, millivolts, atol=1e-5)
    assert found.notes == ("left out: time", "the leads were sorted by name into the standard order")
    path = write_wfdb(tmp_path, digital(millivolts[order]), [LEADS[row] for row in order])
    found = read_record(path, **MODEL)
    assert np.allclose(found.millivolts_CT, millivolts, atol=1e-3)
    assert found.notes == ("the leads were sorted by name into the standard order",)


@pytest.mark.parametrize("rate", [250, 500, 1000, 360])
def test_other_rates_are_resampled_and_said(rate, tmp_path):
    np.save(tmp_path / "a.npy", heartbeats(np.arange(12 * rate) / rate))
    found = read_record(tmp_path / "a.npy", **MODEL, rate=rate, units="mV")
    assert np.abs(found.millivolts_CT - heartbeats(np.arange(1000) / 100)).max() < 0.05
    assert found.notes == (
        "it lasts 12 s; the first 10 s are used",
        UNNAMED,
        f"resampled from {rate} to 100 Hz",
    )


def _case(name, change, match, rate=100):
    return pytest.param(change, match, rate, id=name)


@pytest.mark.parametrize(
    ("change", "match", "rate"),
    [
        _case("rate", lambda x: x, "give it with --rate HZ", None),
        _case("slow", lambda x: x, "sampling rate is 10 Hz", 10),
        _case("microvolts", lambda x: 1000 * x, "spans .* mV, which no ECG does; .*--units uV"),
        _case("nan", lambda x: np.where(x == x[1, 5], np.nan, x), "lead II has missing samples"),
        _case("short", lambda x: x[:, :900], "it lasts 9 s at 100 Hz, and 10 s are needed"),
        _case("leads", lambda x: x[:8], "its shape is"),
        _case("square", lambda x: x[:, :12], "is square, so leads cannot be told from samples"),
        _case("empty", lambda x: x[:, :0], "holds no samples"),
        _case("objects", lambda x: x.astype(object), "its values are object, expected real numbers"),
        _case("text", lambda x: x.astype(str), "expected real numbers"),
        _case("complex", lambda x: x + 0j, "its values are complex128, expected real numbers"),
        _case("truths", lambda x: x > 0, "its values are bool, expected real numbers"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused(change, match, rate, millivolts, tmp_path):
    np.save(tmp_path / "a.npy", change(millivolts))
    with pytest.raises(DataError, match=rf"a\.npy: .*{match}"):
        read_record(tmp_path / "a.npy", **MODEL, rate=rate)


@pytest.mark.parametrize(
    "store",
    [np.asfortranarray, lambda x: np.asfortranarray(x.T), lambda x: x.astype(">f8"), lambda x: x.astype(np.float16)],
)
def test_arrays_of_any_order_and_precision(store, millivolts, tmp_path):
    np.save(tmp_path / "a.npy", store(millivolts))
    assert np.allclose(read_record(tmp_path / "a.npy", **MODEL, rate=100).millivolts_CT, millivolts, atol=2e-3)


SHAPE = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 12), \n", "damaged or not an .npy file"),
        ("(" * 500, "damaged or not an .npy file"),
        ("\0{", "damaged or not an .npy file"),
        (SHAPE % f"12, {10**30}", "its header announces"),
        (SHAPE % "12, 2000", "holds 48,.* bytes, but its header announces 96,"),
        (SHAPE % "-1000, 12", "its shape is"),
        (SHAPE % "12, True", "its shape is"),
        (SHAPE.replace("<f4", "<f0") % "12, 1000", "damaged or not an .npy file"),
        (SHAPE.replace("'<f4'", "[('a', '<f4')]") % "12, 1000", "expected real numbers"),
    ],
)
def test_headers_of_arrays_that_lie_are_refused(header, match, tmp_path):
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(48_000)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.npy: .*{match}"):
        read_record(tmp_path / "a.npy", **MODEL, rate=100)


def test_a_large_array_is_not_read_whole_and_an_archive_is_named(millivolts, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.tile(millivolts.T, (3, 1)))
    assert read_record(path, **MODEL, rate=100, units="mV").notes[0] == "it lasts 30 s; the first 10 s are used"
    header = (SHAPE % "12, 400000000").encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    os.truncate(path, 20_000_000_000)
    with pytest.raises(DataError, match="the recording is flat"):
        read_record(path, **MODEL, rate=100)
    np.savez(tmp_path / "a.npz", millivolts)
    (tmp_path / "a.npz").rename(path)
    with pytest.raises(DataError, match=r"it is an \.npz archive"):
        read_record(path, **MODEL, rate=100)


def test_probabilities_are_calibrated_logits(exported):
    _, file, xml = exported
    for path in (file, xml):
        predictor = Predictor(path)
        found = predictor.probabilities(signals(40))
        assert found.dtype == np.float64
        logits = predictor.runtime.logits(signals(40)).astype(np.float64)
        assert np.allclose(found, 1 / (1 + np.exp(-logits / 1.5)), atol=1e-6)
        assert np.array_equal(predictor.decisions(found), found >= [0.5, 0.4, 0.3, 0.6, 0.5])
        assert predictor.probabilities(signals(0)).shape == (0, 5)
    with pytest.raises(DataError, match=r"expected \(records, 12, 1000\)"):
        predictor.probabilities(signals()[:, :, :500])
    with pytest.raises(DataError, match="not finite"):
        predictor.probabilities(np.full((1, 12, 1000), np.nan))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_that_is_not_computed_in_int8_here_predicts_in_float_and_says_so(exported, tmp_path, runtime):
    """As an int8 file does on a processor whose runtime has no such kernels."""
    path = tmp_path / "model.onnx"
    path.write_bytes(exported[1].read_bytes())
    write_metadata(path, describe(precision="int8", runtime=runtime))
    predictor = Predictor(path)
    assert predictor.notes == (f"the file runs in {runtime} fp32, but its thresholds were chosen in {runtime} int8",)
    assert predictor.probabilities(signals(2)).shape == (2, 5)


def test_classes_that_are_undecided_are_marked(exported, ptbxl_record, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported[1].read_bytes())
    write_metadata(path, describe(conformal=()))
    assert Predictor(path).undecided(np.full((2, 5), 0.5)) is None
    assert "undecided classes are not marked" in Predictor(path).notes[0]
    (record,) = json.loads(_call("predict", "--model", path, ptbxl_record, "--json").stdout)["records"]
    assert record["undecided"] is None
    assert "?" not in _call("predict", "--model", path, ptbxl_record).stdout
    write_metadata(path, describe(conformal=((0.2, 0.6), (0.7, 0.3), (0.0, 1.0), (0.5, 0.5), (0.0, 0.0))))
    found = Predictor(path).undecided(np.array([[0.2, 0.5, 0.9, 0.5, 0.5], [0.61, 0.3, 0.0, 0.4, 0.0]]))
    # Of the second class what lies between 0.3 and 0.7 has neither label.
    assert found.tolist() == [[True, True, True, True, False], [False, False, True, False, True]]
    done = json.loads(_call("predict", "--model", path, ptbxl_record, "--json").stdout)
    (record,) = done["records"]
    assert "MI" in record["undecided"]
    told = _call("predict", "--model", path, ptbxl_record).stdout
    assert re.search(r"\d[* ]\?", told)
    assert "? undecided: the conformal set holds both presence and absence, or neither;\n  it misses 10% of" in told


def test_link_does_not_overflow():
    assert probabilities(np.array([[-1e4, 0.0, 1e4]]), link="sigmoid").tolist() == [[0.0, 0.5, 1.0]]
    assert probabilities(np.array([[1e4, 1e4]]), link="softmax").tolist() == [[0.5, 0.5]]


def test_a_description_that_does_not_fit_the_network_is_refused(exported, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported[1].read_bytes())
    write_metadata(path, describe(n_samples=5000, sampling_rate=500))
    with pytest.raises(ModelFileError, match="expects 1000 samples per lead, but its description states 5000"):
        Predictor(path)
    write_metadata(
        path, describe(classes=CLASSES[:3], thresholds=(0.5,) * 3, output_thresholds=(0.5,) * 3, conformal=())
    )
    with pytest.raises(ModelFileError, match="returns 5 outputs, but its description names 3 classes"):
        Predictor(path)


@pytest.mark.parametrize("kind", [1, 2])
def test_predicting_needs_no_torch(exported, kind, ptbxl_record, tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from ecg_lightning.deployment.predictor import Predictor, predict_records\n"
        "found = predict_records(Predictor(sys.argv[1]), [Path(sys.argv[2])])\n"
        "assert found[0].probabilities, found\n"
        "import ecg_lightning.deployment.measuring.benchmark, ecg_lightning.commands.cli\n"
        "assert not {'torch', 'lightning', 'hydra', 'pandas', 'scipy', 'matplotlib', 'onnx'} & set(sys.modules)\n"
    )
    arguments = [sys.executable, "-c", program, str(exported[kind]), str(ptbxl_record)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def _call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_weights_that_are_not_the_exported_ones_are_refused(configure, tmp_path):
    _, onnx, xml = export_tiny(configure, tmp_path)
    for path, changed in ((onnx, onnx), (xml, xml.with_suffix(".bin"))):
        write_checksum(path)
        Predictor(path)
        content = bytearray(changed.read_bytes())
        content[-20] ^= 1
        changed.write_bytes(content)
        with pytest.raises(ModelFileError, match=f"{changed.name} is not the file that was exported"):
            Predictor(path)


def test_one_bad_record_does_not_spoil_the_others(exported, ptbxl_record, millivolts, tmp_path):
    np.save(tmp_path / "fast.npy", np.repeat(millivolts, 5, axis=1))
    np.save(tmp_path / "bad.npy", 1000 * millivolts)
    np.save(tmp_path / "bad too.npy", 1000 * millivolts)
    records = [ptbxl_record, *(tmp_path / name for name in ("bad.npy", "fast.npy", "no.npy", "bad too.npy"))]
    done = _call("predict", "--model", exported[1], "--rate", 500, *records, "--json")
    assert done.exit_code == 3
    answer = json.loads(done.stdout)
    assert [list(row) for row in answer["records"]].count(["record", "error"]) == 3
    good = answer["records"][0]
    assert list(good["probabilities"]) == list(CLASSES)
    assert "Research use only" in answer["notice"]
    assert done.stderr.count("error: ") == 3
    assert done.stderr.endswith("3 of 5 records could not be read\n")
    for name in ("/bad.npy", "/no.npy", "error: the same holds for bad too.npy\n"):
        assert name in done.stderr
    predictions = predict_records(Predictor(exported[1]), [Path(ptbxl_record)])
    assert predictions[0].probabilities == pytest.approx(good["probabilities"], abs=1e-6)
    table = _call("predict", "--model", exported[2], "--rate", 500, records[0], records[2])
    assert table.exit_code == 0
    assert "--rate was ignored: the record's header states 100 Hz" in table.stdout
    assert "resampled from 500 to 100 Hz" in table.stdout
    assert "Research use only" in table.stdout
    assert all(name in table.stdout for name in CLASSES)


def test_folders_and_patterns_are_searched(exported, ptbxl_record, millivolts, tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for suffix in (".hea", ".dat"):
        shutil.copy(ptbxl_record.with_suffix(suffix), deep)
    np.save(tmp_path / "a" / "array.npy", np.repeat(millivolts, 5, axis=1))
    (deep / "notes.md").write_text("no recording")
    header = deep / ptbxl_record.name

    def found(*words, rate=None):
        return find_recordings([str(word) for word in words], rate)

    assert found(tmp_path) == found(tmp_path / "*" / "*" / "*_lr*") == found(header, header.with_suffix("")) == [header]
    assert found(tmp_path, rate=500) == [header, tmp_path / "a" / "array.npy"]
    monkeypatch.chdir(deep)
    assert found(".") == found("./") == [Path(header.name)]
    (tmp_path / "c").mkdir()
    for words, said in (
        ([tmp_path / "c"], "holds no recording"),
        ([tmp_path / "*.nothing"], "no file matches this pattern"),
    ):
        with pytest.raises(DataError, match=said):
            found(*words)
    header.unlink()
    with pytest.raises(DataError, match=r"holds 1 \.npy files, which do not state their sampling rate"):
        found(tmp_path)


def test_a_table_is_written_once(exported, ptbxl_record, tmp_path):
    arguments = ["predict", "--model", exported[1], ptbxl_record, tmp_path / "no.hea", "--out", tmp_path / "a.csv"]
    done = _call(*arguments)
    assert (done.exit_code, done.stdout) == (3, f"predictions of 1 of 2 records are in {tmp_path}/a.csv\n")
    assert done.stderr.endswith("1 of 2 records could not be read\n")
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table) == ["record", *CLASSES, "positive", "undecided", "notes", "error"]
    (expected, _) = predict_records(Predictor(exported[1]), [ptbxl_record, tmp_path / "no.hea"])
    assert np.allclose(table.loc[0, list(CLASSES)].astype(float), [*expected.probabilities.values()], atol=1e-6)
    assert table["error"][1].endswith("no.hea is not there")
    assert "this file exists already" in _call(*arguments).stderr
    assert "Give its name the ending .csv" in _call(*arguments[:-1], tmp_path / "a.xlsx").stderr


def test_the_table_fits_a_terminal_and_explains_its_marks(exported, ptbxl_record):
    shown = _call("predict", "--model", exported[1], ptbxl_record).stdout
    assert max(len(line) for line in shown.splitlines() if not line.startswith("records in ")) <= 80
    assert "* positive: the probability reaches the threshold of its class\n" in shown
    assert _call("predict").stderr.startswith("error: give either recordings or --example")


def test_another_runtime_than_the_scored_one_is_said(exported, ptbxl_record, tmp_path):
    as_scored = _call("predict", "--model", exported[1], ptbxl_record)
    assert "runs in" not in as_scored.stdout
    said = "the file runs in openvino fp32, but its thresholds were chosen in onnxruntime fp32"
    assert said in _call("predict", "--model", exported[1], "--runtime", "openvino", ptbxl_record).stdout
    assert said in _call("predict", "--model", exported[2], ptbxl_record).stdout
    bf16 = shutil.copy(exported[1], tmp_path)
    write_metadata(Path(bf16), describe(precision="bf16", runtime="openvino"))
    told = _call("predict", "--model", bf16, "--runtime", "onnxruntime", "--json", ptbxl_record)
    assert told.exit_code == 0, told.output
    (note,) = json.loads(told.stdout)["model"]["notes"]
    assert note == "the file runs in onnxruntime fp32, but its thresholds were chosen in openvino bf16"


def test_int8_that_was_scored_on_another_kind_of_processor_is_said(exported, monkeypatch, tmp_path):
    file = Path(shutil.copy(exported[1], tmp_path))
    monkeypatch.setattr(Predictor, "_open", lambda self, *_: SimpleNamespace(
        name="onnxruntime", precision="int8", n_samples=1000, logits=lambda signals: np.full((len(signals), 5), np.nan)
    ))  # fmt: skip
    for scored_with, said in ((True, 1), (False, 0), (None, 0)):
        write_metadata(file, describe(precision="int8", int8_products=scored_with))
        monkeypatch.setattr("ecg_lightning.deployment.predictor.processor_has_int8", lambda: False)
        notes = Predictor(file).notes
        assert len(notes) == said
    assert read_metadata(file).int8_products is None


def test_mistakes_on_the_command_line_are_one_sentence(exported, ptbxl_record, tmp_path):
    done = _call("predict", "--model", tmp_path / "no.onnx", ptbxl_record)
    assert (done.exit_code, done.stderr.count("\n")) == (3, 1)
    assert _call("predict", "--model", exported[1], "--runtime", "torch", ptbxl_record).exit_code == 2
    assert _call("predict", "--model", exported[1], "--units", "kV", ptbxl_record).exit_code == 2


@pytest.mark.slow
def test_benchmark_prints_a_table_or_json(exported):
    settings = ["--rounds", 1, "--threads", 1, "--batch", 1, "--batch", 2]
    done = _call("benchmark", exported[1], *settings)
    assert done.exit_code == 0, done.output
    assert "onnxruntime" in done.stdout
    assert "openvino" in done.stdout
    rows = json.loads(_call("benchmark", exported[2], *settings, "--json").stdout)["rows"]
    assert {row["batch"] for row in rows} == {1, 2}
    assert _call("benchmark", "no.onnx").exit_code == 3


def test_an_odd_rate_is_resampled_by_a_simple_ratio():
    time = np.arange(10_500) / 999.937
    wave = np.tile(np.sin(2 * np.pi * 1.2 * time), (12, 1))
    window = Window(100, 1000)
    found = window.resample(wave[:, : window.samples_at(999.937)], 999.937)
    assert found.shape == (12, 1000)
    expected = np.sin(2 * np.pi * 1.2 * np.arange(1000) / 100)
    assert np.abs(found - expected).max() < 0.02


def test_a_fault_of_the_reader_is_one_records_refusal(exported, ptbxl_record, monkeypatch):
    def fail_once(path, **options):
        if path.name == "bad":
            raise KeyError("13")
        return read_record(path, **options)

    monkeypatch.setattr("ecg_lightning.deployment.predictor.read_record", fail_once)
    paths = [ptbxl_record, Path("bad"), ptbxl_record]
    first, bad, last = predict_records(Predictor(exported[1]), paths)
    assert first.probabilities == last.probabilities
    assert first.probabilities
    assert str(bad.error) == "bad cannot be read (KeyError: '13')"
