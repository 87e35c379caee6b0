"""One Hydra job: check, run, and put any failure into the job's log and `result.json`.

A job never lets an exception end a sweep: it writes `result.json` with the reason and the sweep goes on.
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

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ecg_lightning import validation
from ecg_lightning.errors import HardwareUnavailableError, UnsupportedModelError, UserError, fail
from ecg_lightning.runs.results import RESULT_FILE, RunResult, UnfinishedError, read_result

log = logging.getLogger(__name__)

FAILED = 1
INTERRUPTED = 130


def run_job(
    cfg: DictConfig,
    run: Callable[[DictConfig, dict[str, str], list[str]], RunResult],
    validate: Callable[[DictConfig], None],
) -> float | None:
    """One Hydra job: check, run, and put any failure into the job's log and `result.json`."""
    settings = HydraConfig.get()
    output_dir = Path(settings.runtime.output_dir)
    in_sweep = settings.mode == RunMode.MULTIRUN
    groups = ("data", "frontend", "model", "compression", "hardware", "experiment")
    choices = {name: str(settings.runtime.choices[name]) for name in groups if settings.runtime.choices.get(name)}
    overrides = list(settings.overrides.task)
    _quieten()
    if cfg.ckpt_path != "last" and _holds_a_run(output_dir):
        go_on = ", or go on with it by ckpt_path=last" if "train" in cfg else ""
        fail(
            f"{output_dir} already holds a run: name another folder with hydra.run.dir=DIR{go_on}", UserError.exit_code
        )
    failure = RunResult(choices=choices, overrides=overrides, seed=cfg.seed)
    try:
        validation.check_experiment(choices.get("experiment"), choices.get("model", ""))
        validate(cfg)
        OmegaConf.set_readonly(cfg, True)
        try:
            result = run(cfg, choices, overrides)
        except UnfinishedError as unfinished:
            failure = dataclasses.replace(unfinished.result, status="failed")
            raise unfinished.cause from None
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns Ctrl-C and SIGTERM into SystemExit; a bare one would end a sweep as if all were well.
        kept = _has_checkpoints(output_dir)
        how = f"go on with ckpt_path=last hydra.run.dir={output_dir}" if kept else "no epoch was finished, start anew"
        if (output_dir / "variants").is_dir():
            how = f"the files of the variants that were finished are in {output_dir / 'variants'}"
        failure.status, failure.reason = "interrupted", f"stopped by the user or the system; {how}"
        _write_failure(failure, output_dir)
        if in_sweep and multiprocessing.parent_process() is None:  # Hydra's own end of a sweep is not reached
            from ecg_lightning.runs.sweep import report_sweep

            report_sweep(Path(settings.sweep.dir))
        print(f"interrupted: {failure.reason}", file=sys.stderr)
        sys.exit(143 if type(stop).__name__ == "SIGTERMException" else INTERRUPTED)
    except (HardwareUnavailableError, UnsupportedModelError) as error:
        failure.status, failure.reason = "skipped" if in_sweep else "failed", str(error)
        _write_failure(failure, output_dir)
        if not in_sweep:
            fail(str(error), error.exit_code)
        log.warning("skipped: %s", error)
        return None  # which a search takes for a failed trial, and goes on
    except Exception as error:  # whatever it is, the sweep's other cells must run
        expected = isinstance(error, UserError)
        failure.reason = str(error) if expected else f"{type(error).__name__}: {error}"
        _write_failure(failure, output_dir)
        if not expected:
            log.error("%s", traceback.format_exc())
        if not in_sweep:
            fail(failure.reason, getattr(error, "exit_code", FAILED))
        log.error("failed: %s", failure.reason)
        return None
    finally:
        _release_memory()
    if not in_sweep:
        from ecg_lightning.runs.sweep import report_run

        report_run(Path(cfg.paths.output_dir))
    return result.score


def _holds_a_run(folder: Path) -> bool:
    """Whether a folder holds something that another run would overwrite."""
    return _is_finished(folder) or _has_checkpoints(folder)


def _has_checkpoints(folder: Path) -> bool:
    """Of a training, or of one of a cross-validation's."""
    return any(any(folder.glob(pattern)) for pattern in ("checkpoints/last.ckpt", "fold*/checkpoints/last.ckpt"))


def _is_finished(folder: Path) -> bool:
    return (folder / RESULT_FILE).exists() and read_result(folder)["status"] == "ok"


def _write_failure(failure: RunResult, folder: Path) -> None:
    """Say in `result.json` why there is no result; a finished run's own is never lost to a refused second try."""
    if not _is_finished(folder):
        failure.write(folder)


def _quieten() -> None:
    """Leave out advice that does not fit here: workers only slow this loader down."""
    import warnings

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler speaks on the terminal
    for notice in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", notice)


def _release_memory() -> None:
    """Give a cell's memory back before the next one starts."""
    import gc

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
