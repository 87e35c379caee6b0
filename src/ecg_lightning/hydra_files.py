"""Hydra's files in a run's folder (`.hydra/`), which a refused command must leave as they are."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ecg_lightning.disk import write_whole
from ecg_lightning.runs.results import CELL_FILE

_put_off: list[DictConfig] = []


def put_off(config: DictConfig) -> None:
    """Keep Hydra from overwriting its files of an earlier command; `write_put_off` does so later.

    Args:
        config: what Hydra composed for a single run, `hydra` included.
    """
    name = config.hydra.output_subdir
    if name is not None and (Path(config.hydra.run.dir) / name).is_dir():
        _put_off.append(deepcopy(config))
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.output_subdir = None


def write_put_off() -> None:
    """Write the files that were put off, once the command is known to fit its folder.

    Raises:
        DiskFullError: they do not fit.
    """
    while _put_off:
        composed = _put_off.pop()
        settings = HydraConfig.get()
        folder = Path(settings.runtime.output_dir) / composed.hydra.output_subdir
        with read_write(composed), open_dict(composed):
            composed.hydra.runtime.output_dir = settings.runtime.output_dir
            hydra = OmegaConf.masked_copy(composed, "hydra")
            del composed["hydra"]
        write_whole(folder / "config.yaml", OmegaConf.to_yaml(composed))
        write_whole(folder / "hydra.yaml", OmegaConf.to_yaml(hydra))
        write_whole(folder / "overrides.yaml", OmegaConf.to_yaml(hydra.hydra.overrides.task))
        (folder.parent / CELL_FILE).unlink(missing_ok=True)  # a sweep's cell no more, but a run of these settings


def discard_put_off() -> None:
    """Leave Hydra's files as they are: the command has ended."""
    _put_off.clear()
