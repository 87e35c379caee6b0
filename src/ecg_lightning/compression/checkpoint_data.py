"""The data of a compression: the checkpoint's own data, or other data with the same task and folds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ecg_lightning.checkpoints.building import build_datamodule
from ecg_lightning.compression.schema import CompressionSettings
from ecg_lightning.data.ptbxl_source import SyntheticSource
from ecg_lightning.data.schema import DataConfig, PTBXLConfig
from ecg_lightning.errors import CheckpointError, ConfigError, DataError
from ecg_lightning.training.preparing import of_its_task

log = logging.getLogger(__name__)

_KEPT = ("train_folds", "val_folds", "test_folds", "keep_unlabelled", "labels", "batch_size")
"""Settings of a checkpoint's data that another folder (data=ptbxl data.root=DIR) does not change."""


def data_settings(settings: CompressionSettings, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checkpoint's data settings. A setting of the command line wins if it keeps the task.

    Args:
        settings: settings of the run.
        description: description of the checkpoint.

    Raises:
        ConfigError: neither the command line nor the checkpoint names data.
        DataError: the checkpoint's synthetic data are not there.
    """
    asked, own = asdict(settings.data), description.get("data")
    if isinstance(settings.data, DataConfig):  # data=ptbxl, data=synthetic or data=folder
        default = asdict(PTBXLConfig()) | {"labels": None}
        kept = {
            name: value
            for name, value in (own or {}).items()
            if name in _KEPT and name in asked and asked[name] == default[name]
        }
        return of_its_task(asked | kept, description)
    if own is None:
        raise ConfigError(
            f"{settings.ckpt_path} does not say which data it was trained on: name it with data=ptbxl data.root=DIR"
        )
    return of_the_checkpoint({**own, "cache_dir": None}, asked, f"ckpt_path={settings.ckpt_path}")


def of_the_checkpoint(own: Mapping[str, Any], asked: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a checkpoint's own data settings. A folder that the checkpoint names is read, and never written to.

    Args:
        own: data settings of the checkpoint.
        asked: data settings of the command line. They win unless they are None.
        what: key and value that name the checkpoint.

    Raises:
        CheckpointError: the checkpoint's settings cannot be used.
        DataError: the checkpoint's synthetic data are not there.
    """
    settings = {**own, **{name: value for name, value in asked.items() if value is not None}}
    try:
        datamodule = build_datamodule(settings, seed=0)
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{what} has data settings that cannot be used: {error}") from None
    log.info("reading the data from %s, as %s says", datamodule.root, what)
    if isinstance(datamodule.source, SyntheticSource):
        try:
            is_there = datamodule.source.is_written()
        except DataError:  # something else is there
            is_there = False
        if not is_there:
            raise DataError(
                f"{what} was trained on synthetic data in {datamodule.root}, which are not there as it describes them, "
                "and a folder that a checkpoint names is only read: add data=synthetic to make such data anew, or "
                "data=ptbxl data.root=DIR"
            )
    return settings
