"""The wheel holds all that `ecg-lightning train` needs, without the repository."""

import subprocess
import sys
import zipfile

import pytest
from tiny import ROOT


@pytest.mark.slow
def test_the_wheel_trains_away_from_the_repository(tmp_path):
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(wheel, check=True, timeout=300)
    (built,) = tmp_path.glob("ecg_lightning-*.whl")
    zipfile.ZipFile(built).extractall(tmp_path / "site")
    program = "import sys; sys.path.insert(0, 'site'); from ecg_lightning import cli; "
    program += "assert cli.__file__.startswith('site') or '/site/' in cli.__file__; cli.app()"
    settings = ["data.n_records=100", "data.batch_size=16", "debug=fdr", "experiment=demo", "model=vit"]
    done = subprocess.run(
        [sys.executable, "-c", program, "train", *settings, "hydra.run.dir=run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").is_file()
