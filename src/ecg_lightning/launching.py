"""From the command line to runs: Hydra's main, one job, and errors as one sentence.

A job never lets an exception end a sweep: it writes `result.json` with the reason and the sweep goes on.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ecg_lightning import config, validation
from ecg_lightning.errors import HardwareUnavailableError, UnsupportedModelError, UserError
from ecg_lightning.runs.results import RESULT_FILE, RunResult, UnfinishedError, read_result

log = logging.getLogger(__name__)

FAILED = 1
INTERRUPTED = 130
_TRAINING_ALONE = ("model", "frontend", "train", "test", "experiment")


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

    return _job(cfg, run, validation.validate)


def _compress_job(cfg: DictConfig) -> float | None:
    def run(cfg: DictConfig, choices: dict[str, str], overrides: list[str]) -> RunResult:
        from ecg_lightning.compressing import run

        return run(cfg, choices, overrides)

    return _job(cfg, run, validation.validate_compression)


def _job(
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
        _fail(
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
        if in_sweep:  # Hydra's own end of a sweep is not reached
            from ecg_lightning.runs.sweep import report_sweep

            report_sweep(Path(settings.sweep.dir))
        print(f"interrupted: {failure.reason}", file=sys.stderr)
        sys.exit(143 if type(stop).__name__ == "SIGTERMException" else INTERRUPTED)
    except (HardwareUnavailableError, UnsupportedModelError) as error:
        failure.status, failure.reason = "skipped" if in_sweep else "failed", str(error)
        _write_failure(failure, output_dir)
        if not in_sweep:
            _fail(str(error), error.exit_code)
        log.warning("skipped: %s", error)
        return None  # which a search takes for a failed trial, and goes on
    except Exception as error:  # whatever it is, the sweep's other cells must run
        expected = isinstance(error, UserError)
        failure.reason = str(error) if expected else f"{type(error).__name__}: {error}"
        _write_failure(failure, output_dir)
        if not expected:
            log.error("%s", traceback.format_exc())
        if not in_sweep:
            _fail(failure.reason, getattr(error, "exit_code", FAILED))
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
        _fail(explain(error), UserError.exit_code)
    except yaml.YAMLError as error:
        _fail(f"a file of the configuration is no YAML: {' '.join(str(error).split())}", UserError.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", UserError.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except Exception as error:  # a job's own never come here: this is Hydra's composition
        if wanted_trace:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if "No trials are completed yet" in reason or reason == "Record does not exist.":  # Optuna's, of a kept search
            _fail("no trial of the search finished: each one's reason stands above", FAILED)
        if type(error).__module__.startswith("sqlalchemy"):
            reason = reason.split(" (Background on this error")[0]
            _fail(
                f"hydra.sweeper.storage cannot be opened ({reason}): name a file in a folder that is there, as in "
                'hydra.sweeper.storage="sqlite:///FILE"',
                UserError.exit_code,
            )
        _fail(f"the configuration cannot be composed ({reason}); HYDRA_FULL_ERROR=1 shows where", UserError.exit_code)


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def explain(error: BaseException) -> str:
    """One sentence for an error of Hydra's composition or of this package, with the nearest known name."""
    if isinstance(error, UserError):
        return str(error)
    messages: list[str] = []
    link: BaseException | None = error
    while link is not None and len(messages) < 5:
        messages.append(str(link))
        link = link.__cause__ or link.__context__
    text = "\n".join(messages)
    if match := re.search(r"Key '([^']+)' (?:is not in struct|not in '\w+')(?:.|\n)*?full_key: (\S+)", text):
        return _explain_key(match.group(2))
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match.group(1)}: several values are a sweep: add -m"
    if match := re.search(r"Could not override '([^']+)'", text):
        detail = re.search(r"(Value '.*?' of type '.*?' could not be converted to \w+|Invalid value .*)", text)
        if detail:
            return f"{match.group(1)}: {detail.group(1)}"
        return _explain_key(match.group(1))
    if match := re.search(r"(Value '.*?' of type '.*?' could not be converted to \w+)(?:.|\n)*?full_key: (\S+)", text):
        return f"{match.group(2)}: {match.group(1)}"
    if match := re.search(
        r"(?:In '.*?': )?Could not find '([\w/]+)/([^'/]+)'(?:.|\n)*?Available options in '.*?':\n((?:\t\S+\n?)+)", text
    ):
        group, option, options = match.group(1), match.group(2), match.group(3).split()
        if (group, option) == ("hydra/sweeper", "optuna"):
            return "hydra-optuna-sweeper is not installed; install it with: pip install 'ecg-lightning[search]'"
        return f"{group}={option}: allowed are {', '.join(options)}.{config.did_you_mean(option, options)}"
    if match := re.search(r"In 'schema/(\w+)/(\w+)'(?:.|\n)*?is not a subclass of", text):
        return f"{match.group(1)}={match.group(2)}: this program cannot use that option; --help lists its own"
    told = messages[:2] if messages[0].startswith("Error merging override") else messages[:1]
    return re.sub(r"\s+", " ", ": ".join(told)).strip()


def _explain_key(key: str) -> str:
    """The deepest known part of an unknown key, what it holds, and the nearest name."""
    if key.startswith("hydra."):
        return f"{key}: Hydra has no such setting; those of this project are hydra.run.dir and hydra.sweep.dir"
    if match := re.fullmatch(r"compression\.stages\.\w+(?:\.(\w+))?", key):
        names = {entry.name for schema in config.SCHEMAS["stage"].values() for entry in dataclasses.fields(schema)}
        return (
            f"{key}: the chosen compression has no such stage, or the stage no such key; python compress.py "
            f"compression=NAME --cfg job shows them.{config.did_you_mean(match.group(1) or '', sorted(names))}"
        )
    if "compress" in Path(sys.argv[0].split()[-1]).stem and key.split(".")[0] in _TRAINING_ALONE:
        return f"{key}: compress.py takes it from the checkpoint; train.py has it"
    known = OmegaConf.create(_known_keys())
    parent, parts = known, key.lstrip("+").split(".")
    for depth, part in enumerate(parts):
        if not isinstance(parent, DictConfig) or part not in parent:
            where = ".".join(parts[:depth])
            options = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
            full = f"{where}.{part}" if where else part
            if where == "trainer.extra":
                return f"{key}: trainer.extra holds nothing yet; add to it with +{key}=VALUE"
            if where == "callbacks.extra":
                return f"{key}: no such callback was chosen; callbacks=ema and callbacks=swa bring one each"
            inside = f"{where} holds" if where else "known are"
            return f"{full}: there is no such key; {inside} {', '.join(options)}.{config.did_you_mean(part, options)}"
        parent = parent[part]
    group, _, name = key.partition(".")
    having = [
        option
        for option, schema in config.SCHEMAS.get(group, {}).items()
        if name.split(".")[0] in {entry.name for entry in dataclasses.fields(schema)}
    ]
    return f"{key}: the chosen {group} has no such key; these options have it: {', '.join(having) or 'none'}"


def _known_keys() -> dict[Any, Any]:
    """Every key of the schemas; a group's options are merged, since the error does not say which one was chosen."""
    known = OmegaConf.to_container(OmegaConf.structured(config.TrainConfig), throw_on_missing=False)
    assert isinstance(known, dict)
    for group, options in config.SCHEMAS.items():
        for schema in options.values() if group in known else ():
            known[group] |= OmegaConf.to_container(OmegaConf.structured(schema), throw_on_missing=False)
    known["callbacks"]["early_stopping"] = OmegaConf.to_container(OmegaConf.structured(config.EarlyStoppingConfig))
    return known


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


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
