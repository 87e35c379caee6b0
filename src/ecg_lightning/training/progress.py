"""Progress of a training or an evaluation: one line that is rewritten on a terminal, and log lines in a file."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.trainer.states import TrainerFn
from rich.live import Live
from rich.text import Text

from ecg_lightning.evaluation.metric_table import followed
from ecg_lightning.reports.console import make_console
from ecg_lightning.system.long_steps import INTERVAL_S
from ecg_lightning.text import duration

log = logging.getLogger(__name__)

_REFRESH_S = 0.2
_VALIDATION = 1 / 3
"""Time of a validation batch in training batches. It has no backward pass."""

_METRICS = {
    "train/loss": "loss",
    "val/loss": "val loss",
    **{f"val/{name}": f"val {label}" for name, label in followed().items()},
}


class ProgressLine(ProgressBar):
    """A line with epoch, batch, records a second, loss, macro F1 of the last validation, and the time left.

    Args:
        interval_s: fewest seconds between two lines of a batch in a log file.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._is_enabled = True
        self._terminal = _TerminalLine()
        self._started = self._epoch_started = self._last = 0.0
        self._work = 0.0  # work of this process, in training batches
        self._n_validated = 0  # batches of the current or last validation
        self._first_batch = self._finished = 0

    def enable(self) -> None:
        """Show the line."""
        self._is_enabled = True

    def disable(self) -> None:
        """Hide the line."""
        self._is_enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock. A resumed training counts from its first new batch."""
        self._start()
        self._first_batch = trainer.fit_loop.batch_idx + 1  # needed for a resumed epoch, whose start is not announced

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the previous epoch's result, and start this epoch's clock."""
        self._epoch_line(trainer)
        self._epoch_started = time.monotonic()
        self._first_batch = self._n_validated = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the batch."""
        self._work += 1
        if not self._is_due():
            return
        n_seen = (batch_idx + 1 - self._first_batch) * len(batch.targets)
        f1 = trainer.callback_metrics.get("val/f1_macro")
        self._show(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            f"batch {batch_idx + 1}/{self.total_train_batches:.0f}",
            f"{n_seen / (time.monotonic() - self._epoch_started):.0f} records/s",
            f"loss {float(outputs['loss']):.3f}",
            *([] if f1 is None else [f"F1 {float(f1):.3f}"]),
            f"{duration(self._left(trainer, batch_idx + 1))} left",
        )

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of an evaluation outside of a training."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._start()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the batch."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._evaluated("validation", batch, batch_idx + 1, self.total_val_batches)
            return
        self._work += _VALIDATION
        self._n_validated = batch_idx + 1
        if self._is_due():
            self._show(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
                f"validation {batch_idx + 1}/{self.total_val_batches:.0f}",
                f"{duration(self._left(trainer, int(self.total_train_batches)))} left",
            )

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._start()

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the batch."""
        self._evaluated("test", batch, batch_idx + 1, sum(trainer.num_test_batches))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the epoch, because its training metrics come after the callbacks."""
        self._finished = trainer.current_epoch + 1

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last epoch, and the reason if the training ended early."""
        self._epoch_line(trainer)
        if reason := why_stopped(trainer):
            log.info("%s", reason)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the line."""
        self._terminal.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the line."""
        self._terminal.stop()

    def _start(self) -> None:
        self._started = self._epoch_started = self._last = time.monotonic()
        self._work = 0.0
        self._n_validated = 0
        self._terminal.start(self._is_enabled)

    def _evaluated(self, phase: str, batch: Any, n_done: int, n_batches: float) -> None:
        """Show a batch of an evaluation outside of a training."""
        if self._is_due():
            each = (time.monotonic() - self._started) / n_done
            self._show(
                f"{phase} folds",
                f"batch {n_done}/{n_batches:.0f}",
                f"{len(batch.targets) / each:.0f} records/s",
                f"{duration(each * (n_batches - n_done))} left",
            )

    def _left(self, trainer: L.Trainer, n_trained: int) -> float:
        """Return the remaining seconds of the training if nothing ends it early."""
        an_epoch = float(self.total_train_batches) + _VALIDATION * float(self.total_val_batches)
        n_epochs = (trainer.max_epochs or 0) - trainer.current_epoch
        left = n_epochs * an_epoch - n_trained - _VALIDATION * self._n_validated
        return (time.monotonic() - self._started) / max(self._work, 1) * left

    def _is_due(self) -> bool:
        """Return whether a line is due. A line is expensive, because reading a loss waits for a GPU."""
        return self._terminal.is_due() or time.monotonic() - self._last >= self._interval_s

    def _show(self, *parts: str) -> None:
        line = " · ".join(parts)
        self._terminal.show(line)
        if time.monotonic() - self._last >= self._interval_s:
            self._last = time.monotonic()
            _to_log(line, self._terminal.handlers)

    def _epoch_line(self, trainer: L.Trainer) -> None:
        """Log the finished epoch."""
        if not self._finished:
            return
        metrics = trainer.callback_metrics
        values = [f"{name} {float(metrics[key]):.3f}" for key, name in _METRICS.items() if key in metrics]
        an_epoch = float(self.total_train_batches) + _VALIDATION * float(self.total_val_batches)
        n_left = (trainer.max_epochs or 0) - self._finished
        left = (time.monotonic() - self._started) / max(self._work, 1) * an_epoch * n_left
        ends = [f"at most {duration(left)} left"] if n_left > 0 else []
        log.info("%s", " · ".join([f"epoch {self._finished}/{trainer.max_epochs}", *values, *ends]))
        self._finished = 0
        self._last = time.monotonic()


def why_stopped(trainer: L.Trainer) -> str | None:
    """Return the sentence why a training ended before its last epoch; None if it did not."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            done = callback.stopped_epoch + 1
            ended = f"after epoch {done} of {trainer.max_epochs}"
            if callback.stopping_reason == EarlyStoppingReason.NON_FINITE_METRIC:
                return f"early stopping {ended}: {callback.monitor} is not finite"
            best = f"{float(callback.best_score):.3f}"
            if trainer.check_val_every_n_epoch == 1:
                best += f", after epoch {done - callback.wait_count}"
            times = "validation" if callback.wait_count == 1 else f"{callback.wait_count} validations"
            return (
                f"early stopping {ended}: {callback.monitor} did not improve in the last {times} "
                f"(callbacks.early_stopping.patience={callback.patience}); its best was {best}"
            )
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None and left <= 0:
            return f"trainer.max_time is over, so the training ends in epoch {trainer.current_epoch + 1}"
    return None


class _TerminalLine:
    """The line on a terminal; nothing if standard output is a file.

    Log lines are printed above it. Its handlers write to rich's replacement of standard output while the line is shown.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._shown_at = 0.0

    @property
    def is_shown(self) -> bool:
        """Return whether a terminal shows the line."""
        return self._live is not None

    @property
    def handlers(self) -> list[logging.Handler]:
        """The log's handlers that write to the line's terminal."""
        return [handler for handler, _ in self._streams]

    def start(self, is_wanted: bool) -> None:
        """Open the line if standard output is a terminal."""
        if self._live is not None or not is_wanted or not sys.stdout.isatty():
            return
        own = {id(sys.stdout), id(sys.stderr)}
        self._live = Live(console=make_console(), transient=True, auto_refresh=False)
        self._live.start()
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and id(handler.stream) in own:
                self._streams.append((handler, handler.setStream(sys.stdout)))

    def stop(self) -> None:
        """Remove the line."""
        if self._live is None:
            return
        for handler, stream in self._streams:
            handler.setStream(stream)
        self._live.stop()
        self._live, self._streams = None, []

    def is_due(self) -> bool:
        """Return whether the last update is long enough ago."""
        return self.is_shown and time.monotonic() - self._shown_at >= _REFRESH_S

    def show(self, line: str) -> None:
        """Rewrite the line, cut to the terminal's width."""
        if self._live is not None:
            self._shown_at = time.monotonic()
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)


def _to_log(line: str, but_for: list[logging.Handler]) -> None:
    """Log a line, but not on the terminal that shows it already."""
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, line, (), None)
    for handler in logging.getLogger().handlers:
        if handler not in but_for and record.levelno >= handler.level:
            handler.handle(record)
