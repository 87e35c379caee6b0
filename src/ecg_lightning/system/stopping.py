"""Stops that lose nothing: SIGTERM, SIGINT, SIGHUP and SIGUSR1 end the process where its files are whole.

Nothing here imports more than the standard library's small modules: a program installs the handlers before it imports
anything that takes long.
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
"""Signals that ask a run to stop, where this system has them."""

_ALARM: int | None = getattr(signal, "SIGALRM", None)
"""Not on Windows, where a stop is raised once."""
_HANDLED = SIGNALS if _ALARM is None else (*SIGNALS, signal.Signals(_ALARM))

_ASK_AGAIN_S = 5.0
"""Seconds after which a stop is raised again: libraries swallow exceptions that reach them at unusual places."""


class Stopped(SystemExit):
    """A signal asked the process to end. The exit code is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class _State:
    """What this process was asked, and whether it can be interrupted now."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.asked: int | None = None
        self.held = 0
        self.ended = False
        self.installed = False


_state = _State()


def install() -> None:
    """Answer the signals in this process. Ignored ones (`nohup`, a shell's background job) stay ignored."""
    if threading.current_thread() is not threading.main_thread():  # Python allows it nowhere else
        return
    if _state.owner != os.getpid():  # a fork starts anew
        _state.__init__()  # type: ignore[misc]
    for number in _HANDLED:
        if number == _ALARM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _answer)
    sys.unraisablehook = _leave_stops_out
    _state.installed = True


def is_installed() -> bool:
    """Return whether this process answers the signals."""
    return _state.installed and _state.owner == os.getpid()


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Answer the signals within the block; a program that has not installed the handlers gets its own back."""
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
    """Put a stop off to the end of the block, or to a `check` in it."""
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
    """Leave if a signal asked for it.

    Raises:
        Stopped: a signal did.
    """
    if asked() and not _state.ended:
        assert _state.asked is not None
        raise Stopped(_state.asked)


def end() -> int | None:
    """Let no signal interrupt this process any more, which is about to end; give the exit code of a stop."""
    _ask_again_in(0)
    _state.held += 1
    _state.ended = True
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:  # while Python ends, a handler would give way to the system's, which kills
            signal.signal(number, signal.SIG_IGN)
    return None if _state.asked is None else 128 + _state.asked


def run_stoppable(main: Callable[[], object]) -> None:
    """Run a program's main; a signal ends it with one sentence and its exit code, from the first import on."""
    install()
    try:
        main()
    except BaseException:  # a stop may come out of a library as another exception
        if _state.ended or not asked():
            raise
        print(f"interrupted: stopped by {name()}", file=sys.stderr)
        sys.exit(end())
    finally:
        end()


def outlive_stops(worker: int) -> None:
    """Make a loader's worker process end when its parent wants it to, and by no signal that asks the parent to stop.

    Terminals and batch systems send a signal to every process of a run. PyTorch takes a worker that such a signal ended
    for an error of the run, in the middle of the step whose state is to be saved.

    Args:
        worker: number of the worker, as PyTorch's loader passes it.
    """
    for number in _HANDLED:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """End on the parent's own SIGTERM, or soon after it died: until then its run's folder stays locked."""
    if sys.platform == "linux":
        parent = os.getppid()
        while os.getppid() == parent:
            told = signal.sigtimedwait({signal.SIGTERM}, 0.2)
            if told is not None and told.si_pid == parent:
                break
        os._exit(0)


def _ask_again_in(seconds: float) -> None:
    """Raise a stop again after some seconds; 0: never."""
    if _ALARM is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _answer(number: int, frame: FrameType | None) -> None:
    if _state.owner != os.getpid():  # a fork that has not installed its own: its parent ends it
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
    """Print no traceback of a stop that reached a destructor; it is raised again."""
    if isinstance(unraisable.exc_value, Stopped):
        _ask_again_in(0.01)
    else:
        sys.__unraisablehook__(unraisable)
