"""From the command line to jobs: Hydra's mains, and errors as one sentence."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ecg_lightning import config, validation
from ecg_lightning.composition_errors import explain
from ecg_lightning.disk import explain_full, is_full
from ecg_lightning.errors import UserError, fail
from ecg_lightning.job import FAILED, INTERRUPTED, run_job
from ecg_lightning.runs.results import RunResult

log = logging.getLogger(__name__)


def train() -> None:
    """`python train.py …` and `ecg-lightning train …`."""
    config.register()
    _launch(hydra.main(version_base="1.3", config_path=str(config.config_dir()), config_name="train")(_train_job))


def compress() -> None:
    """`python compress.py …` and `ecg-lightning compress …`."""
    config.register()
    _launch(hydra.main(version_base="1.3", config_path=str(config.config_dir()), config_name="compress")(_compress_job))


def compose_without_local(*overrides: str) -> dict[str, Any]:
    """`conf/train.yaml` with overrides, without what the user's own `conf/local/default.yaml` sets."""
    config.register()
    folder = config.config_dir()
    own = ["~local"] if (folder / "local" / "default.yaml").is_file() else []
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        return config.plain(hydra.compose("train", [*overrides, *own, "paths.output_dir=unused"]))


def _train_job(cfg: DictConfig) -> float | None:
    def run(cfg: DictConfig, choices: dict[str, str], overrides: list[str]) -> RunResult:
        if cfg.cross_validation:
            from ecg_lightning.cross_validation import run

            return run(cfg, choices, overrides)
        settings = HydraConfig.get()
        in_sweep = settings.mode == RunMode.MULTIRUN
        if cfg.compression.stages or any(part.startswith("compression=") for part in overrides):
            from ecg_lightning.compressing import run_after_training

            shared = Path(settings.sweep.dir) / "trainings" if in_sweep else None
            return run_after_training(cfg, choices, overrides, shared)
        from ecg_lightning.training import run  # seconds of imports: only when a job really runs

        return run(cfg, choices, overrides)

    return run_job(cfg, run, validation.validate)


def _compress_job(cfg: DictConfig) -> float | None:
    def run(cfg: DictConfig, choices: dict[str, str], overrides: list[str]) -> RunResult:
        from ecg_lightning.compressing import run

        return run(cfg, choices, overrides)

    return run_job(cfg, run, validation.validate_compression)


def _launch(main: Callable[[], object]) -> None:
    """Run Hydra's main; a user's mistake becomes one sentence and an exit code."""
    sys.argv[1:] = sorted(sys.argv[1:], key=_is_override)  # argparse stops at the first flag after an override
    wanted_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors itself, and in its own words
    logging.getLogger("alembic").setLevel(logging.WARNING)  # of Optuna's storage, which lists its plugins
    try:
        main()
    except (HydraException, OmegaConfBaseException, UserError) as error:
        if wanted_trace:
            raise
        fail(explain(error), UserError.exit_code)
    except yaml.YAMLError as error:
        fail(f"a file of the configuration is no YAML: {' '.join(str(error).split())}", UserError.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        named = [part.partition("=")[2] for part in sys.argv if part.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
        folder = named[-1] if named else "."
        if is_full(error):
            fail(explain_full(Path(error.filename or folder)), UserError.exit_code)
        fail(f"{error.filename or folder}: {error.strerror or error}", UserError.exit_code)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except Exception as error:  # a job's own never come here: this is Hydra's composition
        if wanted_trace:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if "No trials are completed yet" in reason or reason == "Record does not exist.":  # Optuna's, of a kept search
            fail("no trial of the search finished: each one's reason stands above", FAILED)
        if type(error).__module__.startswith("sqlalchemy"):
            reason = reason.split(" (Background on this error")[0]
            fail(
                f"hydra.sweeper.storage cannot be opened ({reason}): name a file in a folder that is there, as in "
                'hydra.sweeper.storage="sqlite:///FILE"',
                UserError.exit_code,
            )
        fail(f"the configuration cannot be composed ({reason}); HYDRA_FULL_ERROR=1 shows where", UserError.exit_code)


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))
