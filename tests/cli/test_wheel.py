"""The wheel, away from the repository: what its base installation can do, and that it holds all that training needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from recordings import digital, heartbeats, rows, write_wfdb
from tiny import ROOT

from ecg_lightning.data.wfdb import LEADS

MOST_MB = 400


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (built,) = folder.glob("ecg_lightning-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_trains_away_from_the_repository(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = "import sys; sys.path.insert(0, 'site'); from ecg_lightning.commands import cli; "
    program += "assert cli.__file__.startswith('site') or '/site/' in cli.__file__; cli.app()"
    settings = ["data.n_records=100", "data.batch_size=16", "debug=fdr", "experiment=demo", "model=vit"]
    done = subprocess.run(
        [sys.executable, "-c", program, "train", *settings, "hydra.run.dir=run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").is_file()


@pytest.mark.slow
def test_the_base_installation_predicts_and_names_what_training_needs(wheel, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=300)
    programs = next(folder for name in ("bin", "Scripts") if (folder := environment / name).is_dir())
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", wheel], check=True, timeout=600)
    size = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file() and not file.is_symlink())
    assert size < MOST_MB * 1e6
    packages = {path.name for path in environment.glob("lib*/**/site-packages/*")}
    assert not {"torch", "pandas", "matplotlib", "hydra", "wfdb"} & packages

    signals = heartbeats(np.arange(5000) / 500)
    (tmp_path / "a.csv").write_text(",".join(LEADS) + "\n" + rows(signals.T))
    write_wfdb(tmp_path, digital(signals), rate="500", name="b")

    def run(*arguments):
        return subprocess.run(
            [programs / "ecg-lightning", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300,
            check=False, env={"PATH": str(programs)},
        )  # fmt: skip

    example = run("predict", "--example")
    assert example.returncode == 0, example.stderr
    assert "the example model of this package" in example.stdout
    both = run("predict", "--rate", "500", "--units", "mV", "a.csv", "b.hea", "--out", "c.csv")
    assert both.returncode == 0, both.stderr
    table, wfdb = [line.split(",")[1:6] for line in (tmp_path / "c.csv").read_text().splitlines()[1:]]
    assert np.allclose(np.array(table, float), np.array(wfdb, float), atol=0.02)
    for command, extra in (("train", "train"), ("evaluate", "train"), ("compress", "compress")):
        refused = run(command, *([] if command != "evaluate" else ["RUN"]))
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert refused.stderr.startswith(f"error: ecg-lightning {command} needs the package ")
        assert refused.stderr.endswith(f"pip install '.[{extra}]'\n")
    program = "from ecg_lightning import Predictor, load; print(Predictor()); load('RUN/best.ckpt')"
    Path(tmp_path / "RUN").mkdir()
    Path(tmp_path / "RUN" / "best.ckpt").touch()
    python = subprocess.run(
        [programs / "python", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert python.stdout.startswith("Predictor(resnet1d_wang_int8.onnx: resnet1d_wang in int8")
    assert "MissingPackageError: a checkpoint needs the package" in python.stderr


def make_torch(folder, version):
    """An index with an empty torch of a version."""
    name = f"torch-{version}"
    content = {
        f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}.dist-info/RECORD": "",
    }
    (folder / "torch").mkdir(parents=True)
    with zipfile.ZipFile(folder / "torch" / f"{name}-py3-none-any.whl", "w") as file:
        for path, text in content.items():
            file.writestr(path, text)
    (folder / "torch" / "index.html").write_text(f'<a href="{name}-py3-none-any.whl">torch</a>')
    return folder.as_uri()


@pytest.mark.slow
def test_pytorchs_cpu_build_is_taken_where_an_index_has_it_and_no_gpu_is_there(tmp_path, monkeypatch):
    def arguments(index):
        command = [sys.executable, str(ROOT / "tools" / "pytorch_index.py"), index]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout.split()

    (tmp_path / "none").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "none").as_uri())
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    index = make_torch(tmp_path / "cpu", "99.0+cpu")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert arguments(index) == ["--extra-index-url", index]
    assert arguments(make_torch(tmp_path / "usual", "99.0")) == []
    assert arguments("http://127.0.0.1:9/nothing") == []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    assert arguments(index) == []
