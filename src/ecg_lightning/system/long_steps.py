"""Log lines for long steps, so that no program is silent for more than ten seconds."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from ecg_lightning.text import duration

INTERVAL_S = 10.0

_open: list[threading.Event] = []  # the running steps, the innermost last


@contextlib.contextmanager
def long_step(log: logging.Logger, text: str, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Log what the block does, then log regularly that it still runs. Of nested blocks, only the innermost repeats.

    Args:
        log: the module's logger.
        text: the step's description, such as `NNCF calibrates with 300 records`.
        interval_s: seconds between two lines.
    """
    is_heard = log.isEnabledFor(logging.INFO)  # asked before the block silences other programs' loggers
    log.info("%s", text)
    done, started = threading.Event(), time.monotonic()

    def remind() -> None:
        while not done.wait(interval_s):
            if _open[-1:] != [done]:
                continue
            line = f"{text}: {duration(time.monotonic() - started)} so far"
            log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, line, (), None))

    reminder = threading.Thread(target=remind, name="long step", daemon=True)
    _open.append(done)
    if is_heard:
        reminder.start()
    try:
        yield
    finally:
        done.set()
        _open.remove(done)
        if is_heard:
            reminder.join()
