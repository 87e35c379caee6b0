"""The time of a training step, measured on a copy of the model, to estimate an epoch and to choose the threads."""

from __future__ import annotations

import copy
import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from ecg_lightning.data.datamodule import ECGBatch, ECGDataModule
from ecg_lightning.hardware.schema import HardwareConfig
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.training.schema import TrainerConfig

log = logging.getLogger(__name__)

_FIRST_RECORDS = 8
_BUDGET_S = 0.5
_SHARE_OF_TRAINING = 0.02
"""Largest share of the training's time for the measurement, so that it does not delay a short training."""
_MAX_ROUNDS = 8
_CLEARLY = 2.0
_WORTH_IT = 0.9
"""Largest share of the time on one thread at which more threads are used, because they cost the machine more."""


def may_choose(hardware: HardwareConfig, trainer: TrainerConfig) -> bool:
    """Return whether the program may choose the number of threads of a fit."""
    return not (hardware.threads or hardware.accelerator != "cpu" or trainer.fast_dev_run)


def choose_threads(
    module: ECGModule, datamodule: ECGDataModule, precision: str, n_records: float
) -> tuple[int, float | None]:
    """Set the faster number of threads for this training, one or the number that is set, and return it.

    On a processor that other programs use, threads wait for each other, and a single one may be several times faster.
    The model, its randomness and its teacher stay unchanged.

    Args:
        module: module to be trained on the CPU.
        datamodule: data module with its training split loaded.
        precision: precision of the training.
        n_records: number of records that the whole training sees.

    Returns:
        The number of threads, and the mean seconds of a step for one record without a teacher; None if there was no
        choice.
    """
    most = torch.get_num_threads()
    if most == 1:
        return 1, None
    one, all_of_them = measure_step(module, datamodule, precision, n_records, (1, most), taught=False)
    chosen = most if all_of_them <= _WORTH_IT * one else 1
    torch.set_num_threads(chosen)
    log.info(
        "the training uses %d thread%s: a step takes %.0f ms per record on one thread and %.0f ms on %d "
        "(hardware.threads sets the number)",
        chosen,
        "" if chosen == 1 else "s",
        1000 * one,
        1000 * all_of_them,
        most,
    )
    return chosen, one if chosen == 1 else all_of_them


def measure_step(
    module: ECGModule,
    datamodule: ECGDataModule,
    precision: str,
    n_records: float,
    threads: Sequence[int] = (),
    *,
    taught: bool = True,
) -> list[float]:
    """Return the mean seconds that a step takes for one record, with each number of threads in turn.

    Args:
        module: module whose copy takes the steps.
        datamodule: data module with its training split loaded.
        precision: precision of the training.
        n_records: number of records that the whole training sees; the fewer, the shorter the measurement.
        threads: numbers of threads, whose steps alternate; empty for the number that is set.
        taught: whether the steps include the teacher, which must then be prepared.
    """
    before = torch.get_num_threads()
    counts = [*threads] or [before]
    dataset = datamodule.datasets["train"]
    batches = [dataset.__getitems__(range(min(n, len(dataset)))) for n in (_FIRST_RECORDS, datamodule.batch_size)]
    with _state_kept():
        probe = copy.deepcopy(module).train()
        if not taught:
            probe.distillation = None
        torch.set_num_threads(counts[0])
        first_s = _timed_step(probe, batches[0], precision)  # it allocates memory and chooses kernels
        n_timed = len(batches[0].targets)
        budget_s = min(_BUDGET_S, _SHARE_OF_TRAINING * first_s / n_timed * n_records)
        seconds = _mean_steps(probe, batches[0], precision, counts, budget_s)
        # A clear difference needs no second measurement, and long steps are precise enough.
        is_clear = len(counts) > 1 and max(seconds) > _CLEARLY * min(seconds)
        if not is_clear and sum(seconds) / n_timed * len(batches[1].targets) < budget_s:
            n_timed = len(batches[1].targets)
            seconds = _mean_steps(probe, batches[1], precision, counts, budget_s)
        torch.set_num_threads(before)
    return [one / n_timed for one in seconds]


def _mean_steps(
    module: ECGModule, batch: ECGBatch, precision: str, threads: Sequence[int], budget_s: float
) -> list[float]:
    """Return the mean seconds of a step with each number of threads: at least one step, more within the budget.

    A mean is used, because single steps are fast even on a busy processor when its other programs pause.
    """
    spent = [0.0 for _ in threads]
    n_rounds = 0
    while not n_rounds or (sum(spent) < budget_s and n_rounds < _MAX_ROUNDS):
        for place, count in enumerate(threads):
            torch.set_num_threads(count)
            spent[place] += _timed_step(module, batch, precision)
        n_rounds += 1
    return [seconds / n_rounds for seconds in spent]


def _timed_step(module: ECGModule, batch: ECGBatch, precision: str) -> float:
    """Return the seconds of a forward and a backward pass."""
    started = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision.startswith("bf16")):
        loss = module.step("train", batch).loss
    loss.backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - started


@contextmanager
def _state_kept() -> Iterator[None]:
    """Restore the state of every random number generator at the end."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(of_python)
    np.random.set_state(of_numpy)
