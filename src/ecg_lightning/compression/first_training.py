"""The training before a compression. In a sweep, several cells may share it."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import filelock

from ecg_lightning.compression.schema import TrainConfig
from ecg_lightning.errors import UserError
from ecg_lightning.results.results import TRAINING_FILE, RunResult, hash_config, read_training
from ecg_lightning.system.run_lock import remove_half_written
from ecg_lightning.training.provenance import write_config
from ecg_lightning.training.run import run as train
from ecg_lightning.training.shared_runs import keep_refused, raise_refused, start_or_go_on

log = logging.getLogger(__name__)

_NOT_OF_THE_TRAINING = ("compression", "paths", "hardware", "task_name")


def train_first(
    settings: TrainConfig,
    choices: Mapping[str, str] | None,
    overrides: Sequence[str],
    shared_dir: Path | None,
) -> tuple[RunResult, Path]:
    """Return the result and the folder of a training. A sweep's cells with the same training share it.

    Args:
        settings: settings of the run.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.
        shared_dir: folder of a sweep's shared trainings; None if the run trains for itself.

    Raises:
        UserError: an error that the user can correct, also if another cell of the sweep was refused.
    """
    output_dir = Path(settings.paths.output_dir)
    if shared_dir is None:
        return train(settings, choices, overrides, result_file=TRAINING_FILE), output_dir
    content = {key: value for key, value in asdict(settings).items() if key not in _NOT_OF_THE_TRAINING}
    content["precision"] = settings.hardware.precision
    folder = (shared_dir / hash_config(content)[:12]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):  # held by the cell that trains, while those beside it wait
        if not (folder / TRAINING_FILE).is_file():
            _train_in(folder, settings, choices, overrides)
        else:
            log.info("using the training of %s in %s", settings.model.kind, folder)
        result = read_training(folder)
    write_config(asdict(settings), output_dir, result)
    result.choices, result.overrides = dict(choices or {}), list(overrides)
    checkpoints = {name: path for name, path in result.artifacts.items() if name != "config"}
    result.artifacts = {"config": "config.yaml"} | {
        name: os.path.relpath(folder / path, output_dir) for name, path in checkpoints.items()
    }
    return result, folder


def _train_in(folder: Path, settings: TrainConfig, choices: Mapping[str, str] | None, overrides: Sequence[str]) -> None:
    """Train in the shared folder, or resume a training that an earlier command left there."""
    raise_refused(folder)
    remove_half_written(folder)
    own = copy.deepcopy(settings)
    own.paths.output_dir, own.ckpt_path = str(folder), start_or_go_on(folder)
    try:
        train(own, choices, overrides, result_file=TRAINING_FILE)
    except UserError as error:  # every other cell would meet it again
        keep_refused(folder, error)
        raise
