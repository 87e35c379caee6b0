"""Networks of the user's own: they train as any other, and no code runs that the user did not say to trust."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tiny import ROOT

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.checkpoints.io import save_checkpoint
from ecg_lightning.checkpoints.loading import load_classifier, read_checkpoint
from ecg_lightning.errors import CheckpointError, ConfigError, ForeignCodeError

OLD = ROOT / "tests" / "fixtures_6647fd0" / "checkpoints" / "last.ckpt"
NOT_TRUSTED = {
    "os:system": r"=os:system: os is a part of Python\. Name code of your own package",
    "subprocess:run": "subprocess is a part of Python",
    "ecg_lightning.commands.launching:train": "ecg_lightning is a part of this program",
    "own_network:make": "would run code of the package own_network, which ECG_LIGHTNING_TRUST does not name. If you "
    r"trust all of this package, run: export ECG_LIGHTNING_TRUST=another,own_network$",
    "own_network.os:system": "would run code of the package own_network",
    "numpy:load": "would run code of the package numpy",
    "own_network:torch.load": "write package.module:function",
    "own_network:__class__.__base__": "write package.module:function",
    ".own_network:make": "write package.module:function",
    "own_network": "write package.module:function",
    "own_network:make()": "write package.module:function",
    "own_network :make": "write package.module:function",
    "ówn_network:make": "write package.module:function",
    "own_network:make\n": "write package.module:function",
    f"{'a.' * 200}b:make": "write package.module:function",
}


@pytest.fixture(autouse=True)
def not_imported(monkeypatch):
    """The user's module as a new process sees it, and another trusted package than it."""
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    monkeypatch.setenv("ECG_LIGHTNING_TRUST", "another")


@pytest.fixture
def trusted(monkeypatch):
    monkeypatch.setenv("ECG_LIGHTNING_TRUST", " another, own_network ")


def build(reference, frontend="signal", **settings):
    node = {"kind": "custom", "network": reference, **settings}
    return build_classifier(node, {"kind": frontend}, n_samples=1000, seed=0)


@pytest.mark.parametrize("reference", NOT_TRUSTED)
def test_a_checkpoint_cannot_run_code_that_is_not_trusted(reference, tmp_path):
    content = read_checkpoint(OLD)
    content["ecg_lightning"]["model"] = {"kind": "custom", "network": reference}
    save_checkpoint(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=NOT_TRUSTED[reference]):
        load_classifier(tmp_path / "x.ckpt")
    assert "own_network" not in sys.modules


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("own_network:make", "would run code of the package own_network"),
        ("os:system", "os is a part of Python"),
        ("own_network.make", "write package.module:function"),
        ("another:make", r"there is no module another\. If it is a file in this folder, run: export PYTHONPATH=\."),
        ("", "model=custom needs model.network=package.module:function"),
    ],
)
def test_a_configuration_cannot_either(configure, configure_compression, reference, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        configure("model=custom", f"model.network='{reference}'")
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression" / "mine.yaml").write_text(
        "defaults: [/schema/stage/distill@stages.distill, /schema/model/custom@stages.distill.student, _self_]\n"
        f"stages: {{distill: {{student: {{network: '{reference}'}}}}}}\n"
    )
    with pytest.raises(ConfigError, match=r"compression\.stages\.distill\.student\.network"):
        configure_compression("ckpt_path=x", "compression=mine", f"hydra.searchpath=[file://{tmp_path}]")
    assert "own_network" not in sys.modules


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("own_network:nothing", "the module own_network has no nothing"),
        ("own_network.inner:make", "there is no module own_network.inner"),
        ("own_network:run", "run is defined in subprocess, which ECG_LIGHTNING_TRUST does not name"),
        ("own_network:Linear", "Linear is defined in torch.nn.modules.linear"),
        ("own_network:number", "this is of the type int. Name a function"),
        ("own_network:fail", r"failed \(ValueError: a line break; own_network.py, line \d+\)$"),
        ("own_network:make_nothing", "returned an object of the type NoneType. It must return an nn.Module"),
        ("own_network:make_too_many", r"the network makes the shape \(2, 6\)\. It must make .* of the shape \(2, 5\)"),
        ("own_network:make_tuples", "the network makes a tuple"),
        ("own_network:make_what_fails", r"failed on a batch of \(2, 12, 1000\) \(RuntimeError: .*own_network.py, line"),
    ],
)
def test_a_function_that_makes_no_network_is_one_sentence(reference, said):
    with pytest.raises(ForeignCodeError, match=said) as caught:
        build(reference)
    assert str(caught.value).startswith(f"model.network={reference}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "import no_such_module",
            "broken cannot be imported (No module named 'no_such_module'). Install what it needs",
        ),
        ("1 / 0", "broken cannot be imported (ZeroDivisionError: division by zero; broken.py, line 1)"),
        ("def", "broken cannot be imported (SyntaxError: "),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(content, said, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ECG_LIGHTNING_TRUST", "broken")
    with pytest.raises(ForeignCodeError) as caught:
        build("broken:make")
    assert said in str(caught.value)


@pytest.mark.usefixtures("trusted")
def test_a_network_is_told_its_input():
    signals = torch.zeros(3, 12, 1000, dtype=torch.int16)
    assert build("own_network:make", arguments={"width": 4}).eval()(signals).shape == (3, 5)
    assert build("own_network:make_for_images", frontend="matrix").eval()(signals).shape == (3, 5)
    with pytest.raises(ConfigError, match=r"needs a signal, but the front end makes an image of 1 × 64 × 512"):
        build("own_network:make", frontend="matrix")
    with pytest.raises(ForeignCodeError, match="unexpected keyword argument 'depth'"):
        build("own_network:make", arguments={"depth": 4})
    with pytest.raises(ConfigError, match=r"model\.arguments=4: this value is of the wrong type"):
        build("own_network:make", arguments=4)


@pytest.mark.usefixtures("trusted")
def test_a_checkpoint_of_lazy_layers_is_read(tmp_path):
    classifier = build("own_network:make_for_images", frontend="matrix").eval()
    content = read_checkpoint(OLD) | {"state_dict": classifier.state_dict()}
    model = {"kind": "custom", "network": "own_network:make_for_images"}
    content["ecg_lightning"] |= {"model": model, "frontend": {"kind": "matrix"}}
    save_checkpoint(content, tmp_path / "x.ckpt")
    signals = torch.randn(2, 12, 1000)
    assert torch.equal(load_classifier(tmp_path / "x.ckpt")(signals), classifier(signals))


@pytest.mark.usefixtures("trusted")
def test_trying_a_network_changes_nothing():
    torch.manual_seed(0)
    classifier, drawn = build("own_network:make"), torch.rand(1)
    assert classifier.network.training
    assert torch.equal(classifier.network.layers[1].running_mean, torch.zeros(8))
    torch.manual_seed(0)
    sys.modules["own_network"].Network(12, 5, 8)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.slow
def test_an_own_network_from_training_to_deployment(command, synthetic_root, tmp_path, monkeypatch):
    monkeypatch.setenv("ECG_LIGHTNING_TRUST", "own_network")
    model = ["model=custom", "model.network=own_network:make", "+model.arguments.width=16"]
    short = ["hardware.precision=32-true", "hardware.threads=1", "logger=none", "callbacks.figures=false"]
    data = ["data=ptbxl", f"data.root={synthetic_root}"]
    run = f"hydra.run.dir={tmp_path}/run"
    assert command(*model, *short, *data, run, "trainer.max_epochs=1").returncode == 0
    resumed = command(*model, *short, *data, run, "trainer.max_epochs=2", "ckpt_path=last")
    assert resumed.returncode == 0, resumed.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["choices"]["model"]) == ("ok", "custom")
    checkpoint = f"ckpt_path={tmp_path}/run/checkpoints/best.ckpt"
    evaluated = command("train=false", checkpoint, *short, *data, f"hydra.run.dir={tmp_path}/evaluated")
    assert evaluated.returncode == 0, evaluated.stderr
    again = json.loads((tmp_path / "evaluated" / "result.json").read_text())
    assert again["metrics"]["test"]["auroc_macro"] == result["metrics"]["test"]["auroc_macro"]
    less = ["compression.latency.batches=[1]", "compression.latency.rounds=1", "compression.fine_tune.epochs=1"]
    for name in ("prune", "ptq"):
        less[3:] = [f"hydra.run.dir={tmp_path}/{name}", f"compression={name}"]
        done = command(checkpoint, *short[:3], *less, program="compress")
        assert done.returncode == 0, done.stderr
    # A sweep's cells are other processes, which read the two variables of the environment.
    cells = subprocess.run(
        [sys.executable, "train.py", "-m", "seed=0,1", *model, *short, *data, "trainer.max_epochs=1",
         f"hydra.sweep.dir={tmp_path}/sweep"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}/src{os.pathsep}{ROOT}/tests/helpers"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert cells.returncode == 0, cells.stderr
    # Without the trust nothing that needs the code goes on, and the exported files do not need it.
    monkeypatch.delenv("ECG_LIGHTNING_TRUST")
    teacher = ["model=resnet1d_wang", checkpoint.replace("ckpt_path", "model.teacher")]
    member = ["model=ensemble", f"model.members=[{checkpoint.removeprefix('ckpt_path=')}]"]
    for number, settings in enumerate([["train=false", checkpoint], teacher, member, [*model, checkpoint]]):
        refused = command(*settings, *short, *data, f"hydra.run.dir={tmp_path}/refused{number}")
        assert refused.returncode in (2, 3)
        assert "export ECG_LIGHTNING_TRUST=own_network" in refused.stderr
    refused = command(checkpoint, "compression=ptq", f"hydra.run.dir={tmp_path}/refused", program="compress")
    assert "export ECG_LIGHTNING_TRUST=own_network" in refused.stderr
    from ecg_lightning import load

    with pytest.raises(CheckpointError, match="ECG_LIGHTNING_TRUST"):
        load(tmp_path / "run" / "checkpoints" / "best.ckpt")
    record = f"{synthetic_root}/records100/00000/00001_lr"
    for file in ("prune/variants/prune/model.onnx", "ptq/variants/quantize/model.xml"):
        (predicted,) = load(tmp_path / file).predict_files([record])
        assert set(predicted.probabilities) == {"CD", "HYP", "MI", "NORM", "STTC"}
