"""A Hydra job: check its settings, run it, and write any failure into its log and `result.json`.

A failed job never ends a sweep. It writes the reason to `result.json`, and the sweep runs its other cells. A cell in
its own process also raises the reason, so that the sweep knows it even if `result.json` could not be written.
"""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ecg_lightning.commands.already_finished import already_finished
from ecg_lightning.compression.schema import TrainConfig
from ecg_lightning.config import schema as config
from ecg_lightning.config import validation
from ecg_lightning.errors import (
    CheckpointError,
    ConfigError,
    DiskFullError,
    HardwareUnavailableError,
    RunLockedError,
    UnsupportedModelError,
    UserError,
    fail,
)
from ecg_lightning.results.delayed_files import discard_delayed_files
from ecg_lightning.results.finished import has_checkpoints, is_finished, status_of
from ecg_lightning.results.results import RunResult, UnfinishedError, read_result
from ecg_lightning.system import stopping
from ecg_lightning.system.disk import explain_full, is_full, leave_full_disks_to_the_main_thread
from ecg_lightning.system.run_lock import locked
from ecg_lightning.text import explain_error, shortened

log = logging.getLogger(__name__)

FAILED = 1
INTERRUPTED = 130

Run = Callable[[Any, dict[str, str], list[str]], RunResult]
Validate = Callable[[DictConfig], None]


def run_job(cfg: DictConfig, run: Run, validate: Validate, raising: bool = False) -> float | None:
    """Check and run one Hydra job in its folder, and write any failure into the job's log and `result.json`.

    Args:
        cfg: the composed configuration.
        run: function of the job, from its settings (`TrainConfig` or `CompressConfig`), choices and overrides.
        validate: function that checks its settings.
        raising: whether to raise the failure of the job for a program, instead of ending the process.

    Returns:
        The result's score. Without a score it is None, which a search counts as a failed trial before it continues.
    """
    settings = HydraConfig.get()
    output_dir = Path(settings.runtime.output_dir)
    in_sweep = settings.mode == RunMode.MULTIRUN
    _quieten()
    with stopping.answered():
        try:
            with locked(output_dir):
                return _run_in(output_dir, cfg, run, validate, raising)
        except (RunLockedError, OSError) as error:  # nothing is written: another run is there, or no space
            if raising or _in_cell() or not (isinstance(error, RunLockedError) or is_full(error)):
                raise
            if not in_sweep:
                fail(_reason(error, output_dir), UserError.exit_code)
            log.error("failed: %s", _reason(error, output_dir))
            return None
        finally:
            discard_delayed_files()


def _run_in(output_dir: Path, cfg: DictConfig, run: Run, validate: Validate, raising: bool) -> float | None:
    hydra = HydraConfig.get()
    groups = ("data", "frontend", "model", "compression", "hardware", "experiment")
    choices = {name: str(hydra.runtime.choices[name]) for name in groups if hydra.runtime.choices.get(name)}
    overrides = list(hydra.overrides.task)
    if cfg.ckpt_path not in ("last", "auto") and (is_finished(output_dir) or has_checkpoints(output_dir)):
        go_on = ", or resume the run with ckpt_path=auto" if "train" in cfg else ""
        occupied = f"{output_dir} already holds a run. Name another folder with hydra.run.dir=DIR{go_on}"
        if raising:
            raise ConfigError(occupied)
        fail(occupied, UserError.exit_code)
    failure = RunResult(choices=choices, overrides=overrides, seed=cfg.seed)
    try:
        settings = _checked(cfg, choices, validate)
        if isinstance(settings, TrainConfig) and (sentence := already_finished(settings, output_dir)):
            log.info("%s", sentence)
            score: float | None = read_result(output_dir).get("score")
            return score
        try:
            result = run(settings, choices, overrides)
        except UnfinishedError as unfinished:
            failure = dataclasses.replace(unfinished.result, status="failed")
            raise unfinished.cause from None
    except BaseException as error:
        if stopping.asked() or (isinstance(error, KeyboardInterrupt) and not _in_cell()):  # or an error after a stop
            _end_interrupted(failure, output_dir, raising)
        _end_failed(error, failure, output_dir, raising)
        return None  # so that the sweep's other cells run
    finally:
        _release_memory()
    if not (hydra.mode == RunMode.MULTIRUN or raising):
        from ecg_lightning.reports.sweep_table import report_run

        report_run(output_dir)
    return result.score


def _checked(cfg: DictConfig, choices: dict[str, str], validate: Validate) -> Any:
    """Return the settings of the job, `TrainConfig` or `CompressConfig`.

    Raises:
        UserError: the settings cannot work.
    """
    validation.check_experiment(cfg.get("for_model"), choices)
    if new_name := validation.RENAMED_EXPERIMENTS.get(choices.get("experiment", "")):
        log.warning(
            "experiment=%s is now called experiment=%s; the next version drops the old name",
            choices["experiment"],
            new_name,
        )
    validate(cfg)
    return config.settings_of(cfg)


def _end_failed(error: BaseException, failure: RunResult, output_dir: Path, raising: bool) -> None:
    """Write and log why the job failed, and end the process. In a sweep, the process goes on.

    Raises:
        BaseException: the error itself with `raising`, or its reason in the process of a cell.
    """
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    skipped = isinstance(error, HardwareUnavailableError | UnsupportedModelError) and in_sweep
    failure.status, failure.reason = "skipped" if skipped else "failed", _reason(error, output_dir)
    refused = isinstance(error, CheckpointError | ConfigError) and not in_sweep
    if not (refused and status_of(output_dir) == "interrupted"):  # its reason explains how to resume
        _write_failure(failure, output_dir)
    if skipped:
        log.warning("skipped: %s", failure.reason)
        return
    if raising:
        raise error
    if not (isinstance(error, UserError) or is_full(error)):
        log.error("%s", traceback.format_exc())
    if not in_sweep:
        code = DiskFullError.exit_code if is_full(error) else FAILED
        fail(failure.reason, error.exit_code if isinstance(error, UserError) else code)
    log.error("failed: %s", failure.reason)
    if _in_cell():
        raise UserError(failure.reason) from None


def _end_interrupted(failure: RunResult, output_dir: Path, raising: bool) -> NoReturn:
    """Write that a signal stopped the run, print how to resume it, and end the process with the signal's exit code."""
    by = stopping.name() or "KeyboardInterrupt"
    code = stopping.end() or INTERRUPTED
    settings = HydraConfig.get()
    in_sweep = settings.mode == RunMode.MULTIRUN
    if failure.variants:
        how = f"the finished variants are in {output_dir / 'variants'}"
    elif not has_checkpoints(output_dir):
        how = "no checkpoint was saved, so the same command starts from the beginning"
    else:
        how = f"run the same command with ckpt_path=auto hydra.run.dir={output_dir} to resume"
    if in_sweep:
        how = "run the same command again to resume"
    told_by_sweep = in_sweep and _in_cell()  # once for all its cells
    failure.status, failure.reason = "interrupted", f"stopped by {by}" + ("" if told_by_sweep else f"; {how}")
    _write_failure(failure, output_dir)
    if told_by_sweep:
        sys.exit(code)
    if in_sweep:  # Hydra does not reach its own end of a sweep
        from ecg_lightning.reports.sweep_table import report_sweep

        report_sweep(Path(settings.sweep.dir))
    print(f"interrupted: {failure.reason}", file=sys.stderr)
    if raising:
        raise KeyboardInterrupt
    sys.exit(code)


def _in_cell() -> bool:
    """Return whether this is the process of one cell, which sends its failures to the sweep's process."""
    return multiprocessing.parent_process() is not None


def _reason(error: BaseException, output_dir: Path) -> str:
    """Return why a job failed, in one sentence if the user can act on it."""
    return shortened(_whole_reason(error, output_dir))


def _whole_reason(error: BaseException, output_dir: Path) -> str:
    if isinstance(error, UserError):
        return str(error)
    if is_full(error):
        name = error.filename if isinstance(error, OSError) else None
        return explain_full(Path(name) if isinstance(name, str) else output_dir)
    if isinstance(error, KeyboardInterrupt):
        return "the run raised KeyboardInterrupt without a stop signal"
    if isinstance(error, SystemExit):
        return f"the run called sys.exit({error.code})"
    return explain_error(error)


def _write_failure(failure: RunResult, folder: Path) -> None:
    """Write the reason for a missing result to `result.json`. A finished run's result is never overwritten."""
    try:
        if not is_finished(folder):
            failure.write(folder)
    except (UserError, OSError) as error:  # the reason itself must still be reported
        log.debug("result.json cannot be written: %s", error)


def _quieten() -> None:
    """Silence advice that does not apply here, for example on workers, which only slow this loader down."""
    import warnings

    logging.raiseExceptions = False  # no tracebacks for a log that cannot be written, as on a full disk
    leave_full_disks_to_the_main_thread()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler writes to the terminal
    for notice in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*resuming from a checkpoint that ended before the epoch ended.*",  # our sampler resumes at its place
    ):
        warnings.filterwarnings("ignore", notice)


def _release_memory() -> None:
    """Release a cell's memory before the next cell starts."""
    import gc

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
