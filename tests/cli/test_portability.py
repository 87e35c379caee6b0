"""Predicting, training and evaluating call nothing that Windows has not."""

import json
import os
import signal
import subprocess
import sys

import pytest

UNIX = {
    os: (
        *("fork", "getpgid", "getpgrp", "getuid", "geteuid", "killpg", "setsid", "sched_getaffinity", "statvfs"),
        *("posix_fallocate", "readv", "mkfifo", "fchmod", "chown"),
    ),
    signal: (
        *("SIGALRM", "SIGHUP", "ITIMER_REAL", "setitimer", "alarm"),
        *("pthread_sigmask", "sigtimedwait", "sigwait", "siginterrupt"),
    ),
}
WITHOUT = """
import os, pathlib, signal, sys
{imports}
for module, names in (({os}), ({signal})):
    for name in names:
        module.__dict__.pop(name, None)
signal.Signals.__members__  # what is left of it is read by name
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
sys.argv = ["ecg-lightning", *sys.argv[1:]]
assert not [name for name in sys.modules if name.startswith("ecg_lightning")]
real = pathlib.Path.is_file
pathlib.Path.is_file = lambda self: not str(self).startswith("/proc") and real(self)
from ecg_lightning.__main__ import main
main()
"""


def run_without_unix(*arguments, imports=""):
    """Run the command line in a process of its own, from which all that only Unix has was taken.

    Other packages ask for the system's name, so they are imported before, and keep what they call later.
    """
    left = {"os": f"os, {UNIX[os]}", "signal": f"signal, {UNIX[signal]}"}
    program = WITHOUT.format(imports=imports, **left)
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )


def test_predicting_calls_nothing_of_unix():
    done = run_without_unix(
        "predict", "--example", "--json", imports="import numpy, onnxruntime, typer; del os.O_NONBLOCK"
    )
    assert done.returncode == 0, done.stderr
    assert [record["record"].endswith(".hea") for record in json.loads(done.stdout)["records"]] == [True] * 3


@pytest.mark.slow
def test_training_and_evaluating_call_nothing_of_unix(synthetic_root, tmp_path):
    settings = ["data=ptbxl", f"data.root={synthetic_root}", f"data.cache_dir={tmp_path}/cache", "model=resnet1d_wang"]
    settings += ["model.channels=4", "hardware.precision=32-true", "hardware.threads=1", "trainer.max_epochs=1"]
    imports = "import filelock, hydra, lightning.pytorch, matplotlib.pyplot, onnxruntime, pandas, scipy.optimize\n"
    imports += "import rich.progress, timm, torch.utils.tensorboard, torchmetrics, torchvision, typer"
    run = tmp_path / "run"
    for command in (
        ["train", *settings, f"hydra.run.dir={run}"],
        ["train", *settings, f"hydra.run.dir={run}", "ckpt_path=auto", "trainer.max_epochs=2"],
        ["evaluate", run, "--resamples", 100],
        ["predict", "--model", run, "--example"],
    ):
        done = run_without_unix(*command, imports=imports)
        assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}"
    assert json.loads((run / "result.json").read_text())["timing"]["epochs"] == 2
