"""The package from Python: what its docstrings show, what it prints, and errors in a program's words."""

import doctest
import logging
import subprocess
import sys

import numpy as np
import pytest
from recordings import UNNAMED, heartbeats
from tiny import ROOT

import ecg_lightning
from ecg_lightning import Predictor, PTBXLDataModule, UserError, compress, load, train
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.errors import ConfigError, DataError
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.results.results import SWEEP_FILE

TINY = ("data=ptbxl", "model=resnet1d_wang", "model.channels=4", "hardware.precision=32-true", "hardware.threads=1")
SHORT = ("compression.latency.batches=[1]", "compression.latency.rounds=1")
QUIET = ("logger=none", "callbacks.figures=false", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def run(synthetic_root, tmp_path_factory):
    """The result of a training from Python."""
    folder = tmp_path_factory.mktemp("python") / "run"
    return train(*TINY, *QUIET, f"data.root={synthetic_root}", f"hydra.run.dir={folder}")


@pytest.fixture(scope="module")
def predictor():
    return Predictor(threads=1)


def test_importing_the_package_imports_nothing_else():
    program = "import sys, ecg_lightning; assert 'Predictor' in dir(ecg_lightning); "
    program += "assert not {'numpy', 'torch', 'pandas', 'hydra', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ecg_lightning.nothing  # noqa: B018


@pytest.mark.parametrize(
    "shown", [Predictor, load, PTBXLDataModule, train, pytest.param(compress, marks=pytest.mark.slow)]
)
def test_the_examples_of_the_docstrings_run(shown, run, synthetic_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signals = 1000 * heartbeats(np.arange(5000) / 500)
    np.save("recording.npy", signals)
    np.savetxt("recording.csv", signals.T / 1000, delimiter=",", header=",".join(LEADS))
    examples = doctest.DocTestParser().get_examples(shown.__doc__)
    assert 3 <= len(examples) <= 5
    settings = [*TINY, *QUIET, f"data.root={synthetic_root}", f"hydra.run.dir={tmp_path}/made"]
    program = "".join(example.source for example in examples)
    for name, value in {
        '"experiment=demo", "model=vit"': ", ".join(map(repr, settings)),
        "RUN": str(run.folder),
        '"PTBXL"': repr(str(synthetic_root)),
        '"compression=ptq"': ", ".join(
            map(repr, ["compression=none", "hardware.threads=1", f"hydra.run.dir={tmp_path}/made", *SHORT])
        ),
        "variants/quantize/onnxruntime.onnx": "variants/baseline/model.onnx",
    }.items():
        program = program.replace(name, value)
    names = {}
    exec(program, names)
    if "model" in names:
        assert isinstance(names["model"], Predictor)
    if shown is Predictor:
        assert set(names["prediction"].probabilities) == {"CD", "HYP", "MI", "NORM", "STTC"}
        assert "resampled from 500 to 100 Hz" in names["prediction"].notes


def test_arrays_of_any_rate_order_and_units_give_the_same(predictor):
    signals = heartbeats(np.arange(1000) / 100)
    plain = predictor.predict(signals, fs=100, units="mV")
    assert plain.record == "array"
    assert plain.notes == (UNNAMED,)
    order = [1, 0, *range(11, 5, -1)]
    others = [
        predictor.predict(signals.T, fs=100, units="mV"),
        predictor.predict(1000 * signals, fs=100, leads=LEADS, units="uV"),
        predictor.predict(signals[order], fs=100, leads=[LEADS[place] for place in order], units="mV"),
        predictor.predict(signals.tolist(), fs=100),
    ]
    for other in others:
        assert other.probabilities == pytest.approx(plain.probabilities, abs=1e-4)
        assert other.positive == plain.positive
    assert others[2].notes == (
        "the leads were sorted by name into the standard order",
        "computed from I and II: III, aVR, aVL, aVF",
    )
    assert others[3].notes[0] == "it states no units, so mV are assumed; set other units with units="


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (
            lambda x: x[:8],
            {},
            r"its shape is \(8, 1000\), expected \(12, samples\) .*\(use leads= to name other leads\)",
        ),
        (lambda x: x[:8], {"leads": LEADS}, "for the 12 names in leads="),
        (lambda x: x, {"units": "kg"}, "units='kg' is not a unit of voltage"),
        (lambda x: 1000 * x, {}, "no ECG does; give units='uV'"),
        (lambda x: x[[1, 0, *range(2, 12)]], {}, r"in Python with leads="),
        (lambda x: x[:, :900], {}, "it lasts 9 s at 100 Hz, and 10 s are needed"),
        (lambda x: x.astype(str), {}, "expected real numbers"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused_in_a_programs_words(change, options, match, predictor):
    with pytest.raises(DataError, match=f"^the array: .*{match}") as refused:
        predictor.predict(change(heartbeats(np.arange(1000) / 100)), fs=100, **options)
    assert "--" not in str(refused.value)


def test_a_runs_folder_is_calibrated_as_its_exported_files_are(run):
    model = load(run.folder)
    assert model.notes == ()
    assert model.metadata.choices.bounds is not None
    bare = run.folder / "checkpoints" / "other.ckpt"
    bare.write_bytes((run.folder / "checkpoints" / "best.ckpt").read_bytes())
    other = load(bare)
    assert other.notes == ()  # the checkpoint holds them itself
    assert other.metadata.as_dict() == model.metadata.as_dict()
    last = load(run.folder / "checkpoints" / "last.ckpt")
    assert "the probabilities are not calibrated" in last.notes[0]
    uncalibrated = last.metadata.as_dict()
    assert (uncalibrated["temperature"], uncalibrated["thresholds"]) == (1.0, uncalibrated["output_thresholds"])
    signals = heartbeats(np.arange(1000) / 100)[None]
    assert np.allclose(model.runtime.logits(signals.astype(np.float32)), other.runtime.logits(signals.astype("f4")))
    with pytest.raises(DataError, match=r"is a folder without checkpoints/best\.ckpt"):
        load(ROOT)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (("seed=1,2",), r"seed=1,2: train\(\) runs one setting at a time"),
        (("-m", "seed=1"), r"-m: train\(\) takes settings"),
        (("model=nothing",), "model=nothing: allowed are beit_base, convnext"),
        (("hydra.mode=MULTIRUN", "seed=1,2", *TINY), "one setting at a time"),
        (("hparams_search=learning_rate", *TINY), "one setting at a time"),
    ],
)
def test_mistakes_are_raised_and_nothing_is_printed(overrides, match, capfd, tmp_path):
    handlers = logging.getLogger().handlers[:]
    with pytest.raises(ConfigError, match=match):
        train(*overrides, f"hydra.run.dir={tmp_path}/run")
    assert capfd.readouterr().err == ""
    assert logging.getLogger().handlers == handlers


def test_a_folder_that_cannot_be_a_runs_is_refused(run, tmp_path, capfd):
    sweep, linked = tmp_path / "sweep", tmp_path / "linked"
    for folder in (sweep, linked):
        folder.mkdir()
    (sweep / SWEEP_FILE).touch()
    (linked / "checkpoints").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for start, folder, said in (
        (train, run.folder, "already holds a run"),
        (train, linked, "checkpoints is a link that leads out of"),
        (train, tmp_path / "file" / "x", "file/x: Not a directory"),
        (compress, sweep, "sweep is the folder of a sweep. Name another folder with hydra.run.dir=DIR"),
    ):
        with pytest.raises(UserError, match=said):
            start("ckpt_path=no.ckpt", *QUIET[:2], f"hydra.run.dir={folder}")
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_the_example_takes_little_memory_and_imports_nothing_slow():
    program = "import atexit, sys; sys.argv = ['ecg-lightning', 'predict', '--example']\n"
    program += "slow = {'torch', 'pandas', 'scipy', 'matplotlib', 'hydra', 'wfdb', 'onnx', 'openvino'}\n"
    program += "atexit.register(lambda: print(open('/proc/self/status').read(), 'slow:', {*sys.modules} & slow))\n"
    program += "from ecg_lightning.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "the example model of this package" in done.stdout
    assert int(done.stdout.split("VmHWM:")[1].split()[0]) < 200 * 1024  # KiB
    assert done.stdout.endswith("slow: set()\n")


def test_what_an_object_is_stands_in_its_repr(run, predictor, synthetic_root):
    assert repr(run).startswith("RunResult(ok, data=ptbxl model=resnet1d_wang seed=0, test F1 0.")
    assert repr(run).endswith(f", in {run.folder})")
    assert repr(load(run.folder)).startswith("Predictor(best.ckpt: resnet1d_wang in fp32, run by torch; 10 s at 100 Hz")
    assert "in int8, run by onnxruntime" in repr(predictor)
    data = PTBXLDataModule(synthetic_root)
    assert repr(data) == str(data) == f"PTBXLDataModule({synthetic_root}, 100 Hz, superdiagnostic; nothing loaded)"
    classifier = load(run.folder).runtime._module
    assert isinstance(classifier, ECGClassifier)
    assert "behind SignalFrontend, 0.00 M parameters, CD, HYP, MI, NORM, STTC" in repr(classifier)
