"""`ecg-lightning evaluate` and `compare`: what runs predicted, read again and put into tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from heapq import nlargest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from ecg_lightning.errors import DataError
from ecg_lightning.evaluation import cohort, paired, report
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, Predictions, aligned, averaged, read_predictions
from ecg_lightning.evaluation.subgroups import MIN_POSITIVES, Subgroup
from ecg_lightning.evaluation.uncertainty import ALPHA
from ecg_lightning.folds import fold_groups
from ecg_lightning.runs.console import fits
from ecg_lightning.runs.ledger import LEDGER_FILE, times_scored
from ecg_lightning.runs.recipes import averages, by_recipe, check_independent, n_tried
from ecg_lightning.runs.results import RESULT_FILE, read_config, read_result

Pair = tuple[Predictions, Predictions]


def read_run(folder: Path, split: str) -> tuple[Predictions | None, Predictions]:
    """A run's predictions of the validation fold, where it was predicted, and of a split.

    Raises:
        DataError: there are none of the split, or not as many as the run made.
    """
    found = read_predictions(folder / PREDICTIONS_FILE)
    made = read_result(_run_of(folder)).get("data", {})
    for name, one in found.items():
        if (n_made := made.get(f"n_{name}", len(one.ecg_ids))) != len(one.ecg_ids):
            raise DataError(
                f"{folder / PREDICTIONS_FILE} holds {len(one.ecg_ids):,} records of the split {name}, the run "
                f"predicted {n_made:,}: it was cut; run the model again"
            )
    if split not in found:
        raise DataError(
            f"{folder / PREDICTIONS_FILE} holds no predictions of the split {split} (it has {', '.join(found)}): name "
            "that one with --split, or run the model with it"
        )
    return found.get("val"), found[split]


def read_trained(folder: Path, split: str) -> Pair:
    """The same of a run that predicted both.

    Raises:
        DataError: it did not.
    """
    val, scored = read_run(folder, split)
    if val is None:
        raise DataError(
            f"{folder / PREDICTIONS_FILE} holds no predictions of the split val, from which thresholds and calibration "
            "come: name a run that was trained with it"
        )
    return val, scored


def evaluate_run(folder: Path, split: str, root: Path | None, n_resamples: int) -> dict[str, Any]:
    """Everything that `ecg-lightning evaluate` says of a run, as plain values.

    Args:
        folder: of the run.
        split: `test` or `val`.
        root: its PTB-XL folder, for the subgroups and the floor of age and sex; where it was by default. They are left
            out where that is no more.
        n_resamples: of the bootstrap.
    """
    val, scored = read_run(folder, split)
    run = _run_of(folder)
    described, config = read_result(run)["data"], read_config(run)
    thresholds_C = _thresholds(run, scored) if val is None else None
    task, label_rule = described.get("task") or "superdiagnostic", described["label_rule"]
    found = {
        "run": str(folder),
        "split": split,
        "task": task,
        "label_rule": label_rule,
        "n_tried": n_tried(run),
        "times_test_scored": times_scored(run, config.get("ckpt_path")),
        **report.evaluate(val, scored, n_resamples, thresholds_C).as_dict(),
    }
    try:
        table, groups = root or Path(config["data"]["root"]), fold_groups(config.get("cross_validation") or ())
        train_folds = config["data"]["train_folds"]
    except (KeyError, TypeError):
        reason = f"{run}/config.yaml does not say data.root and data.train_folds"
        if root:
            raise DataError(f"{reason}; run the model again") from None
        return found | {"left_out": reason}
    try:
        found |= cohort.describe(val, scored, table, train_folds, task, label_rule, n_resamples, thresholds_C, groups)
    except DataError as error:
        if root:
            raise
        found["left_out"] = str(error)
    return found


def print_evaluation(found: dict[str, Any], console: Console) -> None:
    """The tables of `evaluate_run`."""
    title = f"{found['run']}, {found['split']}"
    with_intervals = _scores_table(found, title, _with_interval)
    room = fits(with_intervals, console)
    console.print(with_intervals if room else _scores_table(found, title, _value))
    if not room:
        console.print("the intervals need a wider terminal, or --json", style="dim", highlight=False)
    too_good = "; on that fold itself they are too good" if found["split"] == "val" else ""
    by = f"thresholds (for F1), calibration and conformal sets from the validation fold{too_good}"
    if found["calibration"].keys() == {"none"}:
        by = "thresholds (for F1) of the checkpoint; no validation fold was predicted, so nothing is calibrated"
    console.print(
        f"N = {found['n_records']:,} records of {found['n_patients']:,} patients, task "
        f"{found['task']}, label rule {found['label_rule']}; 95 % intervals by bootstrap of patients; {by}. Share "
        "of positives: the AUPRC of a guess. Last rows: rules that say every class, or no "
        "class, of every record" + ("; logistic regression on age and sex alone." if "age_and_sex" in found else "."),
        style="dim",
        highlight=False,
    )
    if absent := found["absent"]:
        often = ", ".join(f"{name} {share:.1%}" for name, share in absent.items())
        console.print(
            f"too rare for some resamples, where macro means leave it out: {often}", style="dim", highlight=False
        )
    if chosen := found["chosen"]:
        thresholds = ", ".join(f"{name} {value:.3f}" for name, value in [*chosen["thresholds"].items()][:_MOST_CLASSES])
        console.print(f"temperature {chosen['temperature']:.3f}; thresholds after it: {thresholds}", highlight=False)
    for name, errors in found["calibration"].items():
        of_classes = errors["ece_by_class"]
        worst = ", ".join(f"{one} {of_classes[one]:.3f}" for one in nlargest(_MOST_CLASSES, of_classes, of_classes.get))
        console.print(
            f"calibration {name}: ECE {errors['ece']:.4f} in 15 bins (most {worst}), "
            f"Brier {_with_interval(Interval(*errors['brier']))}",
            highlight=False,
        )
    for name, one in found["conformal"].items():
        if one["n_positive"] < MIN_POSITIVES:
            console.print(
                f"conformal {name}: {one['n_positive']} positive records are too few to tell", highlight=False
            )
            continue
        console.print(
            f"conformal {name}: covers {_share(one['positive'])} of {one['n_positive']:,} positive and "
            f"{_share(one['negative'])} of negative records (promised {1 - ALPHA:.0%}, over validation folds), "
            f"undecided on {_share(one['undecided'])}",
            highlight=False,
        )
    if found["chosen"] and not found["conformal"]:
        console.print(
            "no coverage of conformal sets, which are made of these very records: it needs others, as the split test",
            highlight=False,
        )
    for name, one in found["abstention"].items():
        curve = ", ".join(
            f"{kept:.0%} {_share(wrong)}" for kept, wrong in zip(one["kept"], one["wrong_records"], strict=True)
        )
        console.print(
            f"records with a wrong class among the surest, {_SURE[name]}: {curve}; area under that curve (AURC) "
            f"{_with_interval(Interval(*one['aurc']))}, at random {Interval(*one['wrong_records'][0]).value:.3f}",
            highlight=False,
        )
    console.print(
        f"one of {found['n_tried']} configurations that were tried: chosen among them, its score is too good on "
        "the fold that chose it"
        if found["n_tried"] > 1
        else "configurations tried: this one alone, unless n_tried should have said more",
        highlight=False,
    )
    if found["split"] == "test" and (times := found["times_test_scored"]) > 1:
        console.print(
            f"the test folds were scored {times} times with this checkpoint (checkpoints/{LEDGER_FILE}): what was "
            "chosen by such a score was chosen on them",
            highlight=False,
        )
    if "subgroups" in found:
        console.print(_subgroup_table([Subgroup(**group) for group in found["subgroups"]]))
        console.print(
            f"a class counts in a group with at least {MIN_POSITIVES} positive records and as many others there; "
            "compare groups by the classes that are common to those of their kind",
            style="dim",
            highlight=False,
        )
    if reason := found.get("left_out"):
        console.print(
            f"without subgroups, and without what age and sex alone say: {reason}; name its PTB-XL folder with --root",
            style="dim",
            highlight=False,
        )


def draw_reliability(folder: Path, split: str, path: Path) -> None:
    """Write the reliability diagram of a split, before and after calibration on the validation fold.

    Raises:
        DataError: the run has no predictions; or the file cannot be written.
    """
    from ecg_lightning.runs.curves import reliability_figure  # matplotlib: only where there is something to draw

    val, scored = read_trained(folder, split)
    figure = reliability_figure(report.calibrated(val, scored), scored.targets_NC, scored.classes)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # ValueError: an unknown format
        raise DataError(f"--reliability {path} cannot be written ({error}); name a .png file") from None


def _thresholds(folder: Path, scored: Predictions) -> npt.NDArray[np.float64]:
    """(C,) of the checkpoint that was evaluated, on probabilities as they are.

    Raises:
        DataError: the run does not say them.
    """
    thresholds = read_result(folder)["thresholds"]
    if absent := [name for name in scored.classes if name not in thresholds]:
        raise DataError(f"{folder}/{RESULT_FILE} has no threshold of {', '.join(absent)}; run the model again")
    return np.array([thresholds[name] for name in scored.classes])


def _run_of(folder: Path) -> Path:
    """The run that a folder is, or is a variant of."""
    return folder.absolute().parent.parent if folder.absolute().parent.name == "variants" else folder


def _scores_table(found: dict[str, Any], title: str, cell: Callable[[Interval], str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("class", "positive", *(name.upper() if name in _SHORT else name for name in report.METRICS)):
        table.add_column(heading, justify="left" if heading == "class" else "right", overflow="fold")
    for name, scores in found["scores"].items():
        positive = found["positives"].get(name)
        share = "" if positive is None else f"{positive:,} ({positive / found['n_records']:.0%})"
        table.add_row(name, share, *(cell(Interval(*scores[metric])) for metric in report.METRICS))
    table.add_section()
    for name, f1 in found["baselines"].items():  # constants, which rank nothing
        table.add_row(name, "", *({"f1": f"{f1:.3f}", "auroc": "0.500"}.get(metric, "–") for metric in report.METRICS))
    if floor := found.get("age_and_sex"):
        cells = (cell(Interval(*floor[metric])) if metric in floor else "–" for metric in report.METRICS)
        table.add_row("age and sex", "", *cells)
    return table


def compare_runs(
    folders: Sequence[Path], split: str, n_resamples: int, with_average: bool = False
) -> list[dict[str, Any]]:
    """Scores of recipes, and each one's difference to the first; runs that differ in their seed alone are one recipe.

    Args:
        folders: of the runs; the first one is of the reference.
        split: `test` or `val`.
        n_resamples: of the bootstrap.
        with_average: whether a last row is of the average of all runs, as `model=ensemble` would make it.

    Raises:
        DataError: a run has no predictions, or not of the same records.
    """
    trained: dict[Path, Pair] = {}
    for folder in folders:
        val, scored = read_trained(folder, split)
        first_val, first = trained.get(folders[0], (val, scored))
        try:
            trained[folder] = (aligned(val, first_val) if with_average else val), aligned(scored, first)
        except DataError as error:
            raise DataError(f"{folder} and {folders[0]}: {error}") from None
    recipes = [(runs, [trained[run] for run in runs], False) for runs in by_recipe(folders)]
    for runs, _, _ in recipes:
        _check_no_repeats({run: trained[run][1] for run in runs}, len(runs))
    if with_average:
        for folder in folders:
            if parts := averages(folder, folders):
                raise DataError(
                    f"--average: {folder} averages {', '.join(map(str, parts))} itself, which would count twice; "
                    "leave one of them out"
                )
        recipes.append(([*folders], [_average(trained)], True))
    rows: list[dict[str, Any]] = []
    reference: paired.Scores | None = None
    first_runs = recipes[0][0]
    for runs, trainings, is_average in recipes:
        scores = paired.score(trainings, trained[folders[0]][1], n_resamples)
        row: dict[str, Any] = {
            "run": "average" if is_average else str(runs[0]),
            "runs": [str(run) for run in runs],
            "averaged": is_average,
            "n_records": len(trainings[0][1].ecg_ids),
            "code": sorted({_code_of(run) for run in runs}),
            "n_tried": max(n_tried(_run_of(run)) for run in runs),
        }
        for metric, scores_SR in scores._asdict().items():
            row[metric] = paired.mean_interval(scores_SR)
            row[f"{metric}_sd"] = float(scores_SR[:, 0].std(ddof=1)) if len(trainings) > 1 else None
        if reference is None:
            reference = scores
        else:
            pairs = ((one, first_runs) for one in runs), ((one, runs) for one in first_runs)
            shared = is_average or any(averages(one, others) for one, others in itertools.chain(*pairs))
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


def _average(trained: Mapping[Path, Pair]) -> Pair:
    """Of several runs; its thresholds come from the average on the validation fold."""
    val, split = zip(*trained.values(), strict=True)
    try:
        return averaged(val), averaged(split)
    except DataError as error:
        raise DataError(f"{', '.join(map(str, trained))}: {error}") from None


def _check_no_repeats(trainings: Mapping[Path, Predictions], n_named: int) -> None:
    """A training that is named twice, or its copy, would pass for another seed, and make their spread too small."""
    if len(trainings) < n_named:
        raise DataError(f"{', '.join(map(str, trainings))}: one is named twice; name each run once")
    seen: dict[bytes, Path] = {}
    for folder, scored in trainings.items():
        first = seen.setdefault(scored.logits_NC[np.argsort(scored.ecg_ids)].tobytes(), folder)
        if first != folder:
            raise DataError(f"{folder} predicts exactly what {first} does: it is the same training; name it once")
    check_independent([*trainings])


def _code_of(folder: Path) -> str:
    """The revision and the PyTorch that made a run."""
    result = read_result(_run_of(folder))
    return f"{result.get('git') or 'unknown'}, torch {(result.get('versions') or {}).get('torch', 'unknown')}"


def print_comparison(rows: Sequence[dict[str, Any]], split: str, console: Console) -> None:
    """The table of `compare_runs`."""
    table = Table()
    for heading in ("run", f"{split} F1", "Δ F1", "", "AUROC", "Δ AUROC", ""):
        table.add_column(heading, min_width=8 if heading == "run" else None, overflow="fold")
    any_shared = any(row.get("shared") for row in rows)
    several = any(len(row["runs"]) > 1 and not row["averaged"] for row in rows)
    for row in rows:
        cells = []
        for metric in ("f1", "auroc"):
            spread = f" ±{row[f'{metric}_sd']:.3f}" if row[f"{metric}_sd"] is not None else ""
            cells.append(_with_interval(row[metric]) + spread)
            change = row.get(f"{metric}_change")
            cells += [_signed(change), row[f"{metric}_verdict"]] if change else ["–", ""]
        more = len(row["runs"]) - 1
        seeds = f"{row['run']} and {more} more seed{'s' if more > 1 else ''}" if more else row["run"]
        table.add_row(f"average of the {more + 1} runs" if row["averaged"] else seeds, *cells)
    console.print(table)
    if len(codes := sorted({code for row in rows for code in row["code"]})) > 1:
        console.print(
            f"made by different code, which a difference may come from, too: {'; '.join(codes)}", highlight=False
        )
    for row in rows:
        if row["n_tried"] > 1 and not row["averaged"]:
            console.print(
                f"{row['run']}: one of {row['n_tried']} configurations that were tried; the fold that chose it scores "
                "it too high",
                highlight=False,
            )
    too_good = "; on that fold itself scores are too good" if split == "val" else ""
    console.print(
        f"N = {rows[0]['n_records']:,} records. Macro means; thresholds and temperature of each run's validation "
        f"fold{too_good}. "
        "Δ: to the first run, paired bootstrap by patient, 95 %: better or worse where the interval leaves 0 out."
        + (
            " Runs that differ in their seed alone are one row: their mean, ± the standard deviation between them; its "
            "interval covers seeds, too."
            if several
            else " Of one run a recipe the intervals say nothing of other seeds."
        )
        + (
            " Where one row averages runs of the other, the difference is of these runs, over patients."
            if any_shared
            else ""
        ),
        style="dim",
        highlight=False,
    )


def _subgroup_table(groups: Sequence[Subgroup]) -> Table:
    table = Table()
    for heading in ("by", "group", "N", "classes", "F1", "AUROC", "common", "AUROC of these"):
        table.add_column(heading, justify="left" if heading in ("by", "group", "classes", "common") else "right")
    for group in groups:
        f1, auroc, auroc_common = (
            _with_interval(Interval(*score)) if score else "–" for score in (group.f1, group.auroc, group.auroc_common)
        )
        classes, common = (", ".join(names) or "–" for names in (group.classes, group.common))
        table.add_row(group.by, group.name, f"{group.n_records:,}", classes, f1, auroc, common, auroc_common)
    return table


def _with_interval(score: Interval) -> str:
    if score.value != score.value:  # nothing to count
        return "–"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _share(interval: Sequence[float]) -> str:
    """Of records, in per cent."""
    value, low, high = (100 * one for one in interval)
    return "none" if value != value else f"{value:.1f} % [{low:.0f} %, {high:.0f} %]"


def _value(score: Interval) -> str:
    return "–" if score.value != score.value else f"{score.value:.3f}"


def _signed(change: Interval) -> str:
    return f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


_MOST_CLASSES = 6
"""A task may have 71."""
_SURE = {"distance": "farthest from the thresholds", "agreement": "where the members agree most"}
_SHORT = ("auroc", "auprc", "f1", "ppv", "npv")
