"""Recipes: which runs train the same recipe, and how many recipes a sweep tried."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecg_lightning.errors import DataError
from ecg_lightning.results.equality import WITHOUT_EFFECT, differing, without
from ecg_lightning.results.results import RESULT_FILE, SWEEP_TABLE, hash_config, read_config, read_result

_NOT_OF_A_RECIPE = (
    *WITHOUT_EFFECT,
    *("seed", "ckpt_path", "train", "test", "hardware.compile", "data.root"),
    *("compression.deploy", "compression.n_resamples"),
)
"""Settings that do not change a recipe."""

_LEARNED_FROM = ("teacher", "members", "weights")
"""Model settings that name other runs. Their recipe counts, not which of its seeds they are."""


def by_recipe(folders: Sequence[Path]) -> list[list[Path]]:
    """Return runs grouped by recipe, in the order of each group's first run."""
    recipes: dict[str, list[Path]] = {}
    for folder in folders:
        recipes.setdefault(recipe_of(folder), []).append(folder)
    return list(recipes.values())


def recipe_of(folder: Path) -> str:
    """Return a text that is equal for runs that differ only in their seeds, or in those of teachers or members.

    `hardware.precision=auto` is another recipe on a processor without bfloat16. A training that was made longer is
    another recipe too, because its schedule began for fewer epochs. A folder whose configuration has no seed, such as a
    variant's, is a recipe of its own.

    Raises:
        DataError: the folder has no result.
    """
    config = read_config(folder)
    if "seed" not in config:
        return str(folder)
    result = read_result(folder)
    lengths = "+".join(map(str, result["earlier_lengths"]))
    return f"{_recipe_in(config, folder)} {result['host'].get('precision')} {lengths}"


def recipes_by_run(
    sweep: Path, runs: Iterable[str], planned: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, str]:
    """Return a text for each run of a sweep that is equal for runs of one recipe on the same records.

    Args:
        sweep: folder of the sweep.
        runs: folders of the runs, relative to the sweep's. A run that cannot be read has no text.
        planned: resolved settings of cells by folder, for those that wrote no configuration.
    """
    found = {}
    for run in runs:
        folder = sweep / run
        with contextlib.suppress(DataError):
            if planned and run in planned and not read_config(folder):
                found[run] = _recipe_in(planned[run], folder)
            else:
                found[run] = f"{recipe_of(folder)} {read_result(folder)['data'].get('root_hash')}"
    return found


def recipes_of_the_sweep(folder: Path) -> int:
    """Return the number of recipes that a run's sweep tried, or 1 for a run outside a sweep.

    A cell that failed before it wrote its configuration does not count.
    """
    sweep = folder.absolute().parent
    if not (sweep / SWEEP_TABLE).is_file():
        return 1
    recipes = set()
    for path in sweep.glob(f"*/{RESULT_FILE}"):
        with contextlib.suppress(DataError):  # a damaged cell does not count
            recipes |= {recipe_of(path.parent)} if read_config(path.parent) else set()
    return max(1, len(recipes))


def n_tried(run: Path) -> int:
    """Return the number of configurations that a run was chosen from: those of its sweep, or the setting `n_tried`.

    For an ensemble it is the largest number over the trainings that it averages.
    """
    counts = [1]
    for training in trainings_of(run) | {run}:
        with contextlib.suppress(DataError):  # moved or damaged: the others count
            said = read_config(training).get("n_tried")
            counts += [said if isinstance(said, int) else 1, recipes_of_the_sweep(training)]
    return max(counts)


def check_independent(runs: Sequence[Path]) -> None:
    """Refuse runs of one recipe that are not separate trainings. They would make the spread of seeds too small.

    Raises:
        DataError: two runs have the same seed, teacher, first weights and members, or share a member.
    """
    seen: dict[str, Path] = {}
    for run in runs:
        config = read_config(run)
        if "seed" not in config:
            continue
        sources = _sources(config)
        own = f"the seed {config['seed']}" + "".join(f", {name}={named}" for name, named in sources.items())
        if not config.get("train"):
            own += f", ckpt_path={config.get('ckpt_path')}"
        for what in {own, *(f"the member {path}" for path in sources.get("members", []))}:
            if (first := seen.setdefault(what, run)) != run:
                raise DataError(f"{first} and {run} have the same recipe and share {what}. Leave one of them out")


def sharing_trainings(run: Path, others: Sequence[Path]) -> list[Path]:
    """Return the other runs that share a training with a run: they average it, or are the same training."""
    own = trainings_of(run)
    return [other for other in others if other.resolve() != run.resolve() and own & trainings_of(other)]


def trainings_of(run: Path) -> set[Path]:
    """Return the folders of the trainings that an ensemble averages, also through its members.

    Another run has only its own folder.

    A member outside any run's folder counts as a training.
    """
    found: set[Path] = set()
    waiting, seen = [run.resolve()], set()
    while waiting:
        one = waiting.pop()
        if one in seen:  # an ensemble's own folder may hold its members
            continue
        seen.add(one)
        members = [Path(path).expanduser().resolve() for path in _sources(read_config(one)).get("members", [])]
        waiting += [next((up for up in path.parents if (up / RESULT_FILE).is_file()), path) for path in members]
        found |= set() if members else {one}
    return found


def changed_settings(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two configurations differ, among the seed and the settings of a recipe."""
    ignored = [key for key in _NOT_OF_A_RECIPE if key != "seed"]
    return differing(without(there, ignored), without(asked, ignored))


def _recipe_in(config: Mapping[str, Any], folder: Path) -> str:
    """Return the hash of a configuration's recipe, for the run in a folder."""
    kept = without(config, _NOT_OF_A_RECIPE)
    if isinstance(model := kept.get("model"), dict):
        model |= {name: sorted(_source(one, folder) for one in named) for name, named in _sources(config).items()}
    if not config.get("train") and (path := config.get("ckpt_path")):  # the run compressed or evaluated a checkpoint
        kept["ckpt_path"] = _source(path, folder)
    return hash_config(_in_force(kept))


def _sources(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the runs that a configuration's model learns from, by setting."""
    model = config.get("model")
    named = {name: model.get(name) for name in _LEARNED_FROM} if isinstance(model, Mapping) else {}
    return {name: [one] if isinstance(one, str) else list(one) for name, one in named.items() if one}


def _in_force(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without those that are off, which an earlier version may not have known."""
    kept = {name: _in_force(value) if isinstance(value, Mapping) else value for name, value in settings.items()}
    return {name: value for name, value in kept.items() if value}


def _source(named: str, asked: Path) -> str:
    """Return the recipe of the run that a checkpoint or a cross-validation folder belongs to, or else its path."""
    path = Path(named).expanduser()
    run = path if path.is_dir() else path.parent.parent
    try:
        return recipe_of(run) if run.resolve() != asked.resolve() and read_config(run) else named
    except DataError:  # the other run did not finish, or its result was moved
        return named
