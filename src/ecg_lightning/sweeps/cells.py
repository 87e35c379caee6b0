"""The cells of a sweep: the configuration and the folder of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ecg_lightning.config.safe_composition import as_hydras
from ecg_lightning.errors import ConfigError, DataError
from ecg_lightning.results.equality import WITHOUT_EFFECT, differing, flat, in_effect
from ecg_lightning.results.results import CELL_FILE, RESULT_FILE, RunResult, read_result
from ecg_lightning.system.disk import write_whole
from ecg_lightning.text import as_yaml

_GROUPS = ("data", "frontend", "model", "compression", "hardware", "experiment")
FINISHED = ("ok", "skipped")


@dataclass
class Cell:
    """A cell of a sweep.

    Attributes:
        number: place in the sweep, from 0.
        overrides: overrides from Hydra's sweeper.
        config: configuration that Hydra composed, with `hydra`.
        settings: part of the configuration that decides weights and scores.
        run: folder of the cell, relative to the sweep's.
        result: result of the cell; its status is `planned` or `running` until the cell ends.
    """

    number: int
    overrides: Sequence[str]
    config: DictConfig
    settings: Mapping[str, Any]
    run: str
    result: RunResult

    @property
    def finished(self) -> bool:
        """Return whether the cell need not run again."""
        return self.result.status in FINISHED


def compose_cell(loader: ConfigLoader, config: DictConfig, overrides: Sequence[str], number: int) -> Cell:
    """Return a cell as Hydra composes it, in the folder that `hydra.sweep.subdir` names."""
    composed = loader.load_sweep_config(config, list(overrides))
    run = subdir_of(composed, number)
    with as_hydras(composed):
        settings = _settings(composed)
    choices = composed.hydra.runtime.choices
    result = RunResult(
        status="planned",
        reason="not started yet",
        choices={name: str(choices[name]) for name in _GROUPS if choices.get(name)},
        overrides=task_overrides(composed),
        seed=composed.get("seed"),
    )
    return Cell(number, overrides, composed, settings, run, result)


def task_overrides(composed: DictConfig) -> list[str]:
    """Return the overrides of the command line or a sweeper as they were typed, with their interpolations."""
    parts: Any = OmegaConf.to_container(composed.hydra.overrides.task, resolve=False)
    return list(parts)


def subdir_of(composed: DictConfig, number: int) -> str:
    """Set a cell's job number, and return its folder, relative to the sweep's."""
    with read_write(composed.hydra), open_dict(composed.hydra):
        composed.hydra.job.id = composed.hydra.job.num = number
    with as_hydras(composed):
        return str(Path(str(composed.hydra.sweep.subdir)))


def settings_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of each cell in a sweep's folder, by the cell's folder relative to it.

    Cells of earlier versions have no `cell.json`, but Hydra's files describe them. Hydra writes the overrides last, so
    a cell without overrides has not begun.
    """
    hydras = [path.parent for path in sorted(folder.glob("**/.hydra/overrides.yaml"))]
    found = {str(one.parent.relative_to(folder)): one / "config.yaml" for one in hydras}
    found |= {str(path.parent.relative_to(folder)): path for path in sorted(folder.glob(f"**/{CELL_FILE}"))}
    return {
        run: _read_cell(path)["settings"] if path.name == CELL_FILE else _settings(_loaded(path))
        for run, path in sorted(found.items())
    }


def write_cell(cell: Cell, folder: Path, seconds: float | None) -> None:
    """Write a cell's settings and running time into its folder.

    Args:
        cell: cell whose settings are written.
        folder: folder of the sweep.
        seconds: time of all its tries together; None if a try was killed, or still runs.

    Raises:
        DiskFullError: the file does not fit on the disk.
    """
    write_whole(folder / cell.run / CELL_FILE, json.dumps({"settings": cell.settings, "seconds": seconds}) + "\n")


def seconds_of(run: Path) -> float | None:
    """Return the running time of a cell in seconds; None if it was not measured."""
    if not (run / CELL_FILE).is_file():
        return None
    seconds = _read_cell(run / CELL_FILE).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def place(cells: Sequence[Cell], there: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Set each cell's folder: that of an equal cell of an earlier command, else an unused folder.

    Args:
        cells: cells of this command.
        there: settings of the cells in the folder, see `settings_in`.
        folder: folder of the sweep.

    Raises:
        ConfigError: two cells would have one folder.
    """
    free = dict(there)
    placed: set[int] = set()
    for cell in cells:
        cell.run = subdir_of(cell.config, cell.number)
    for by_name in (True, False):  # a folder of the same name first, because cells may differ in their threads alone
        for cell in cells:
            candidates = [cell.run] if by_name else free
            equal = next((run for run in candidates if run in free and not differing(free[run], cell.settings)), None)
            if cell.number not in placed and equal is not None:
                cell.run = equal
                placed.add(cell.number)
                free.pop(equal)
                _recall(cell, folder)
    taken = set(there)
    for cell in cells:
        if cell.number in placed:
            continue
        number = cell.number
        while cell.run in taken:
            number = max(number + 1, len(cells))
            if (run := subdir_of(cell.config, number)) == cell.run:
                raise ConfigError(
                    f"hydra.sweep.subdir={run} names one folder for several cells. Add ${{hydra:job.num}} to it"
                )
            cell.run = run
        taken.add(cell.run)


def nearest_difference(cells: Sequence[Cell], there: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the difference between a cell of this command and the most similar cell in the folder."""
    pairs = [(settings, cell.settings) for settings in there.values() for cell in cells]
    own, asked = min(pairs, key=lambda pair: len(differing(*pair)))
    flat_own, flat_asked = flat(own), flat(asked)
    return "; ".join(
        f"{key} is {as_yaml(flat_own.get(key))} there, but {as_yaml(flat_asked.get(key))} in this command"
        for key in differing(own, asked)
    )


def result_of(run: Path) -> RunResult | None:
    """Return a run's result, of any version; None if there is none.

    Raises:
        DataError: the result cannot be read.
    """
    if not (run / RESULT_FILE).is_file():
        return None
    known = {one.name for one in fields(RunResult)}
    return RunResult(**{name: value for name, value in read_result(run).items() if name in known})


def _recall(cell: Cell, folder: Path) -> None:
    """Use the result of an earlier command if the cell need not run again."""
    there = result_of(folder / cell.run)
    if there is not None and there.status in FINISHED:
        cell.result = replace(there, overrides=cell.result.overrides)


def _settings(composed: DictConfig) -> dict[str, Any]:
    """Return the settings in effect as `cell.json` gives them back."""
    settings: dict[str, Any] = json.loads(json.dumps(_composed_in_effect(composed), default=str))
    return settings


def _read_cell(path: Path) -> dict[str, Any]:
    try:
        read: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(read, dict) or not isinstance(read.get("settings"), dict):
        raise _unreadable(path, "it holds no settings")
    return read


def _loaded(path: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(path)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise _unreadable(path, error) from None
    return loaded if isinstance(loaded, DictConfig) else DictConfig({})


def _unreadable(path: Path, why: object) -> DataError:
    return DataError(
        f"{path} cannot be read ({' '.join(str(why).split())}). Move its folder away to run this cell again"
    )


def _composed_in_effect(config: DictConfig) -> dict[str, Any]:
    """Return the settings in effect of a configuration that Hydra composed, with its interpolations resolved.

    Settings without effect, such as a run's folder, are left out before anything is resolved.
    """
    resolved = {
        str(name): OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node := config[name]) else node
        for name in config
        if name not in (*WITHOUT_EFFECT, "hydra")
    }
    return in_effect(resolved)
