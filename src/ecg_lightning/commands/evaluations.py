"""The functions of `ecg-lightning evaluate` and `compare`: they read and score the predictions of runs."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecg_lightning.data.folds import fold_groups
from ecg_lightning.data.sources import open_source
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation import cohort, paired, report
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.paired import Training
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, Predictions, aligned, averaged, read_predictions
from ecg_lightning.results.finished import holds_sweep, status_of
from ecg_lightning.results.ledger import times_scored
from ecg_lightning.results.recipes import by_recipe, check_independent, n_tried, sharing_trainings, trainings_of
from ecg_lightning.results.recorded_choices import recorded_choices
from ecg_lightning.results.results import RESULT_FILE, SWEEP_TABLE, read_config, read_result, run_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def read_run(folder: Path, split: str) -> tuple[Predictions | None, Predictions]:
    """Return a run's predictions of the validation fold, or None, and its predictions of a split.

    Raises:
        DataError: the split has no predictions, or another number of them than the run made.
    """
    _check_run(folder)
    found = read_predictions(folder / PREDICTIONS_FILE)
    result = read_result(run_of(folder))
    made = result["data"]
    if "val" in result["metrics"] and "val" not in found:
        raise DataError(
            f"{folder / PREDICTIONS_FILE} is incomplete: it lacks the run's predictions of the split val; run the "
            "model again"
        )
    for name, one in found.items():
        said = result["evaluation"].get(name)
        known = said.get("positives") if isinstance(said, dict) else None
        known = known if isinstance(known, dict) else one.classes
        if set(known) != set(one.classes):
            raise DataError(
                f"{folder / PREDICTIONS_FILE} holds the classes {', '.join(one.classes)}, but the run predicted "
                f"{', '.join(known)}: the file was changed; run the model again"
            )
        n_made = made.get(f"n_{name}")
        if isinstance(n_made, int) and n_made != len(one.ecg_ids):
            raise DataError(
                f"{folder / PREDICTIONS_FILE} holds {len(one.ecg_ids):,} records of the split {name}, but the run "
                f"predicted {n_made:,}: the file was changed; run the model again"
            )
    if split not in found:
        raise DataError(
            f"{folder / PREDICTIONS_FILE} holds no predictions of the split {split} (it has {', '.join(found)}). "
            "Name another split with --split, or run the model on this one"
        )
    return found.get("val"), found[split]


def _check_run(folder: Path) -> None:
    """Refuse a path that is not a run of train.py, and name the run that may be meant.

    Raises:
        DataError: the path does not exist, or is a file, a sweep, or a run that did not finish.
    """
    if (folder / PREDICTIONS_FILE).is_file():
        return
    if folder.is_file():
        run = folder.absolute().parent.parent
        meant = f"{run}" if (run / PREDICTIONS_FILE).is_file() else "RUN, not RUN/checkpoints/best.ckpt"
        raise DataError(f"{folder} is a file. Name the folder of its run: {meant}")
    if not folder.is_dir():
        raise DataError(f"{folder} is not there. Name the folder of a run of train.py")
    if _is_sweep(folder):
        runs = sorted(path.parent for path in folder.glob(f"*/{PREDICTIONS_FILE}"))
        named = f": {', '.join(map(str, runs[:3]))}{' …' if len(runs) > 3 else ''}" if runs else ""
        raise DataError(
            f"{folder} is the folder of a sweep. Compare its runs with ecg-lightning compare {folder}, or name one of "
            f"its runs{named}"
        )
    status = status_of(folder)
    if status not in (None, "ok"):
        raise DataError(f"{folder} holds a run with the status {status}: {read_result(folder)['reason']}")


def read_trained(folder: Path, split: str) -> Training:
    """Return the choices of a run's validation fold, with its predictions, and the predictions of a split.

    Raises:
        DataError: one of them has no predictions, or the run holds no choices of them.
    """
    val, scored = read_run(folder, split)
    if val is None:
        raise DataError(
            f"{folder / PREDICTIONS_FILE} holds no predictions of the split val, which thresholds and calibration "
            "need. Name a run that was trained"
        )
    return recorded_choices(folder, scored, val), scored


def evaluate_run(folder: Path, split: str, root: Path | None, n_resamples: int) -> dict[str, Any]:
    """Return the report of `ecg-lightning evaluate` on a run, as plain values.

    Args:
        folder: folder of the run.
        split: `test` or `val`.
        root: PTB-XL folder of the run, for the subgroups and the baseline of age and sex. The default is the run's
            `data.root`; both are left out if it no longer exists.
        n_resamples: number of bootstrap resamples.
    """
    val, scored = read_run(folder, split)
    run = run_of(folder)
    described, config = read_result(run)["data"], read_config(run)
    if not isinstance(described.get("label_rule"), str):
        raise DataError(f"{run}/{RESULT_FILE} does not name the run's data; run the model again")
    choices = recorded_choices(folder, scored, val)
    task, label_rule = described.get("task") or "superdiagnostic", described["label_rule"]
    found = {
        "run": str(folder),
        "split": split,
        "task": task,
        "label_rule": label_rule,
        "n_tried": n_tried(run),
        "times_test_scored": times_scored(run, path if isinstance(path := config.get("ckpt_path"), str) else None),
        "chose_epoch": any(
            one.get("train") and one.get("scored_epoch", "best") == "best"
            for one in map(read_config, trainings_of(run))
        ),
        "chosen": choices.as_dict(),
        **report.evaluate(choices, scored, n_resamples).as_dict(),
    }
    try:
        source = open_source({**config["data"], "task": task, "label_rule": label_rule}, root)
        groups, train_folds = fold_groups(config.get("cross_validation") or ()), config["data"]["train_folds"]
    except (KeyError, TypeError):
        reason = f"{run}/config.yaml lacks data.root or data.train_folds"
        if root:
            raise DataError(f"{reason}; run the model again") from None
        return found | {"left_out": reason}
    try:
        found |= cohort.describe(choices, scored, source.cohort(), train_folds, n_resamples, groups)
    except DataError as error:
        if root:
            raise
        found["left_out"] = str(error)
    return found


def draw(folder: Path, split: str, n_resamples: int, reliability: Path | None, abstention: Path | None) -> None:
    """Write the requested diagrams of a split.

    Args:
        folder: folder of the run.
        split: `test` or `val`.
        n_resamples: number of bootstrap resamples.
        reliability: .png file of the diagram before and after calibration on the validation fold.
        abstention: .png file of the mistakes in the surest records.

    Raises:
        DataError: the run has no predictions, or a file cannot be written.
    """
    from ecg_lightning.reports import curves

    if reliability:
        choices, scored = read_trained(folder, split)
    else:
        val, scored = read_run(folder, split)
        choices = recorded_choices(folder, scored, val)
    figures = {}
    if reliability:
        calibrated = choices.calibrated(scored)
        figures["reliability", reliability] = curves.reliability_figure(calibrated, scored.targets_NC, scored.classes)
    if abstention:
        abstentions = report.abstentions(choices, scored, n_resamples, kept=np.linspace(0.02, 1, 99).tolist())
        figures["abstention", abstention] = curves.abstention_figure(abstentions, len(scored.ecg_ids))
    for (option, path), figure in figures.items():
        save_figure(figure, path, f"--{option}")


def save_figure(figure: Figure, path: Path, option: str) -> None:
    """Write a figure to the file that an option of the command line names.

    Raises:
        DataError: the file cannot be written, or its ending is not a known format.
    """
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: an unknown format
        raise DataError(f"{option} {path} cannot be written ({error}); name a .png file") from None


def named_runs(words: Sequence[Path]) -> list[Path]:
    """Return the named folders, with the finished runs of a sweep in place of its folder.

    Args:
        words: folders of runs or sweeps, or patterns such as `SWEEP/*seed1`.
    """
    found: list[Path] = []
    for word in words:
        matched = [word]
        if not word.exists() and set("*?[") & {*str(word)}:
            matched = sorted(map(Path, glob.glob(str(word)))) or [word]  # noqa: PTH207 - takes absolute patterns
        for folder in matched:
            is_run = (folder / PREDICTIONS_FILE).is_file()
            cells = (
                [] if is_run or not _is_sweep(folder) else [one.parent for one in folder.glob(f"*/{PREDICTIONS_FILE}")]
            )
            found += sorted(cells, key=_cell_number) or [folder]
    return found


def _is_sweep(folder: Path) -> bool:
    return holds_sweep(folder) or (folder / SWEEP_TABLE).is_file()


def _cell_number(cell: Path) -> tuple[int, str]:
    """Return the number at the start of a cell's name, and the name, so that cell 10 sorts after cell 9."""
    number = cell.name.partition("_")[0]
    return (int(number) if number.isdecimal() else 0, cell.name)


def compare_runs(
    folders: Sequence[Path], split: str, n_resamples: int, with_average: bool = False
) -> list[dict[str, Any]]:
    """Return the scores of each recipe, and its differences to the first recipe.

    Runs that differ only in their seed are one recipe.

    Args:
        folders: folders of the runs; the first one belongs to the reference.
        split: `test` or `val`.
        n_resamples: number of bootstrap resamples.
        with_average: whether to add a last row for the average of all runs, as `model=ensemble` would make it.

    Raises:
        DataError: a run has no predictions, or predictions of other records.
    """
    trained = _read_aligned(folders, split, with_average)
    recipes = [(runs, [trained[run] for run in runs], False) for runs in by_recipe(folders)]
    for runs, _, _ in recipes:
        _check_no_repeats({run: trained[run][1] for run in runs}, len(runs))
    if with_average:
        recipes.append(([*folders], [_average(trained)], True))
    rows: list[dict[str, Any]] = []
    reference: paired.Scores | None = None
    first_runs = recipes[0][0]
    for runs, trainings, is_average in recipes:
        scores = paired.score(trainings, trained[folders[0]][1], n_resamples)
        row = _row(runs, trainings, scores, is_average)
        if reference is None:
            reference = scores
        else:
            shared = is_average or any(sharing_trainings(one, first_runs) for one in runs)
            difference = paired.compare(scores, reference, shared)
            row |= {
                "shared": shared,
                "f1_change": difference.f1,
                "f1_verdict": paired.verdict(difference.f1, difference.of),
                "auroc_change": difference.auroc,
                "auroc_verdict": paired.verdict(difference.auroc, difference.of),
            }
        rows.append(row)
    return rows


def _read_aligned(folders: Sequence[Path], split: str, with_average: bool) -> dict[Path, Training]:
    """Return the runs' choices and predictions, those of the split in the order of the first run's records.

    Raises:
        DataError: the predictions are of other records than the first run's. For an average this also holds for the
            validation fold.
    """
    trained: dict[Path, Training] = {}
    for folder in folders:
        choices, scored = read_trained(folder, split)
        first_choices, first = trained.get(folders[0], (choices, scored))
        try:
            if with_average:
                aligned(_validation_of(choices), _validation_of(first_choices))
            trained[folder] = choices, aligned(scored, first)
        except DataError as error:
            raise DataError(f"{folder} and {folders[0]}: {error}") from None
    return trained


def _row(
    runs: Sequence[Path], trainings: Sequence[Training], scores: paired.Scores, is_average: bool
) -> dict[str, Any]:
    """Return the row of a recipe, without its differences."""
    row: dict[str, Any] = {
        "run": "average" if is_average else str(runs[0]),
        "model": None if is_average else _model_of(runs[0]),
        "runs": [str(run) for run in runs],
        "averaged": is_average,
        "n_records": len(trainings[0][1].ecg_ids),
        "code": sorted({_code_of(run) for run in runs}),
        "n_tried": max(n_tried(run_of(run)) for run in runs),
    }
    for metric, scores_SR in scores._asdict().items():
        row[metric] = paired.mean_interval(scores_SR)
        row[f"{metric}_sd"] = float(scores_SR[:, 0].std(ddof=1)) if len(trainings) > 1 else None
    return row | {"covers_seeds": len(trainings) >= paired.LEAST_SEEDS}


def _average(trained: Mapping[Path, Training]) -> Training:
    """Return the averaged predictions of several runs. The average is another model, so its choices are fitted.

    Raises:
        DataError: a run already averages another one, or the predictions cannot be averaged.
    """
    for folder in trained:
        if parts := sharing_trainings(folder, [*trained]):
            raise DataError(
                f"--average: {folder} already includes {', '.join(map(str, parts))}, which would count twice. "
                "Leave one of them out"
            )
    choices, split = zip(*trained.values(), strict=True)
    try:
        return Choices.fit(averaged([_validation_of(one) for one in choices])), averaged(split)
    except DataError as error:
        raise DataError(f"{', '.join(map(str, trained))}: {error}") from None


def _validation_of(choices: Choices) -> Predictions:
    assert choices.validation is not None  # `read_trained` refuses a run without them
    return choices.validation


def _check_no_repeats(trainings: Mapping[Path, Predictions], n_named: int) -> None:
    """Refuse a training that is named twice or copied.

    It would count as another seed, and make the spread of the seeds too small.
    """
    if len(trainings) < n_named:
        raise DataError(f"{', '.join(map(str, trainings))}: a run is named twice. Name each run once")
    seen: dict[bytes, Path] = {}
    for folder, scored in trainings.items():
        first = seen.setdefault(scored.logits_NC[np.argsort(scored.ecg_ids)].tobytes(), folder)
        if first != folder:
            raise DataError(
                f"{folder} and {first} hold the same predictions, so they are one training. Name one of them"
            )
    check_independent([*trainings])


def _model_of(folder: Path) -> str | None:
    """Return the model of a run; None for a compressed variant, which its model alone does not identify."""
    choices = read_result(folder).get("choices") if run_of(folder) == folder else None
    model = choices.get("model") if isinstance(choices, dict) else None
    return model if isinstance(model, str) else None


def _code_of(folder: Path) -> str:
    """Return the code revision and the PyTorch version of a run."""
    result = read_result(run_of(folder))
    return f"{result.get('git') or 'unknown'}, torch {(result.get('versions') or {}).get('torch', 'unknown')}"
