"""Stops by a signal: swallowed, repeated and ignored ones."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ecg_lightning.system import stopping

pytestmark = pytest.mark.usefixtures("hears_signals")


def test_a_stop_that_is_swallowed_comes_again(monkeypatch):
    monkeypatch.setattr(stopping, "_ASK_AGAIN_S", 0.05)

    def swallow():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(1)
        except BaseException:  # as libraries do
            time.sleep(1)

    with stopping.answered(), pytest.raises(stopping.Stopped):
        swallow()


_TOLD_AGAIN = """
import os, signal
from ecg_lightning.system import stopping

class Late:  # deleted when Python has taken its handlers away
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGINT):
        kill(process, number)

late = Late()
stopping.run_stoppable(lambda: os.kill(os.getpid(), signal.SIGTERM))
"""


def test_a_second_signal_changes_no_exit_code():
    told = subprocess.run([sys.executable, "-c", _TOLD_AGAIN], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (143, "interrupted: stopped by SIGTERM\n")


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.answered():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopping.asked()
    finally:
        signal.signal(signal.SIGHUP, before)
