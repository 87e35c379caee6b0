"""The way from the command line to jobs: Hydra's mains, and errors as one sentence."""

from __future__ import annotations

import importlib
import logging
import os
import string
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ecg_lightning.commands.job import FAILED, INTERRUPTED, run_job
from ecg_lightning.compression.schema import CompressConfig, TrainConfig
from ecg_lightning.config import conf_folder, validation
from ecg_lightning.config import schema as config
from ecg_lightning.config.composition_errors import explain, explain_option
from ecg_lightning.config.named_files import check_named_files
from ecg_lightning.config.quoting import quote_paths
from ecg_lightning.config.safe_composition import SweepError, check_control_characters
from ecg_lightning.errors import ConfigError, RefusedExit, UserError, fail
from ecg_lightning.results.results import RunResult, read_result
from ecg_lightning.system.disk import explain_full, is_full, leave_full_disks_to_the_main_thread
from ecg_lightning.system.long_steps import long_step
from ecg_lightning.text import explain_os_error
from ecg_lightning.version import __version__

log = logging.getLogger(__name__)

_FULL_ERROR = "HYDRA_FULL_ERROR"


def train(arguments: Sequence[str] | None = None) -> None:
    """Run `python train.py …` and `ecg-lightning train …`.

    Args:
        arguments: the command line; None for this process's arguments.
    """
    _launch(_train_job, "train", arguments)


def compress(arguments: Sequence[str] | None = None) -> None:
    """Run `python compress.py …` and `ecg-lightning compress …`. The arguments are those of `train`."""
    _launch(_compress_job, "compress", arguments)


def compose(*overrides: str) -> dict[str, Any]:
    """Return the configuration of `conf/train.yaml` with overrides, without running anything.

    Raises:
        ConfigError: it cannot be composed.
    """
    config.register()
    try:
        with hydra.initialize_config_dir(str(conf_folder.config_dir()), version_base="1.3"):
            return config.plain(hydra.compose("train", [*quote_paths(overrides), "paths.output_dir=unused"]))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from None


def compose_without_local(*overrides: str) -> dict[str, Any]:
    """Return the same configuration without the settings of the user's own `conf/local/default.yaml`."""
    has_local = (conf_folder.config_dir() / "local" / "default.yaml").is_file()
    return compose(*overrides, *(["~local"] if has_local else []))


def run_once(name: str, overrides: Sequence[str]) -> RunResult:
    """Run one training or compression for a program, and return its result. Mistakes are raised.

    Args:
        name: `train` or `compress`.
        overrides: the command line's settings.

    Raises:
        UserError: a mistake in the settings, the data or a file.
    """
    for override in overrides:
        if not isinstance(override, str) or override.startswith("-"):
            raise ConfigError(f"{override}: {name}() takes settings such as 'seed=1', and no options of a command line")
        if override.lstrip("+").startswith(("hydra.mode=", "hparams_search=")):
            raise ConfigError(f"{override}: {name}() runs one setting at a time")
    folder = Path()
    failure: Exception | None = None

    def job(cfg: DictConfig) -> None:
        nonlocal folder, failure
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            (_train_job if name == "train" else _compress_job)(cfg, raising=True)
        except Exception as error:  # Hydra would print more than its sentence
            failure = error

    try:
        with _errors_raised(), _own_logging():
            _run_hydra_main(job, name, overrides)
    except SweepError as error:
        raise ConfigError(
            f"{error.override}: {name}() runs one setting at a time; call it once for each value"
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, name)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"a file of the configuration cannot be read: {' '.join(str(error).split())}") from None
    except RefusedExit as refusal:
        raise refusal.error from None
    except OSError as error:
        raise UserError(_explain_files(error, overrides)) from None
    except ValueError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise UserError(_explain_files(error.__cause__, overrides)) from None
    if failure is not None:
        raise failure
    result = RunResult(**read_result(folder))
    result.folder = folder
    return result


@contextmanager
def _own_logging() -> Iterator[None]:
    """Restore a program's own log handlers at the end, because Hydra replaces them."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in {*root.handlers} - {*before}:
            root.removeHandler(handler)
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)


def _train_job(cfg: DictConfig, raising: bool = False) -> float | None:
    def run(settings: TrainConfig, choices: dict[str, str], overrides: list[str]) -> RunResult:
        check_named_files(settings)
        if not settings.train:
            validation.check_without_effect(overrides)
        _load_libraries("ecg_lightning.training.run")
        if settings.cross_validation:
            from ecg_lightning.training.cross_validation import run

            return run(settings, choices, overrides)
        hydra = HydraConfig.get()
        in_sweep = hydra.mode == RunMode.MULTIRUN
        if settings.compression.deploy:
            from ecg_lightning.compression.run import run_after_training

            shared = Path(hydra.sweep.dir) / "trainings" if in_sweep else None
            return run_after_training(settings, choices, overrides, shared)
        from ecg_lightning.training.run import run  # slow imports, only for a job that really runs

        return run(settings, choices, overrides)

    return run_job(cfg, run, validation.validate, raising)


def _compress_job(cfg: DictConfig, raising: bool = False) -> float | None:
    def run(settings: CompressConfig, choices: dict[str, str], overrides: list[str]) -> RunResult:
        check_named_files(settings)
        _load_libraries("ecg_lightning.compression.run")
        from ecg_lightning.compression.run import run

        return run(settings, choices, overrides)

    return run_job(cfg, run, validation.validate_compression, raising)


def _load_libraries(module: str) -> None:
    """Import a module of this package, and log it, because it takes seconds, or a minute on a busy machine."""
    if module not in sys.modules:
        with long_step(log, "loading PyTorch"):
            importlib.import_module(module)


def _launch(job: Callable[[DictConfig], float | None], name: str, arguments: Sequence[str] | None) -> None:
    """Run Hydra's main. A user's mistake becomes one sentence and an exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    wants_trace = os.environ.get(_FULL_ERROR) == "1"
    leave_full_disks_to_the_main_thread()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # Optuna's storage uses it; it lists its plugins
    try:
        with _errors_raised():
            _run_hydra_main(job, name, given)
    except (HydraException, OmegaConfBaseException, UserError) as error:
        if wants_trace:
            raise
        fail(explain(error, name, given), UserError.exit_code)
    except RefusedExit as refusal:
        fail(str(refusal.error), refusal.error.exit_code)
    except yaml.YAMLError as error:
        fail(f"a file of the configuration cannot be read: {' '.join(str(error).split())}", UserError.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        fail(_explain_files(error, given), UserError.exit_code)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except Exception as error:  # a job's errors do not come here, so this is Hydra's composition
        if wants_trace:
            raise
        if isinstance(error.__cause__, OSError):  # `logging` could not open the log file
            fail(_explain_files(error.__cause__, given), UserError.exit_code)
        reason = " ".join(str(error).split()) or type(error).__name__
        if "No trials are completed yet" in reason or reason == "Record does not exist.":  # Optuna's, of a saved search
            fail("no trial of the search finished. The reason of each is printed above", FAILED)
        if type(error).__module__.startswith("sqlalchemy"):
            reason = reason.split(" (Background on this error")[0]
            fail(
                f"hydra.sweeper.storage cannot be opened ({reason}): name a file in a folder that is there, as in "
                'hydra.sweeper.storage="sqlite:///FILE"',
                UserError.exit_code,
            )
        fail(f"the configuration cannot be composed ({reason}); HYDRA_FULL_ERROR=1 shows where", UserError.exit_code)


def _explain_files(error: OSError, given: Sequence[str]) -> str:
    """Return which file or folder cannot be read or written, and why."""
    named = [part.partition("=")[2] for part in given if part.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    folder = named[-1] if named else "."
    if is_full(error):
        return explain_full(Path(error.filename or folder))
    return explain_os_error(error, folder)


def _run_hydra_main(job: Callable[[DictConfig], object], name: str, arguments: Sequence[str]) -> None:
    """Do the same as `hydra.main`, but with any arguments."""
    config.register()
    check_control_characters([*arguments], "argument")
    version.setbase("1.3")
    parser = get_args_parser()
    parser.error = _refuse_arguments  # type: ignore[method-assign]
    if "--version" in arguments:
        print(f"ecg-lightning {__version__}")
        return
    # In this order, because argparse stops at an option after an override.
    parsed, unknown = parser.parse_known_args(sorted(arguments, key=_is_override))
    if unknown:
        raise ConfigError(explain_option(unknown[0], name))
    swept = parsed.multirun or "hydra.mode=MULTIRUN" in parsed.overrides
    parsed.overrides = quote_paths(parsed.overrides, swept=swept)
    if parsed.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun reads a pickle, which can run code. Repeat the run with the settings of its "
            ".hydra/overrides.yaml"
        )
    with _own_help(name) if parsed.help else nullcontext():
        _run_hydra(parsed, parser, job, str(conf_folder.config_dir()), name)


@contextmanager
def _own_help(program: str) -> Iterator[None]:
    """Print the options and settings of this program, each explained, in Hydra's text of `--help`."""
    from ecg_lightning.config.settings_reference import groups_text, settings_text

    def get_help(self: Hydra, help_cfg: DictConfig, cfg: DictConfig, *_: Any, **__: Any) -> str:
        known = {"OPTIONS": groups_text(program), "SETTINGS": settings_text(cfg)}
        return string.Template(help_cfg.template).safe_substitute(known)

    hydras = Hydra.get_help
    Hydra.get_help = get_help  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_help = hydras  # type: ignore[method-assign]


def _refuse_arguments(message: str) -> NoReturn:
    """Raise argparse's message, which it would print below its usage."""
    raise ConfigError(f"{message}; --hydra-help explains the options")


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Make Hydra raise its errors. It would otherwise print its own message and end the process."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ.pop(_FULL_ERROR)
        os.environ.update({} if before is None else {_FULL_ERROR: before})


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))
