"""A training run: prepare, fit, score and describe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from ecg_lightning.checkpoints.building import build_loggers
from ecg_lightning.errors import ConfigError
from ecg_lightning.results.results import RESULT_FILE, RunResult
from ecg_lightning.system.run_lock import remove_half_written
from ecg_lightning.training.describing import describe
from ecg_lightning.training.fitting import Fitted, fit
from ecg_lightning.training.preparing import prepare
from ecg_lightning.training.provenance import begin
from ecg_lightning.training.schema import TrainingConfig
from ecg_lightning.training.scoring import score


@contextmanager
def _refusals_explained() -> Iterator[None]:
    """Explain settings that Lightning refuses, because the user can correct them."""
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(f"Lightning's Trainer refuses these settings: {' '.join(str(error).split())}") from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            "batch normalization cannot train on one value per channel. Set data.batch_size to at least 2, or a "
            "larger frontend.size"
        ) from None


@_refusals_explained()
def run(
    settings: TrainingConfig,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    result_file: str = RESULT_FILE,
) -> RunResult:
    """Train and test, or only test, as a checked configuration describes, and return the result.

    Args:
        settings: checked settings.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.
        result_file: file name of the result.

    Returns:
        The result, also written to `paths.output_dir`. Its score is the monitored metric of the scored epoch.

    Raises:
        UserError: an error that the user can correct. It is raised before the training if possible.
    """
    output_dir = Path(settings.paths.output_dir)
    remove_half_written(output_dir)
    device, result = begin(settings.hardware, settings.seed, choices, overrides)
    prepared = prepare(settings, device, result)
    loggers = build_loggers(settings.logger, str(output_dir))
    fitted = fit(settings, prepared, loggers, result) if settings.train else Fitted()
    outcome = score(settings, prepared, result)
    describe(settings, prepared, outcome, fitted, loggers, result, result_file)
    return result
