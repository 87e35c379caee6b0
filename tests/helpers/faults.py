"""Jobs that end in every way a process can, for sweeps of a trivial task."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig

from ecg_lightning.errors import UserError
from ecg_lightning.hardware.processor import default_threads
from ecg_lightning.results.results import RunResult
from ecg_lightning.sweeps import sweep


def _exception():
    raise RuntimeError("on purpose")


def _memory_error():
    raise MemoryError("on purpose")


def _os_error():
    raise OSError(5, "Input/output error", "a_file")


def _hang():
    time.sleep(600)


def _hang_deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def _say_much():
    raise UserError("much " * 40_000)


def _leave_a_thread():
    threading.Thread(target=time.sleep, args=(600,)).start()
    raise RuntimeError("with a thread")


FAULTS = {
    "exception": (_exception, "RuntimeError: on purpose"),
    "memory_error": (_memory_error, "MemoryError: on purpose"),
    "os_error": (_os_error, "Input/output error"),
    "sys_exit_0": (lambda: sys.exit(0), "exit code 0 without a result"),
    "sys_exit_3": (lambda: sys.exit(3), "exit code 3 without a result"),
    "os_exit_0": (lambda: os._exit(0), "exit code 0 without a result"),
    "sigkill": (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by signal 9 (out of memory?)"),
    "segfault": (lambda: ctypes.string_at(0), "killed by signal 11 (SIGSEGV)"),
    "say_much": (_say_much, "much much"),
    "leave_a_thread": (_leave_a_thread, "RuntimeError: with a thread"),
    "hang": (_hang, "took longer than hydra.launcher.cell_timeout="),
    "hang_deaf": (_hang_deaf, "took longer than hydra.launcher.cell_timeout="),
}


def job(cfg):
    """Fail in the way that `cfg.fault` names; else count this run, and write a result."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    with (folder / "runs.txt").open("a") as file:
        file.write(f"{os.getpid()} {cfg.ckpt_path}\n")
    print(f"cell of seed {cfg.seed} with {default_threads()} threads")
    if cfg.fault in FAULTS:
        FAULTS[cfg.fault][0]()
    overrides = list(HydraConfig.get().overrides.task)
    RunResult(status="ok", score=float(cfg.seed), seed=cfg.seed, overrides=overrides).write(folder)
    return float(cfg.seed)


if __name__ == "__main__":
    sweep._modules = lambda settings: ["ecg_lightning.sweeps.process"]
    hydra.main(version_base="1.3", config_path=None, config_name="trivial")(job)()
