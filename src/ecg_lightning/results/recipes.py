"""Which runs are trainings of one recipe, and how many recipes a sweep tried."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
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
"""Settings that leave a recipe what it is."""

_LEARNED_FROM = ("teacher", "members", "weights")
"""Settings of a model that name others; of what recipe these are counts, not which of its seeds."""


def by_recipe(folders: Sequence[Path]) -> list[list[Path]]:
    """Runs of one recipe together, in the order of their first ones."""
    recipes: dict[str, list[Path]] = {}
    for folder in folders:
        recipes.setdefault(recipe_of(folder), []).append(folder)
    return list(recipes.values())


def recipe_of(folder: Path) -> str:
    """The same for runs that differ in their seed alone, or in the seeds of their teachers or members.

    `hardware.precision=auto` is another recipe on a processor without bfloat16; so is a training that was made longer,
    whose schedule had begun for fewer epochs. A folder whose configuration knows no seed, such as a variant's, is one
    of its own.

    Raises:
        DataError: there is no result.
    """
    config = read_config(folder)
    if "seed" not in config:
        return str(folder)
    kept = without(config, _NOT_OF_A_RECIPE)
    if isinstance(model := kept.get("model"), dict):
        model |= {name: sorted(_source(one, folder) for one in named) for name, named in _sources(config).items()}
    if not config.get("train") and (path := config.get("ckpt_path")):  # compressed, or evaluated
        kept["ckpt_path"] = _source(path, folder)
    result = read_result(folder)
    lengths = "+".join(map(str, result["earlier_lengths"]))
    return f"{hash_config(_in_force(kept))} {result['host'].get('precision')} {lengths}"


def recipes_of_the_sweep(folder: Path) -> int:
    """How many recipes the sweep tried that a run is a cell of; 1 for a run of its own.

    What failed before it wrote its configuration was not tried.
    """
    sweep = folder.absolute().parent
    if not (sweep / SWEEP_TABLE).is_file():
        return 1
    recipes = set()
    for path in sweep.glob(f"*/{RESULT_FILE}"):
        with contextlib.suppress(DataError):  # a damaged cell is none that counts
            recipes |= {recipe_of(path.parent)} if read_config(path.parent) else set()
    return max(1, len(recipes))


def n_tried(run: Path) -> int:
    """Configurations that a run's was chosen among: those of its sweep, or as many as `n_tried` says.

    An ensemble's is the most of those of the trainings that it averages.
    """
    counts = [1]
    for training in trainings_of(run) | {run}:
        with contextlib.suppress(DataError):  # moved or damaged: what the others say counts
            said = read_config(training).get("n_tried")
            counts += [said if isinstance(said, int) else 1, recipes_of_the_sweep(training)]
    return max(counts)


def check_independent(runs: Sequence[Path]) -> None:
    """Refuse runs of one recipe that are no trainings of their own: they would make the spread of seeds too small.

    Raises:
        DataError: two have the same seed and the same teacher, first weights and members, or share a member.
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
    """Other runs that share a training with a run: that average it, or are it."""
    own = trainings_of(run)
    return [other for other in others if other.resolve() != run.resolve() and own & trainings_of(other)]


def trainings_of(run: Path) -> set[Path]:
    """Folders of the trainings that an ensemble averages, of its members' too; of another run its own.

    A member that lies in no run's folder is a training of its own.
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
    """Keys of what makes a recipe, and the seed, in which two configurations differ."""
    ignored = [key for key in _NOT_OF_A_RECIPE if key != "seed"]
    return differing(without(there, ignored), without(asked, ignored))


def _sources(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the model of a configuration names to learn from."""
    model = config.get("model")
    named = {name: model.get(name) for name in _LEARNED_FROM} if isinstance(model, Mapping) else {}
    return {name: [one] if isinstance(one, str) else list(one) for name, one in named.items() if one}


def _in_force(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that are off, which an earlier version may not have known."""
    kept = {name: _in_force(value) if isinstance(value, Mapping) else value for name, value in settings.items()}
    return {name: value for name, value in kept.items() if value}


def _source(named: str, asked: Path) -> str:
    """The recipe of another run that a checkpoint, or the folder of a cross-validation, belongs to; else its path."""
    path = Path(named).expanduser()
    run = path if path.is_dir() else path.parent.parent
    try:
        return recipe_of(run) if run.resolve() != asked.resolve() and read_config(run) else named
    except DataError:  # it did not finish, or its result was moved
        return named
