"""The tables of `ecg-lightning evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nlargest
from typing import Any

from rich.console import Console
from rich.table import Table

from ecg_lightning.evaluation import report
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.subgroups import MIN_POSITIVES, Subgroup
from ecg_lightning.evaluation.uncertainty import ALPHA
from ecg_lightning.runs.console import fits
from ecg_lightning.runs.ledger import LEDGER_FILE


def print_evaluation(found: dict[str, Any], console: Console) -> None:
    """The tables of `evaluate_run`."""
    title = f"{found['run']}, {found['split']}"
    with_intervals = _scores_table(found, title, _with_interval)
    room = fits(with_intervals, console)
    console.print(with_intervals if room else _scores_table(found, title, _value))
    if not room:
        console.print("the intervals need a wider terminal, or --json", style="dim", highlight=False)
    too_good = "; on that fold itself they are too good" if found["split"] == "val" else ""
    what = "the epoch, thresholds" if found["chose_epoch"] else "thresholds"
    by = f"{what} (for F1), calibration and conformal sets from the validation fold{too_good}"
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
            f"the test folds were scored {times} times with this checkpoint, or an average of it "
            f"(checkpoints/{LEDGER_FILE}): what was chosen by such a score was chosen on them",
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
            spread = f" ±{row[f'{metric}_sd']:.3f}" if row["covers_seeds"] else ""
            cells.append(_with_interval(row[metric]) + spread)
            change = row.get(f"{metric}_change")
            cells += [_signed(change), row[f"{metric}_verdict"]] if change else ["–", ""]
        more = len(row["runs"]) - 1
        seeds = f"{row['run']} and {more} more seed{'s' if more > 1 else ''}" if more else row["run"]
        table.add_row(f"average of the {more + 1} runs" if row["averaged"] else seeds, *cells)
    console.print(table)
    for row in rows:
        if row["f1_sd"] is not None and not row["covers_seeds"]:
            console.print(
                f"{row['run']}: spread over {len(row['runs'])} seeds (standard deviation): F1 {row['f1_sd']:.3f}, "
                f"AUROC {row['auroc_sd']:.3f}, not in the intervals",
                highlight=False,
            )
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
            " Runs that differ in their seed alone are one row: their mean and, from three runs on, ± the standard "
            "deviation between them; then its interval covers seeds, too."
            if several
            else " Of one run a recipe the intervals say nothing of other seeds."
        )
        + (" Where two rows share trainings, the difference is of these runs, over patients." if any_shared else ""),
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
    if change.value != change.value:
        return "–"
    return f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


_MOST_CLASSES = 6
"""A task may have 71."""
_SURE = {"distance": "farthest from the thresholds", "agreement": "where the members agree most"}
_SHORT = ("auroc", "auprc", "f1", "ppv", "npv")
