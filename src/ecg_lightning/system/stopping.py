"""Stops that lose nothing: SIGTERM, SIGINT, SIGHUP and SIGUSR1 end the process when its files are whole.

This module imports only small modules of the standard library, because a program installs the handlers before its
slow imports.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
SIGNALS = tuple(signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__)
"""The signals of this system that ask a run to stop."""

_ALARM: int | None = getattr(signal, "SIGALRM", None)
"""None on Windows, where a stop is raised only once."""
_HANDLED = SIGNALS if _ALARM is None else (*SIGNALS, signal.Signals(_ALARM))

_ASK_AGAIN_S = 5.0
"""Seconds until a stop is raised again. Libraries swallow exceptions that reach them at unusual places."""


class Stopped(SystemExit):
    """The exit after a signal asked the process to end. The exit code is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class _State:
    """The signal that this process received, and whether it can be interrupted now."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.asked: int | None = None
        self.held = 0
        self.ended = False
        self.installed = False


_state = _State()


def install() -> None:
    """Handle the signals in this process. Ignored signals (`nohup`, a shell's background job) stay ignored."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        return
    if _state.owner != os.getpid():  # a forked process starts anew
        _state.__init__()  # type: ignore[misc]
    for number in _HANDLED:
        if number == _ALARM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _answer)
    sys.unraisablehook = _leave_stops_out
    _state.installed = True


def is_installed() -> bool:
    """Return whether this process handles the signals."""
    return _state.installed and _state.owner == os.getpid()


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Handle the signals within the block. Afterwards a program without installed handlers gets its own back."""
    if is_installed() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _HANDLED}
    hook = sys.unraisablehook
    install()
    try:
        yield
    finally:
        _ask_again_in(0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        _state.__init__()  # type: ignore[misc]


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Delay a stop to the end of the block, or to a `check` within it."""
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
    if not _state.held:
        check()


def asked() -> bool:
    """Return whether a signal asked this process to stop."""
    return _state.asked is not None and _state.owner == os.getpid()


def name() -> str | None:
    """Return the name of the signal that asked this process to stop."""
    return signal.Signals(_state.asked).name if asked() and _state.asked is not None else None


def check() -> None:
    """Raise `Stopped` if a signal asked this process to stop.

    Raises:
        Stopped: a signal asked for it.
    """
    if asked() and not _state.ended:
        assert _state.asked is not None
        raise Stopped(_state.asked)


def end() -> int | None:
    """Ignore all signals from now on, because the process is about to end. Return a stop's exit code, or None."""
    _ask_again_in(0)
    _state.held += 1
    _state.ended = True
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:  # while Python ends, the system's handlers return, and they would kill
            signal.signal(number, signal.SIG_IGN)
    return None if _state.asked is None else 128 + _state.asked


def run_stoppable(main: Callable[[], object]) -> None:
    """Run a program's main function. A signal ends it with one sentence and its exit code, from the first import on."""
    install()
    try:
        main()
    except BaseException:  # a library may turn a stop into another exception
        if _state.ended or not asked():
            raise
        print(f"interrupted: stopped by {name()}", file=sys.stderr)
        sys.exit(end())
    finally:
        end()


def outlive_stops(worker: int) -> None:
    """Make a loader's worker process ignore the signals that stop a run, and end only when its parent ends it.

    Terminals and batch systems send a signal to every process of a run. PyTorch reports a worker that such a signal
    ended as an error of the run, in the middle of the step whose state is to be saved.

    Args:
        worker: the worker's number, as PyTorch's loader passes it.
    """
    for number in _HANDLED:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """Exit on the parent's own SIGTERM or soon after the parent's death. Until then the run's folder stays locked."""
    if sys.platform == "linux":
        parent = os.getppid()
        while os.getppid() == parent:
            told = signal.sigtimedwait({signal.SIGTERM}, 0.2)
            if told is not None and told.si_pid == parent:
                break
        os._exit(0)


def _ask_again_in(seconds: float) -> None:
    """Raise a stop again after some seconds. 0 cancels this."""
    if _ALARM is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _answer(number: int, frame: FrameType | None) -> None:
    if _state.owner != os.getpid():  # a forked process without handlers of its own: its parent ends it
        return
    if _state.asked is None and number != _ALARM:
        _state.asked = number
    elif number != _ALARM:  # a second signal changes nothing
        return
    if _state.held or _state.ended or _state.asked is None:
        return
    _ask_again_in(_ASK_AGAIN_S)
    raise Stopped(_state.asked)


def _leave_stops_out(unraisable: sys.UnraisableHookArgs) -> None:
    """Print no traceback for a stop that reached a destructor. It is raised again."""
    if isinstance(unraisable.exc_value, Stopped):
        _ask_again_in(0.01)
    else:
        sys.__unraisablehook__(unraisable)
