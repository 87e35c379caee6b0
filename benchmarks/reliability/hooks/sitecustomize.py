"""Runs at the start of every Python of a try: notes the first import and each step, and makes a cell fail.

It changes nothing where no variable asks for it: RELIABILITY_STARTED and RELIABILITY_STEPS name files that grow by a
byte, RELIABILITY_FAULT and RELIABILITY_SEED name a fault and the cell, by its seed, that it happens in.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys
import time


def _grow(name):
    if path := os.environ.get(name):
        with open(path, "ab") as file:  # noqa: PTH123 - pathlib is not imported this early
            file.write(b".")


def _count_steps(module):
    module.register_optimizer_step_post_hook(lambda *_: _grow("RELIABILITY_STEPS"))


def _make_cell_fail(module):
    run, fault, seed = module.run, os.environ.get("RELIABILITY_FAULT"), os.environ.get("RELIABILITY_SEED")

    def failing(cfg, *args, **more):
        if fault and str(cfg.seed) == seed:
            _FAULTS[fault]()
        return run(cfg, *args, **more)

    module.run = failing


def _raise(error):
    raise error


def _segfault():
    import ctypes

    ctypes.string_at(0)


_FAULTS = {
    "exception": lambda: _raise(ArithmeticError("made to fail")),
    "MemoryError": lambda: _raise(MemoryError("made to fail")),
    "OSError": lambda: _raise(OSError("made to fail")),
    "sys.exit(0)": lambda: sys.exit(0),
    "sys.exit(3)": lambda: sys.exit(3),
    "os._exit(0)": lambda: os._exit(0),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segmentation fault": _segfault,
    "hang": lambda: time.sleep(36_000),
}
_AFTER_IMPORT = {"torch.optim.optimizer": _count_steps, "ecg_lightning.training.run": _make_cell_fail}


class _Watcher(importlib.abc.MetaPathFinder):
    """Calls a function once a module was imported."""

    def find_spec(self, name, path, target=None):
        if name == "ecg_lightning":
            _grow("RELIABILITY_STARTED")
        if name not in _AFTER_IMPORT or name in self._seen:
            return None
        self._seen.add(name)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_call(module):
            load(module)
            _AFTER_IMPORT[name](module)

        spec.loader.exec_module = load_and_call
        return spec

    _seen = set()  # noqa: RUF012 - one watcher a process


if any(name.startswith("RELIABILITY_") for name in os.environ):
    sys.meta_path.insert(0, _Watcher())
